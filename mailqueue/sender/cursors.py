"""Where this sender goes on in each lane, and when it looks at all lanes from their beginnings again.

What is finished stays in the lane index until vacuum may remove it. Stepping over that costs next to nothing, until
another session holds a snapshot for long: then lanes are read from where they were left, and only now and then whole.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

from mailqueue.queue.lanes import START, LaneKey, Lanes, Position, read_known_lanes, read_lanes
from mailqueue.sender.precedence import Precedence

SLOW_SECONDS = 0.001
"""Reading all lanes is done at every look unless it takes longer."""
RESTS_PER_READ = 199
"""When it is slow, reading all lanes takes one part in two hundred of the time, so that few claims wait for it, ..."""
LONGEST_REST_SECONDS = 5.0
"""... but is done so often whatever it takes: so is found what sorts early, for it was committed late or came back."""


class Cursors:
    """What a look knows from those before it. A turn works on a copy, which holds when the turn is committed."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.precedences: defaultdict[str, Precedence] = defaultdict(Precedence)
        """Whose turn it is, for each backend."""
        self.is_whole = False
        """The last reading began at the beginning of every lane."""
        self._begins: dict[LaneKey, Position] = {}
        self._rested_at = float("-inf")
        self._clock = clock

    def copy(self) -> "Cursors":
        other = Cursors(clock=self._clock)
        other.precedences.update({backend: known.copy() for backend, known in self.precedences.items()})
        other.is_whole, other._rested_at = self.is_whole, self._rested_at
        other._begins = dict(self._begins)
        return other

    def read(self, cursor: Any, *, usual: Collection[LaneKey], is_whole_wanted: bool = False) -> Lanes:
        """Return the lanes in which mail stands: all, or where that would take too long, the usual and known ones."""
        self.is_whole = is_whole_wanted or self._clock() >= self._rested_at
        if not self.is_whole:
            lanes = read_known_lanes(cursor, self._begins)
            self._begins |= lanes.begins
            return lanes
        lanes = read_lanes(cursor)
        self._begins = dict.fromkeys(usual, lanes.seen_until) | lanes.begins
        rest = lanes.seconds * RESTS_PER_READ if lanes.seconds > SLOW_SECONDS else 0.0
        self._rested_at = self._clock() + min(rest, LONGEST_REST_SECONDS)
        return lanes

    def begins(self, spellings: Iterable[str], *, priority: int) -> dict[str, Position]:
        """Return where to begin in a lane, for each spelling of its alias."""
        return {alias: self._begins.get((alias, priority), START) for alias in spellings}

    def move(self, spellings: Iterable[str], *, priority: int, to: Position | None) -> None:
        """Go on behind this the next time."""
        if to is not None:
            self._begins |= {(alias, priority): to for alias in spellings}
