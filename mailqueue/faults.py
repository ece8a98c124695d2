"""Named points at which a test may stop or kill a sender. Nothing happens at them unless the environment asks.

MAILQUEUE_FAULTS, for tests only, names what is to happen where: "claimed=kill", or "settling=kill@3" for the third
time that the point is reached; several are separated by commas. "kill" is SIGKILL to this process, "stop" SIGSTOP,
"raise" a FaultError.
"""

import os
import signal
import threading

VARIABLE = "MAILQUEUE_FAULTS"

POINTS = (
    "claimed",
    "started",
    "in_data",
    "accepted",
    "journaled",
    "settling",
    "reaping",
)
"""After the commit of a claim; after the commit of a start; right before the final dot, of a long message after its
data; between the server's 250 and the journal; between the journal and the settling; in the settling's transaction, or
right before it where it is one statement; in the reaper's."""

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class FaultError(Exception):
    """A fault that a test asked for."""


class Fault:
    """What is to happen when a point is reached for the n-th time."""

    def __init__(self, act: str, at: int) -> None:
        self._act = act
        self._left = at
        self._lock = threading.Lock()

    def strike(self, point: str) -> None:
        with self._lock:
            self._left -= 1
            is_now = self._left == 0
        if not is_now:
            return
        if self._act == "raise":
            raise FaultError(point)
        os.kill(os.getpid(), _SIGNALS[self._act])


def parse(text: str) -> dict[str, Fault]:
    """Read what MAILQUEUE_FAULTS says. Raises ValueError for a point or an act that does not exist."""
    faults = {}
    for entry in filter(None, text.split(",")):
        point, _, what = entry.partition("=")
        act, _, count = what.partition("@")
        if point not in POINTS or act not in (*_SIGNALS, "raise"):
            raise ValueError(f"{VARIABLE}: {entry!r} is not one of {', '.join(POINTS)} with =kill, =stop or =raise")
        faults[point] = Fault(act, int(count or 1))
    return faults


_faults = parse(os.environ.get(VARIABLE, ""))


def reach(point: str) -> None:
    """Say that a named point is reached."""
    if _faults and point in _faults:
        _faults[point].strike(point)
