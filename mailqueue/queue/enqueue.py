"""Writing one mail with one statement, many with two; the database's clock for what is computed before they are."""

import gc
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias

from django.db import connections, transaction
from django.db.models import (
    CharField,
    DateTimeField,
    ForeignKey,
    JSONField,
    PositiveIntegerField,
    PositiveSmallIntegerField,
    TextField,
)
from post_office.fields import CommaSeparatedEmailField
from post_office.models import Email

Column: TypeAlias = tuple[str, str, bool, Callable[..., Any]]
"""What holds the value of a mail, where it is written, whether it is `PLAIN`, and what else makes it fit to write."""

# The ids come first, so that it is certain which row is whose.
NUMBERS = """
SELECT statement_timestamp(), ARRAY(
    SELECT nextval(pg_get_serial_sequence('post_office_email', 'id')) FROM generate_series(1, %s)
)
"""
COPY = "COPY post_office_email (id, created, last_updated, {columns}) FROM STDIN"
# The times of the rows are the database's: they order the queue.
INSERT = """
INSERT INTO post_office_email ({columns}, created, last_updated)
VALUES ({values}, statement_timestamp(), statement_timestamp()) RETURNING id, extract(epoch FROM created)::float8
"""
ROWS_PER_COPY = 1_000
"""A statement has an end that time limits, locks and the garbage collector can wait for."""
TIMES = ("created", "last_updated")
PLAIN = (
    CharField,
    TextField,
    CommaSeparatedEmailField,
    PositiveIntegerField,
    PositiveSmallIntegerField,
    DateTimeField,
    ForeignKey,
)
"""Fields whose values need no preparation when they are READY. A subclass may do as it likes."""
READY = (str, int)


def database_time(using: str) -> datetime:
    """Return what time it is for the database."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    found: datetime = now
    return found


def insert_mail(email: Email, *, using: str) -> None:
    """Write the row of one mail, and give the mail its id and times. Sends no signals, and needs no transaction.

    What the mail has no value for is left to the database.

    Raises:
        DatabaseError: the row could not be written, and an open transaction can only be rolled back, as with `save`.
    """
    connection = connections[using]
    given = vars(email)
    names: list[str] = []
    values: list[Any] = []
    for attribute, name, is_plain, prepared in _columns():
        value = given[attribute]
        if value is not None:
            names.append(name)
            is_ready = is_plain and type(value) in READY
            values.append(value if is_ready else prepared(value, connection=connection))
    try:
        with connection.cursor() as cursor:
            cursor.execute(_statement(tuple(names)), values)
            email.pk, seconds = cursor.fetchone()
    except Exception:
        with transaction.mark_for_rollback_on_error(using):
            raise
    # Django's way of reading times takes longer than all the rest of it.
    _note(email, datetime.fromtimestamp(seconds, connection.timezone), using=using)


def insert_mails(emails: Iterable[Email], *, count: int, using: str) -> None:
    """Write the rows of at most `count` mails, in order, and give them their ids and times, which are the database's.

    Rows are sent while the next mails are made. All are written or none, but an error ends the caller's transaction
    or savepoint. Like Django's `bulk_create`, it sends no signals.

    Raises:
        RuntimeError: to make a mail, this very connection was asked for something: it would wait for itself.
        ValueError: there are more mails than that.
        DatabaseError: the rows could not be written.
    """
    connection = connections[using]
    row_of = _RowReader(connection)
    making = iter(emails)
    with connection.cursor() as cursor:
        cursor.execute(NUMBERS, [count])
        now, email_ids = cursor.fetchone()
        for start in range(0, count, ROWS_PER_COPY):
            with (
                _collecting_nothing(),
                connection.execute_wrapper(_refuse),
                connection.wrap_database_errors,
                cursor.copy(row_of.statement) as copy,
            ):
                for email_id in email_ids[start : start + ROWS_PER_COPY]:
                    email = next(making, None)
                    if email is None:
                        return
                    copy.write_row([email_id, now, now, *row_of(email)])
                    email.pk = email_id
                    _note(email, now, using=using)
    if next(making, None) is not None:
        raise ValueError(f"more than the {count} mails that were announced")


class _RowReader:
    """Reads what is to be written of a mail: its columns, but for the id and the times."""

    def __init__(self, connection: Any) -> None:
        columns = [column for column in _columns() if column[0] != "id"]
        self.statement = COPY.format(columns=", ".join(name for _, name, _, _ in columns))
        self._read = itemgetter(*[attribute for attribute, _, _, _ in columns])
        self._special = [(place, prepared) for place, (_, _, is_plain, prepared) in enumerate(columns) if not is_plain]
        self._connection = connection

    def __call__(self, email: Email) -> list[Any]:
        values = list(self._read(vars(email)))
        for place, prepared in self._special:
            if values[place] is not None:
                values[place] = prepared(values[place], connection=self._connection)
        return values


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Keep Python's garbage collector from running by itself during the block.

    What it finds may be a cursor of this connection that was left open: to close it waits for the COPY, for ever.
    Where two threads are here at once, the first to end has it run again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _refuse(*_: Any) -> None:
    raise RuntimeError("The database can't be asked while mails are being written to it.")


def _note(email: Email, now: datetime, *, using: str) -> None:
    """Let the object say what Django says of one that it has just saved."""
    email.created = email.last_updated = now
    email._state.adding = False
    email._state.db = using


@lru_cache(maxsize=1)
def _columns() -> tuple[Column, ...]:
    """What a mail brings along, in whatever version of post_office, and whatever CONTEXT_FIELD_CLASS is."""
    return tuple(
        (field.attname, f'"{field.column}"', type(field) in PLAIN, _preparation(field))
        for field in Email._meta.concrete_fields
        if field.column not in TIMES and not (field.generated or field.has_db_default())
    )


def _preparation(field: Any) -> Callable[..., Any]:
    if type(field) is JSONField:
        return lambda value, connection: json.dumps(value, cls=field.encoder)  # noqa: ARG005 - called as Django's
    prepared: Callable[..., Any] = field.get_db_prep_save
    return prepared


@lru_cache
def _statement(names: tuple[str, ...]) -> str:
    """Return the INSERT for a mail that has values for these columns: most have them for the same."""
    return INSERT.format(columns=", ".join(names), values=", ".join(["%s"] * len(names)))
