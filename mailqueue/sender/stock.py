"""What is claimed but not started: a little ahead of the connections, so that they need not wait for the database."""

import time
from collections.abc import Iterable, Iterator

from mailqueue.queue.claim import Claim

AHEAD_SECONDS = 0.5
MOST = 500
RATE_WINDOW_SECONDS = 1.0


class Stock:
    """Claims in the order in which they are to start: higher priority first, then as they were claimed.

    It holds at most half a second of what the connections have lately sent, and never less than one mail each.
    """

    def __init__(self, *, concurrency: int) -> None:
        self._claims: list[Claim] = []
        self._concurrency = concurrency
        self._rate = 0.0
        self._counted = 0
        self._counted_since = time.monotonic()

    def __bool__(self) -> bool:
        return bool(self._claims)

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims)

    @property
    def _target(self) -> int:
        return min(max(2 * self._concurrency, int(self._rate * AHEAD_SECONDS)), MOST)

    @property
    def has_room(self) -> bool:
        return self.room() > 0

    def room(self, *, besides: int = 0) -> int:
        """Return how many mails to claim now, when `besides` are about to start; 0 while the stock is not low."""
        left = len(self._claims) - besides
        return self._target - left if left <= self._target // 2 else 0

    def next(self, count: int) -> list[Claim]:
        """Return those that are to start next, without removing them."""
        return self._claims[:count]

    def add(self, claims: Iterable[Claim]) -> None:
        self._claims = sorted([*self._claims, *claims], key=lambda claim: -claim.priority)

    def remove(self, claims: Iterable[Claim]) -> None:
        gone = {claim.attempt_id for claim in claims}
        if gone:
            self._claims = [claim for claim in self._claims if claim.attempt_id not in gone]

    def count_sent(self, count: int) -> None:
        """Learn how fast the connections are."""
        self._counted += count
        now = time.monotonic()
        elapsed = now - self._counted_since
        if elapsed >= RATE_WINDOW_SECONDS:
            self._rate, self._counted, self._counted_since = self._counted / elapsed, 0, now
