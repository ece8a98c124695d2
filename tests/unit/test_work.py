"""Which errors are about the database, and which about one row."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, DataError, InterfaceError, InternalError, OperationalError, ProgrammingError

from mailqueue.queue.work import is_databases_trouble, is_locked, is_out_of_memory, watched_by, watching


def caused(error: Exception, cause: type[psycopg.Error]) -> Exception:
    error.__cause__ = cause()
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("the connection is closed"), True),
        (InterfaceError("the connection is closed"), True),
        (caused(OperationalError(), psycopg.errors.AdminShutdown), True),
        (caused(OperationalError(), psycopg.errors.DeadlockDetected), True),
        (caused(InternalError(), psycopg.errors.ReadOnlySqlTransaction), True),
        (caused(ProgrammingError(), psycopg.errors.UndefinedTable), True),
        (caused(OperationalError(), psycopg.errors.DiskFull), True),
        (caused(OperationalError(), psycopg.errors.QueryCanceled), False),
        (caused(OperationalError(), psycopg.errors.LockNotAvailable), False),
        (caused(InternalError(), psycopg.errors.DataCorrupted), False),
        (DataError("timestamp too small"), False),
        (OperationalError("cannot allocate memory for input buffer"), False),
        (DatabaseError("out of memory for query result"), False),
        (caused(OperationalError("out of memory"), psycopg.errors.OutOfMemory), True),
        (ValueError("a bug"), False),
    ],
)
def test_the_databases_trouble_is_told_apart_from_a_rows(error: Exception, expected: bool) -> None:
    assert expected == is_databases_trouble(error)


def test_a_locked_row_is_recognised() -> None:
    assert is_locked(caused(OperationalError(), psycopg.errors.LockNotAvailable))
    assert not is_locked(OperationalError())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (DatabaseError("out of memory for query result"), True),
        (caused(OperationalError("out of memory"), psycopg.errors.OutOfMemory), False),
        (DatabaseError("the connection is closed"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_of_this_process_is_told_from_one_of_the_server(error: Exception, expected: bool) -> None:
    assert expected == is_out_of_memory(error)


class Watcher:
    """Remembers what it was told to watch."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @contextmanager
    def over(self, connection: Any) -> Iterator[None]:
        self.seen.append(connection.alias)
        yield


def test_statements_are_watched_where_somebody_watches_and_nowhere_else() -> None:
    watcher = Watcher()
    with watched_by(watcher), watching("default"):
        pass
    with watching("default"):
        pass

    assert ["default"] == watcher.seen
