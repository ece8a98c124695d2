"""Which priority is next: the highest, but for one time in ten, when those below it have their turn."""

from collections import Counter
from collections.abc import Collection

LOWER_SHARE = 10
"""One mail in so many is of a lower priority, where there is any: what is urgent does not stop the rest."""


class Precedence:
    """Counts how often each priority went before lower ones. What it chose holds when it was noted."""

    def __init__(self, passed: Counter[int] | None = None) -> None:
        self._passed = Counter(passed)

    def copy(self) -> "Precedence":
        return Precedence(self._passed)

    def choose(self, priorities: Collection[int]) -> int:
        """Return the one of these priorities, of which there is at least one, that is next."""
        ordered = sorted(priorities, reverse=True)
        return next((priority for priority in ordered if self._passed[priority] < LOWER_SHARE - 1), ordered[-1])

    def note(self, priority: int) -> None:
        """Count one mail; those above it have given way."""
        for higher in self._passed:
            if higher > priority:
                self._passed[higher] = 0
        self._passed[priority] += 1

    def share_out(self, count: int, priorities: Collection[int]) -> Counter[int]:
        """Return how many of so many mails are due to each of these priorities, and note that they have them."""
        if len(priorities) < 2:
            return Counter(dict.fromkeys(priorities, count))
        shares: Counter[int] = Counter()
        for _ in range(count):
            chosen = self.choose(priorities)
            self.note(chosen)
            shares[chosen] += 1
        return shares
