"""When to look for mail: often while there is work, rarely while LISTEN is proven to wake us, and always some time."""

import random
import time

from mailqueue.sender.listen import Listener
from mailqueue.sender.look import Look

BUSY_POLL_SECONDS = 0.05
BUSY_FOR_SECONDS = 1.0
"""A sender that has just worked looks this often, for this long: writers then need not wake it."""
LISTENING_POLL_SECONDS = 5.0
"""How often a sender looks by itself while LISTEN is proven to work."""
GLANCE_SECONDS = 0.25
"""How often a sender with a full stock looks for what is more urgent than that."""
JITTER = 0.1


class Rhythm:
    """Knows when the next look is due."""

    def __init__(self, *, poll_seconds: float, listener: Listener) -> None:
        self.look_at = 0.0
        """When to look next (monotonic seconds)."""
        self.glance_at = 0.0
        """When to look next for what is more urgent than the stock (monotonic seconds)."""
        self._worked_at = float("-inf")
        self._poll_seconds = poll_seconds
        self._listener = listener

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.look_at

    @property
    def is_glance_due(self) -> bool:
        return time.monotonic() >= self.glance_at

    def wake(self) -> None:
        """Look now. Whoever woke us counts on our looking for a while: see QUIET_SECONDS of the pace."""
        self.look_at = self.glance_at = 0.0
        self.note_work()

    def note_work(self) -> None:
        self._worked_at = time.monotonic()

    def note_glance(self) -> None:
        self.glance_at = time.monotonic() + GLANCE_SECONDS

    def note_look(self, found: Look) -> None:
        """Decide when to look again after a look that brought this."""
        self.note_glance()
        now = time.monotonic()
        if found.is_more_likely:
            self.look_at = now
        elif found.claims or now - self._worked_at < BUSY_FOR_SECONDS:
            self.look_at = now + BUSY_POLL_SECONDS
        else:
            self.look_at = now + self._idle_seconds()

    def _idle_seconds(self) -> float:
        seconds = self._poll_seconds
        if self._listener.is_proven:
            seconds = max(seconds, LISTENING_POLL_SECONDS)
        return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
