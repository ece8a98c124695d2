"""What a backend has lately said, counted by this sender: how much it took, put off, and refused as policy."""

import time
from collections import deque
from collections.abc import Callable

from mailqueue.delivery.outcomes import Blame, Outcome, RecipientOutcome, Trouble, Verdict

SLOT_SECONDS = 1
PUT_OFF_SECONDS = 60
PUT_OFF_LEAST = 20
POLICY_SECONDS = 600
POLICY_LEAST = 50
RATE_SECONDS = 5


class Slot:
    """What was counted in one second."""

    __slots__ = ("accepted", "policy", "put_off", "second", "total")

    def __init__(self, second: int) -> None:
        self.second = second
        self.total = self.accepted = self.put_off = self.policy = 0


class Tide:
    """Ten minutes of one backend's answers, in memory of a size that does not grow with the mail."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: deque[Slot] = deque(maxlen=POLICY_SECONDS // SLOT_SECONDS)
        self._throttled_second = self._warned_second = -1
        self.passed_at = float("-inf")
        """When the backend last took a mail (seconds of the clock)."""

    def note(self, outcome: Outcome, *, recipient_count: int) -> None:
        """Count the outcome of one mail."""
        slot = self._slot()
        slot.total += 1
        accepted = _accepted_count(outcome, recipient_count=recipient_count)
        slot.accepted += accepted
        slot.put_off += outcome.verdict == Verdict.RETRY and outcome.blame == Blame.MESSAGE and outcome.reply.code > 0
        slot.policy += outcome.trouble == Trouble.POLICY
        if accepted:
            self.passed_at = self._clock()

    def is_passing(self, *, seconds: float) -> bool:
        """Whether the backend took a mail in so many last seconds."""
        return self._clock() - self.passed_at < seconds

    def accepted_rate(self) -> float:
        """Recipients per second that were accepted lately, at least over one second."""
        slots = self._last(RATE_SECONDS)
        return sum(slot.accepted for slot in slots) / max(len(slots), 1)

    def take_putting_off(self) -> bool:
        """Say, once for the same answers, whether most mail of the last minute was put off: the server is too busy."""
        slots = [slot for slot in self._last(PUT_OFF_SECONDS) if slot.second > self._throttled_second]
        put_off = sum(slot.put_off for slot in slots)
        if put_off < PUT_OFF_LEAST or 2 * put_off <= sum(slot.total for slot in slots):
            return False
        self._throttled_second = self._second()
        return True

    def take_policy_warning(self) -> tuple[int, int] | None:
        """Return how many of how many mails were refused as policy or spam, when it is time to tell a person."""
        slots = [slot for slot in self._last(POLICY_SECONDS) if slot.second > self._warned_second]
        refused, total = sum(slot.policy for slot in slots), sum(slot.total for slot in slots)
        if total < POLICY_LEAST or 2 * refused <= total:
            return None
        self._warned_second = self._second()
        return refused, total

    def _second(self) -> int:
        return int(self._clock() / SLOT_SECONDS)

    def _slot(self) -> Slot:
        second = self._second()
        if not self._slots or self._slots[-1].second != second:
            self._slots.append(Slot(second))
        return self._slots[-1]

    def _last(self, seconds: int) -> list[Slot]:
        first = self._second() - seconds
        return [slot for slot in self._slots if slot.second > first]


def _accepted_count(outcome: Outcome, *, recipient_count: int) -> int:
    if not outcome.recipients:
        return recipient_count if outcome.verdict == Verdict.SENT else 0
    results: list[RecipientOutcome] = list(outcome.recipients.values())
    return sum(result.verdict == Verdict.SENT for result in results)
