"""Where an address stands in the tables of mail: each is read once, a stretch at a time, without a lock."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connections

from mailqueue.outbox.person import Person

STRETCH = 5000


@dataclass(frozen=True, slots=True)
class Trace:
    """A table, by which column to go along it, which mail a row is of, and where an address may stand in it."""

    table: str
    key: str
    mail: str
    texts: tuple[str, ...]


TRACES = (
    Trace("post_office_email", "id", "id", ('"to"', "cc", "bcc", "from_email", "subject", "headers::text")),
    Trace(
        "mailqueue_messagesource",
        "email_id",
        "email_id",
        (
            "envelope_from",
            "recipients::text",
            "attributes::text",
            *(
                f"(parts->'{name}')::text"
                for name in ("to", "cc", "bcc", "reply_to", "from_email", "headers", "subject")
            ),
        ),
    ),
    Trace("mailqueue_attempt", "id", "email_id", ("recipients::text", "reply", "error")),
    Trace("mailqueue_mailstate", "email_id", "email_id", ("note",)),
    Trace("mailqueue_mailoptions", "email_id", "email_id", ("ref",)),
    Trace("post_office_log", "id", "email_id", ("message",)),
)
"""What mails say is not searched: no body, no attachment."""

LOOK = """
WITH looked AS MATERIALIZED (
    SELECT {key} AS key, {mail} AS email_id, lower(concat_ws(' ', {texts})) AS text FROM {table}
    WHERE {key} > %(after)s ORDER BY {key} LIMIT %(limit)s
)
SELECT key, email_id, CASE WHEN EXISTS (
    SELECT FROM unnest(%(spellings)s::text[]) AS s(text) WHERE strpos(looked.text, s.text) > 0) THEN text END
FROM looked ORDER BY key
"""


def mails_that_name(person: Person, *, using: str, stretch: int = STRETCH) -> Iterator[list[int]]:
    """Yield the ids of mails that name him in one of their rows; some more than once."""
    with connections[using].cursor() as cursor:
        for trace in TRACES:
            yield from _mails_in(cursor, trace, person, stretch=stretch)


def _mails_in(cursor: Any, trace: Trace, person: Person, *, stretch: int) -> Iterator[list[int]]:
    look = LOOK.format(table=trace.table, key=trace.key, mail=trace.mail, texts=", ".join(trace.texts))
    given = {"after": -1, "limit": stretch, "spellings": person.spellings}
    is_more = True
    while is_more:
        cursor.execute(look, given)
        rows = cursor.fetchall()
        yield list(dict.fromkeys(email_id for _, email_id, text in rows if text is not None and person.is_named(text)))
        is_more = len(rows) == stretch
        given["after"] = rows[-1][0] if rows else -1
