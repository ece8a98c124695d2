"""The watchdog: cuts a database connection that gives no answer, so that the loop finds out and connects anew.

A connection can be dead without anybody saying so: its packets are dropped, or a proxy on the way keeps it open for a
server that is gone. The statement on it would wait for ever, and TERM with it.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import psycopg

from mailqueue.sender.log import instrument
from mailqueue.sender.waker import Stop

PATIENCE_SECONDS = 20.0
"""How long one transaction may take."""
LAST_PATIENCE_SECONDS = 5.0
"""The same, once the process was told to stop."""
URGENT_PATIENCE_SECONDS = 2.0
"""The same, once somebody waits at the terminal: what is known must still be written by a database that answers."""
LONGEST_PATIENCE_SECONDS = 320.0
FREE_CUTS = 2
"""So many cuts in a row don't make the watchdog more patient."""
CALM_SECONDS = 600
"""Cuts that are further apart are told from a database that is merely slow: that one must get through in the end."""
LOOK_EVERY_SECONDS = 1.0


class Watchdog:
    """A thread that looks at the clock. It costs those whom it watches two assignments.

    A cut makes the statement that waits raise OperationalError. What it was about to commit is committed or not, as
    after any lost connection.
    """

    def __init__(self, stop: Stop, *, look_every: float = LOOK_EVERY_SECONDS) -> None:
        self._stop = stop
        self._look_every = look_every
        self._watched: tuple[float, Any] | None = None
        self._cut_count = 0
        self._cut_at = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mailqueue-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    @contextmanager
    def over(self, connection: Any) -> Iterator[None]:
        self._watched = (time.monotonic(), connection)
        try:
            yield
        finally:
            self._watched = None

    @property
    def patience(self) -> float:
        """How long a transaction that runs now may take (seconds)."""
        if self._stop.is_urgent:
            return URGENT_PATIENCE_SECONDS
        if self._stop.is_asked:
            return LAST_PATIENCE_SECONDS
        return min(PATIENCE_SECONDS * 2.0 ** max(self._cut_count - FREE_CUTS, 0), LONGEST_PATIENCE_SECONDS)

    def _run(self) -> None:
        while not self._ended.wait(self._look_every):
            with suppress(MemoryError):  # there will be a next time
                self._look()

    def _look(self) -> None:
        now = time.monotonic()
        if self._cut_count and now - self._cut_at > CALM_SECONDS:
            self._cut_count = 0
        watched = self._watched
        if watched is None or now - watched[0] <= self.patience:
            return
        if cut(watched[1], is_still_meant=lambda: self._watched is watched):
            self._cut_count += 1
            self._cut_at = now
            instrument("database.unanswered", level=logging.ERROR, seconds=round(now - watched[0], 1))


def cut(connection: Any, *, is_still_meant: Callable[[], bool] = lambda: True) -> bool:
    """Shut down the socket of a connection of Django's that another thread waits on; return whether it was done.

    The other thread may close its connection at any time, and the number of its socket be given to another. Hence the
    copy: while psycopg still names the same number after it was made, it is a copy of the right one.
    """
    raw = connection.connection
    if raw is None:
        return False
    try:
        fd = raw.fileno()
        copy = socket.socket(fileno=os.dup(fd))
    except (OSError, psycopg.Error):
        return False
    try:
        if raw.fileno() != fd or not is_still_meant():
            return False
        copy.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        return False
    finally:
        copy.close()
    return True
