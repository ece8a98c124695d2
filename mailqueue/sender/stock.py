"""What is claimed but not started: a little ahead of the connections, so that they need not wait for the database."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from mailqueue.queue.claim import Claim

AHEAD_SECONDS = 0.5
MOST = 500
RATE_WINDOW_SECONDS = 1.0


class Stock:
    """Claims in the order in which they are to start: higher priority first, then as they were claimed.

    For each backend it holds at most half a second of what the connections have lately sent, and never less than one
    mail each.
    """

    def __init__(self) -> None:
        self._claims: list[Claim] = []
        self._rates: Mapping[str, float] = {}
        self._sent: Counter[str] = Counter()
        self._counted_since = time.monotonic()

    def __bool__(self) -> bool:
        return bool(self._claims)

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims)

    def room(self, backend: str, *, connections: int, besides: Iterable[Claim] = ()) -> int:
        """Return how many mails of a backend to claim now, when those `besides` are about to start.

        0 while the stock is not low: half of what `connections` send in the next moment is enough.
        """
        ahead = int(self._rates.get(backend, 0.0) * AHEAD_SECONDS)
        target = min(max(2 * connections, ahead), MOST) if connections else 0
        held = sum(claim.backend == backend for claim in self._claims)
        left = held - sum(claim.backend == backend for claim in besides)
        return target - left if left <= target // 2 else 0

    def next(self, count: int, *, free: Mapping[str, int]) -> list[Claim]:
        """Return those that are to start next, at most so many of each backend, without removing them."""
        chosen: list[Claim] = []
        left = dict(free)
        for claim in self._claims:
            if len(chosen) == count:
                break
            if left.get(claim.backend, 0) > 0:
                left[claim.backend] -= 1
                chosen.append(claim)
        return chosen

    @property
    def backends(self) -> set[str]:
        return {claim.backend for claim in self._claims}

    def add(self, claims: Iterable[Claim]) -> None:
        self._claims = sorted([*self._claims, *claims], key=lambda claim: -claim.priority)

    def remove(self, claims: Iterable[Claim]) -> None:
        gone = {claim.attempt_id for claim in claims}
        if gone:
            self._claims = [claim for claim in self._claims if claim.attempt_id not in gone]

    def count_sent(self, sent: Iterable[str]) -> None:
        """Learn how fast the connections to each backend are."""
        self._sent.update(sent)
        now = time.monotonic()
        elapsed = now - self._counted_since
        if elapsed >= RATE_WINDOW_SECONDS:
            self._rates = {backend: count / elapsed for backend, count in self._sent.items()}
            self._sent, self._counted_since = Counter(), now
