"""Writing many mails with two statements, and the database's clock for what is computed before they are written."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from django.db import connections
from django.db.models import (
    CharField,
    DateTimeField,
    ForeignKey,
    PositiveIntegerField,
    PositiveSmallIntegerField,
    TextField,
)
from post_office.fields import CommaSeparatedEmailField
from post_office.models import Email

Column: TypeAlias = tuple[str, str, Callable[..., Any] | None]
"""What holds the value of a mail, where it is written, and what makes it fit for the database."""

# The ids come first, so that it is certain which row is whose.
NUMBERS = """
SELECT statement_timestamp(), ARRAY(
    SELECT nextval(pg_get_serial_sequence('post_office_email', 'id')) FROM generate_series(1, %s)
)
"""
COPY = "COPY post_office_email (id, created, last_updated, {columns}) FROM STDIN"
DATABASES_OWN = ("id", "created", "last_updated")
PLAIN = (
    CharField,
    TextField,
    CommaSeparatedEmailField,
    PositiveIntegerField,
    PositiveSmallIntegerField,
    DateTimeField,
    ForeignKey,
)
"""Fields whose values need no preparation. A subclass may do as it likes."""


def database_time(using: str) -> datetime:
    """Return what time it is for the database."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    found: datetime = now
    return found


def insert_mails(emails: Sequence[Email], *, using: str) -> None:
    """Write the rows of mails, in order, and give the mails their ids and times, which are the database's.

    All are written or none, but an error ends the caller's transaction or savepoint. Like Django's `bulk_create`, it
    sends no signals.
    """
    connection = connections[using]
    columns = _columns()
    names = ", ".join(connection.ops.quote_name(column) for _, column, _ in columns)
    with connection.cursor() as cursor:
        cursor.execute(NUMBERS, [len(emails)])
        now, email_ids = cursor.fetchone()
        with connection.wrap_database_errors, cursor.copy(COPY.format(columns=names)) as copy:
            for email, email_id in zip(emails, email_ids, strict=True):
                copy.write_row([email_id, now, now, *_values(email, columns, connection)])
    for email, email_id in zip(emails, email_ids, strict=True):
        email.pk = email_id
        email.created = email.last_updated = now
        email._state.adding = False
        email._state.db = using


def _columns() -> list[Column]:
    """What a mail brings along, in whatever version of post_office, and whatever CONTEXT_FIELD_CLASS is."""
    fields = [field for field in Email._meta.concrete_fields if field.column not in DATABASES_OWN]
    return [
        (field.attname, str(field.column), None if type(field) in PLAIN else field.get_db_prep_save)
        for field in fields
    ]


def _values(email: Email, columns: Sequence[Column], connection: Any) -> list[Any]:
    given = vars(email)
    return [
        given[name] if prepared is None or given[name] is None else prepared(given[name], connection=connection)
        for name, _, prepared in columns
    ]
