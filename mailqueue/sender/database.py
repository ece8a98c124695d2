"""The loop's connection to the database: lost, waited for, found again."""

import logging
import time
from collections.abc import Callable, Sequence

from django.db import Error, ProgrammingError, connections

from mailqueue.queue.release import release_all_but
from mailqueue.queue.work import is_databases_trouble, settle_in, work
from mailqueue.sender.listen import Listener
from mailqueue.sender.log import instrument, tell_fault, told
from mailqueue.sender.options import Options
from mailqueue.sender.waker import Waker

PAUSE_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5)
"""From the beginning of one try to connect to the beginning of the next, unless the try takes longer."""


class Database:
    """Keeps count of what goes wrong with the database, and says when it is away and when it is back."""

    def __init__(self, options: Options, *, listener: Listener, waker: Waker) -> None:
        self._options = options
        self._listener = listener
        self._waker = waker
        self._failure_count = 0
        self._tried_at = 0.0
        self.is_away = False
        """It was lost, and is not connected again."""

    def note_failure(self, error: Exception) -> None:
        """Say what went wrong. A fault that is not the connection's is told with its traceback."""
        self._failure_count += 1
        self.is_away = True
        if is_databases_trouble(error):
            instrument("database.lost", level=logging.ERROR, error=type(error).__name__, text=first_line(error))
        else:
            tell_fault(error)

    def note_success(self) -> None:
        """Say that it works again, if it did not."""
        if self._failure_count:
            self._failure_count = 0
            instrument("database.back")

    def reconnect(self, known_attempts: Sequence[int], *, is_given_up: Callable[[], bool]) -> bool:
        """Connect anew, with growing pauses; return False when that was given up.

        Claims that this sender holds without knowing of them, because the answer to their commit was lost, go back.
        """
        while not is_given_up():
            self._waker.wait(self._pause())
            try:
                self._connect(known_attempts)
            except Error as error:
                self._note_absence(error)
            except Exception as error:  # noqa: BLE001 - no memory, no file descriptor: it must not end the sender
                self.note_failure(error)
            else:
                self.is_away = False
                return True
        return False

    def _connect(self, known_attempts: Sequence[int]) -> None:
        self._tried_at = time.monotonic()
        self.close()
        self._listener.attach()
        settle_in(self._options.using)
        self._return_orphans(known_attempts)

    def _note_absence(self, error: Error) -> None:
        self._failure_count += 1
        self.is_away = True
        text, remedy = first_line(error), _remedy(error)
        instrument("database.away", level=logging.WARNING, failures=self._failure_count, text=text, **remedy)

    def close(self) -> None:
        self._listener.detach()
        for alias in {self._options.using, self._listener.alias or self._options.using}:
            connections[alias].close()

    def _pause(self) -> float:
        if not self._failure_count:
            return 0
        pause = PAUSE_SECONDS[min(self._failure_count, len(PAUSE_SECONDS)) - 1]
        return max(pause - (time.monotonic() - self._tried_at), PAUSE_SECONDS[0])

    def _return_orphans(self, known_attempts: Sequence[int]) -> None:
        with work(self._options.using) as cursor:
            release_all_but(cursor, known_attempts, sender=self._options.sender)


def _remedy(error: Error) -> dict[str, str]:
    return {"remedy": "python manage.py migrate"} if isinstance(error, ProgrammingError) else {}


def first_line(error: BaseException) -> str:
    """Say what is wrong in one line that names nobody."""
    return told(error)
