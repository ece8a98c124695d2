"""One transaction of a sender: it waits for nobody for long, and its errors are told apart."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

from django.db import Error, InterfaceError, OperationalError, connections, transaction

LOCK_TIMEOUT = "500ms"
"""How long a sender waits for a row that somebody else has locked: a console left open must not stop the mail."""
IDLE_TIMEOUT = "10s"
"""How long a sender that was stopped, or cut off, in a transaction may keep rows locked: the server ends it then."""

DATABASE_CLASSES = frozenset({"08", "25", "40", "42", "53", "57", "58"})
"""SQLSTATE classes that are about the database as a whole: connection, read-only, deadlock, missing tables, full."""
CANCELLED_STATEMENT = "57014"


class Watch(Protocol):
    """Looks after statements that get no answer: a connection may be dead without anybody saying so."""

    def over(self, connection: Any) -> AbstractContextManager[None]:
        """Watch this connection of Django's for the time of the block."""
        ...


_watch: ContextVar[Watch | None] = ContextVar("mailqueue_watch", default=None)


@contextmanager
def watched_by(watch: Watch) -> Iterator[None]:
    """Within, in this thread, have somebody watch every transaction of a sender."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def watching(using: str) -> AbstractContextManager[None]:
    """Have what this thread asks that database watched, if there is anybody who watches."""
    watch = _watch.get()
    return nullcontext() if watch is None else watch.over(connections[using])


@contextmanager
def work(using: str, *, lock_timeout: str = LOCK_TIMEOUT) -> Iterator[Any]:
    """Open a transaction and give a cursor on it."""
    with watching(using), transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(
            f"SET LOCAL lock_timeout = '{lock_timeout}'; "
            f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'"
        )
        yield cursor


def is_databases_trouble(error: Exception) -> bool:
    """Say whether a new connection, or time, may help; else it is some row that can't be worked on."""
    if not isinstance(error, Error) or is_out_of_memory(error):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError)
    return state[:2] in DATABASE_CLASSES and state != CANCELLED_STATEMENT


def is_out_of_memory(error: Exception) -> bool:
    """Say whether this process has no memory for what it asked for. libpq says so in words alone."""
    is_libpqs = isinstance(error, Error) and getattr(error.__cause__, "sqlstate", None) is None
    words = ("out of memory", "cannot allocate memory")
    return isinstance(error, MemoryError) or (is_libpqs and any(word in str(error).lower() for word in words))


def is_locked(error: Exception) -> bool:
    """Say whether somebody else holds a row that was needed (SQLSTATE lock_not_available)."""
    return getattr(error.__cause__, "sqlstate", None) == "55P03"
