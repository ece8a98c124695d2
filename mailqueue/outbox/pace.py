"""How often a process that writes mail wakes the senders: for each mail at first, and the less the more it writes."""

import time
from collections.abc import Callable

SHARE = 0.03
"""The part of its time that a process may spend on waking senders, and on its commits as they count here."""
COMMIT_SECONDS = 0.0003
"""What a commit counts, so that who writes 100 mails a second has nothing left for waking: the senders are at work."""
SAVED_SECONDS = 0.01
"""The most that is saved for mails that come close together."""
NEWEST = 1 / 8
"""The weight of the newest in what waking is expected to take: one that was kept waiting is not yet a busy machine."""
QUIET_SECONDS = 0.25
"""Whatever it takes, senders are woken as often as this: one that was woken goes on looking for longer than this."""


class Pace:
    """An account of time for one database: it is earned while time passes, and spent on commits and on waking.

    Waking is slow where the machine is busy or the database far, and is then done less often. Threads share an account
    without a lock: where two of them meet, somebody is woken once more or once less, and no fork can inherit a lock.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._saved = SAVED_SECONDS
        self._cost = 0.0
        self._seen_at = self._woken_at = float("-inf")

    def may_wake(self) -> bool:
        """Count a commit, and say whether to wake the senders for it. If so, `note_cost` has to follow."""
        now = self._clock()
        saved = min(SAVED_SECONDS, self._saved + SHARE * (now - self._seen_at)) - COMMIT_SECONDS
        self._seen_at = now
        self._saved = max(0.0, saved)
        if saved < self._cost and now - self._woken_at < QUIET_SECONDS:
            return False
        self._saved = max(0.0, saved - self._cost)
        self._woken_at = now
        return True

    def note_cost(self) -> None:
        """Take note that the senders have been woken: what that took counts for the next times."""
        self._cost += (self._clock() - self._woken_at - self._cost) * NEWEST
