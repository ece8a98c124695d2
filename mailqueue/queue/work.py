"""One transaction of a sender: it waits for nobody for long, and its errors are told apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import Error, InterfaceError, OperationalError, connections, transaction

LOCK_TIMEOUT = "500ms"
"""How long a sender waits for a row that somebody else has locked: a console left open must not stop the mail."""

DATABASE_CLASSES = frozenset({"08", "25", "40", "42", "53", "57", "58"})
"""SQLSTATE classes that are about the database as a whole: connection, read-only, deadlock, missing tables, full."""
CANCELLED_STATEMENT = "57014"


@contextmanager
def work(using: str, *, lock_timeout: str = LOCK_TIMEOUT) -> Iterator[Any]:
    """Open a transaction and give a cursor on it."""
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{lock_timeout}'")
        yield cursor


def is_databases_trouble(error: Exception) -> bool:
    """Say whether a new connection, or time, may help; else it is some row that can't be worked on."""
    if not isinstance(error, Error):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError)
    return state[:2] in DATABASE_CLASSES and state != CANCELLED_STATEMENT


def is_locked(error: Exception) -> bool:
    """Say whether somebody else holds a row that was needed (SQLSTATE lock_not_available)."""
    return getattr(error.__cause__, "sqlstate", None) == "55P03"
