"""Writing one mail with one statement, many with two; the database's clock for what is computed before they are."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from django.db import connections, transaction
from django.db.backends.postgresql.base import Cursor, ServerBindingCursor
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
    columns = [column for column in _columns() if given[column[0]] is not None]
    values = _values(given, columns, connection)
    try:
        cursor = _binding_cursor(connection)
        cursor.execute(_statement(tuple([name for _, name, _, _ in columns])), values)
        email.pk, seconds = cursor.fetchone()
    except Exception:
        with transaction.mark_for_rollback_on_error(using):
            raise
    # Django's way of reading times takes longer than all the rest of it.
    _note(email, datetime.fromtimestamp(seconds, connection.timezone), using=using)


def _binding_cursor(connection: Any) -> Any:
    """Return a cursor that sends the values beside the statement, as psycopg does by itself. It need not be closed.

    Django's writes them into it, to be read out of it again: that takes a sixth longer. To make a cursor takes as long
    again, so each connection keeps one. Who has set a cursor of his own, or stands between Django and its cursors,
    keeps that.
    """
    connection.ensure_connection()
    raw = connection.connection
    if raw.cursor_factory is not Cursor or connection.execute_wrappers or "cursor" in vars(connection):
        return connection.cursor()
    connection.validate_thread_sharing()
    kept = _kept.get(connection)
    if kept is None or kept.connection is not raw:
        raw.cursor_factory = ServerBindingCursor
        try:
            kept = _kept[connection] = connection.create_cursor()
        finally:
            raw.cursor_factory = Cursor
    return connection.make_debug_cursor(kept) if connection.queries_logged else connection.make_cursor(kept)


_kept: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""A cursor of each of Django's connections."""


def insert_mails(emails: Iterable[Email], *, count: int, using: str) -> None:
    """Write the rows of at most `count` mails, in order, and give them their ids and times, which are the database's.

    Each row is sent before the next mail is asked for, so that the server writes while the mails are made. All are
    written or none, but an error ends the caller's transaction or savepoint. Like Django's `bulk_create`, it sends no
    signals.

    Raises:
        RuntimeError: to make a mail, this very connection was asked for something: it would wait for itself.
        DatabaseError: the rows could not be written.
    """
    connection = connections[using]
    columns = [column for column in _columns() if column[0] != "id"]
    names = ", ".join(name for _, name, _, _ in columns)
    read = itemgetter(*[attribute for attribute, _, _, _ in columns])
    special = [(place, prepared) for place, (_, _, is_plain, prepared) in enumerate(columns) if not is_plain]
    with connection.cursor() as cursor:
        cursor.execute(NUMBERS, [count])
        now, email_ids = cursor.fetchone()
        statement = COPY.format(columns=names)
        with connection.execute_wrapper(_refuse), connection.wrap_database_errors, cursor.copy(statement) as copy:
            for email, email_id in zip(emails, email_ids, strict=False):
                values = list(read(vars(email)))
                for place, prepared in special:
                    if values[place] is not None:
                        values[place] = prepared(values[place], connection=connection)
                copy.write_row([email_id, now, now, *values])
                email.pk = email_id
                _note(email, now, using=using)


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


def _values(given: Mapping[str, Any], columns: Sequence[Column], connection: Any) -> list[Any]:
    return [
        value
        if (value := given[attribute]) is None or (is_plain and type(value) in READY)
        else prepared(value, connection=connection)
        for attribute, _, is_plain, prepared in columns
    ]


@lru_cache
def _statement(names: tuple[str, ...]) -> str:
    """Return the INSERT for a mail that has values for these columns: most have them for the same."""
    return INSERT.format(columns=", ".join(names), values=", ".join(["%s"] * len(names)))
