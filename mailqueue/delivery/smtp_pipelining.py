"""Which servers offer PIPELINING (RFC 2920) and don't keep to it: they are spoken to without it for a while."""

import time
from collections.abc import Callable

DISTRUST_SECONDS = 600.0
Server = tuple[str, int | None]


class Distrust:
    """Remembers for a process with which servers replies came out of step. May be used from any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[Server, float] = {}

    def note(self, server: Server) -> None:
        self._until[server] = self._clock() + DISTRUST_SECONDS

    def covers(self, server: Server) -> bool:
        return self._clock() < self._until.get(server, 0.0)


DISTRUST = Distrust()
"""Of this process."""
