"""What is claimed but not started: a little ahead of the connections, so that they need not wait for the database."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from mailqueue.queue.claim import Claim
from mailqueue.sender.precedence import Precedence

AHEAD_SECONDS = 0.5
MOST = 500
RATE_WINDOW_SECONDS = 1.0
ANY_PRIORITY = -1


class Stock:
    """Claims in the order in which they are to start: higher priority first, then as they were claimed.

    One in ten is of a lower priority, where there is any. For each backend it holds at most half a second of what the
    connections have lately sent, and never less than one mail each; and as much again of what is more urgent.
    """

    def __init__(self) -> None:
        self._levels: dict[int, dict[int, Claim]] = {}
        self._held: Counter[tuple[str, int]] = Counter()
        """How many claims there are of each backend and priority: thousands may wait, and each turn asks."""
        self._precedence = Precedence()
        self._rates: Mapping[str, float] = {}
        self._sent: Counter[str] = Counter()
        self._counted_since = time.monotonic()

    def __bool__(self) -> bool:
        return bool(self._levels)

    def __iter__(self) -> Iterator[Claim]:
        for priority in sorted(self._levels, reverse=True):
            yield from self._levels[priority].values()

    def room(self, backend: str, *, connections: int, besides: Iterable[Claim] = (), above: int = ANY_PRIORITY) -> int:
        """Return how many mails of a backend to claim now, when those `besides` are about to start.

        0 while the stock is not low: half of what `connections` send in the next moment is enough. Mail that is not
        `above` that priority does not count where more urgent mail is wanted.
        """
        ahead = int(self._rates.get(backend, 0.0) * AHEAD_SECONDS)
        target = min(max(2 * connections, ahead), MOST) if connections else 0
        waiting = self._without(besides)
        left = sum(waiting[lane] for lane in waiting if lane[0] == backend and lane[1] > above)
        return target - left if left <= target // 2 else 0

    def next(self, count: int, *, free: Mapping[str, int]) -> list[Claim]:
        """Return those that are to start next, at most so many of each backend, without removing them."""
        chosen: list[Claim] = []
        left = dict(free)
        precedence = self._precedence.copy()
        scans = {priority: self._startable(priority, left) for priority in self._levels}
        while scans and len(chosen) < count:
            priority = precedence.choose(scans)
            claim = next(scans[priority], None)
            if claim is None:
                del scans[priority]
            else:
                precedence.note(priority)
                chosen.append(claim)
        return chosen

    def _startable(self, priority: int, left: dict[str, int]) -> Iterator[Claim]:
        """Yield claims of backends that have connections left, which gives them one each."""
        for claim in self._levels[priority].values():
            if left.get(claim.backend, 0) > 0:
                left[claim.backend] -= 1
                yield claim

    @property
    def backends(self) -> set[str]:
        return {backend for (backend, _), count in self._held.items() if count}

    def lowest(self, *, besides: Iterable[Claim] = ()) -> dict[str, int]:
        """Return the lowest priority that waits for each backend, when those `besides` are about to start."""
        waiting = self._without(besides)
        return {backend: priority for backend, priority in sorted(waiting, reverse=True) if waiting[backend, priority]}

    def add(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            self._levels.setdefault(claim.priority, {})[claim.attempt_id] = claim
            self._held[claim.backend, claim.priority] += 1

    def remove(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            level = self._levels.get(claim.priority, {})
            if level.pop(claim.attempt_id, None):
                self._precedence.note(claim.priority)
                self._held[claim.backend, claim.priority] -= 1
                if not level:
                    del self._levels[claim.priority]

    def _without(self, claims: Iterable[Claim]) -> Counter[tuple[str, int]]:
        return self._held - Counter((claim.backend, claim.priority) for claim in claims)

    def count_sent(self, sent: Iterable[str]) -> None:
        """Learn how fast the connections to each backend are."""
        self._sent.update(sent)
        now = time.monotonic()
        elapsed = now - self._counted_since
        if elapsed >= RATE_WINDOW_SECONDS:
            self._rates = {backend: count / elapsed for backend, count in self._sent.items()}
            self._sent, self._counted_since = Counter(), now
