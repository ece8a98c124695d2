"""Which errors are about the database, and which about one row."""

import psycopg
import pytest
from django.db import DataError, InterfaceError, InternalError, OperationalError, ProgrammingError

from mailqueue.queue.work import is_databases_trouble, is_locked


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
        (ValueError("a bug"), False),
    ],
)
def test_the_databases_trouble_is_told_apart_from_a_rows(error: Exception, expected: bool) -> None:
    assert expected == is_databases_trouble(error)


def test_a_locked_row_is_recognised() -> None:
    assert is_locked(caused(OperationalError(), psycopg.errors.LockNotAvailable))
    assert not is_locked(OperationalError())
