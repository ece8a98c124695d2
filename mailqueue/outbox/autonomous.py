"""Writing mail by a connection of its own, whatever becomes of the caller's transaction."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from contextvars import copy_context

from django.db import OperationalError, connections

from mailqueue.outbox.drafts import Draft
from mailqueue.outbox.insert import insert
from mailqueue.outbox.notice import announce
from mailqueue.queue.work import is_locked, work

LOCK_SECONDS = 5
"""How long a lock is waited for. It may be the caller's own, which is not released while he waits for us."""
WAIT_SECONDS = 30
"""How long the caller is kept at most, whatever it is that does not answer."""


def write_apart(drafts: Sequence[Draft], *, using: str) -> None:
    """Write the rows of drafts by a connection of its own, commit, and tell everybody.

    Raises:
        DatabaseError: the rows could not be written.
        TimeoutError: they were not written in time, and will not be; unless the commit itself did not end.
    """
    _Writer(drafts, using=using).write()


class _Writer:
    """Writes drafts in a thread, for in a thread of its own Django gives a connection of its own."""

    def __init__(self, drafts: Sequence[Draft], *, using: str) -> None:
        self._drafts = drafts
        self._using = using
        self._error: BaseException | None = None
        self._is_committed = False
        self._is_decided = threading.Lock()
        """Taken once: by the thread before it commits, or by the caller who gives up."""

    def write(self) -> None:
        # What the caller has set for this context holds there too: `collect()` sees the mail.
        context = copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._run,), name="mailqueue-autonomous-write", daemon=True
        )
        thread.start()
        try:
            thread.join(WAIT_SECONDS)
        finally:
            has_given_up = self._is_decided.acquire(blocking=False)
        if not has_given_up and not self._is_committed:
            thread.join(WAIT_SECONDS)
        if self._error:
            raise self._error
        if not self._is_committed:
            raise TimeoutError(f"The mail could not be written to the database {self._using!r} in {WAIT_SECONDS} s.")

    def _run(self) -> None:
        try:
            self._commit()
        except BaseException as error:  # noqa: BLE001 - it is raised again, where the caller can catch it
            self._error = error
        finally:
            with suppress(Exception):  # what is committed is committed
                connections.close_all()

    def _commit(self) -> None:
        # Whatever the settings of the database say, there is nobody else here to commit.
        connections[self._using].set_autocommit(True)
        try:
            with work(self._using, lock_timeout=f"{LOCK_SECONDS * 1000:.0f}ms"):
                emails = insert(self._drafts, using=self._using)
                if not self._is_decided.acquire(blocking=False):
                    raise TimeoutError("nobody waits for this any more")
        except OperationalError as error:
            if is_locked(error):
                raise OperationalError(
                    f"The mail could not be written within {LOCK_SECONDS} s: somebody holds a lock on its table, "
                    "perhaps the transaction around this very call."
                ) from error
            raise
        self._is_committed = True
        announce(emails, using=self._using)
