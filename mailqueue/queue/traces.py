"""Where an address stands in the tables of mail: each is read once, a stretch at a time, without a lock."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.db import connections

from mailqueue.outbox.person import Person

STRETCH = 5000

Reader: TypeAlias = Callable[[Person, str], bool]
"""Says whether what stands in a column names him."""


def _is_in_list(person: Person, text: str) -> bool:
    return person.redacted_list(text) != text


def _is_in_json(person: Person, text: str) -> bool:
    value = json.loads(text)
    return bool(person.redacted_json(value) != value)


def _is_in_texts(person: Person, text: str) -> bool:
    value = json.loads(text)
    return bool(person.redacted_texts(value) != value)


@dataclass(frozen=True, slots=True)
class Trace:
    """A table, by which column to go along it, which mail a row is of, and where an address may stand in it."""

    table: str
    key: str
    mail: str
    columns: tuple[tuple[str, Reader], ...]


TRACES = (
    Trace(
        "post_office_email",
        "id",
        "id",
        (
            *((name, _is_in_list) for name in ('"to"', "cc", "bcc")),
            ("from_email", Person.is_sender),
            ("subject", Person.is_named),
            ("headers::text", _is_in_texts),
        ),
    ),
    Trace(
        "mailqueue_messagesource",
        "email_id",
        "email_id",
        (
            ("envelope_from", Person.is_sender),
            ("parts->>'from_email'", Person.is_sender),
            ("parts->>'subject'", Person.is_named),
            ("recipients::text", _is_in_json),
            ("attributes::text", _is_in_texts),
            ("(parts->'headers')::text", _is_in_texts),
            *((f"(parts->'{name}')::text", _is_in_json) for name in ("to", "cc", "bcc", "reply_to")),
        ),
    ),
    Trace(
        "mailqueue_attempt",
        "id",
        "email_id",
        (("recipients::text", _is_in_json), ("reply", Person.is_named), ("error", Person.is_named)),
    ),
    Trace("mailqueue_mailstate", "email_id", "email_id", (("note", Person.is_named),)),
    Trace("mailqueue_mailoptions", "email_id", "email_id", (("ref", Person.is_named),)),
    Trace("post_office_log", "id", "email_id", (("message", Person.is_named),)),
)
"""What mails say is not searched: no body, no attachment."""

LOOK = """
WITH looked AS MATERIALIZED (
    SELECT {key} AS key, {mail} AS email_id, ARRAY[{columns}]::text[] AS texts FROM {table}
    WHERE {key} > %(after)s ORDER BY {key} LIMIT %(limit)s
)
SELECT key, email_id, CASE WHEN EXISTS (
    SELECT FROM lower(array_to_string(texts, ' ')) AS l(text), unnest(%(needles)s::text[]) AS n(text)
    WHERE strpos(l.text, n.text) > 0) THEN texts END
FROM looked ORDER BY key
"""


def mails_that_name(person: Person, *, using: str, stretch: int = STRETCH) -> Iterator[list[int]]:
    """Yield the ids of mails that name him in one of their rows; some more than once."""
    with connections[using].cursor() as cursor:
        for trace in TRACES:
            yield from _mails_in(cursor, trace, person, stretch=stretch)


def _mails_in(cursor: Any, trace: Trace, person: Person, *, stretch: int) -> Iterator[list[int]]:
    columns, readers = zip(*trace.columns, strict=True)
    look = LOOK.format(table=trace.table, key=trace.key, mail=trace.mail, columns=", ".join(columns))
    given = {"after": -1, "limit": stretch, "needles": person.needles}
    is_more = True
    while is_more:
        cursor.execute(look, given)
        rows = cursor.fetchall()
        named = (email_id for _, email_id, texts in rows if texts and _is_named(person, readers, texts))
        yield list(dict.fromkeys(named))
        is_more = len(rows) == stretch
        given["after"] = rows[-1][0] if rows else -1


def _is_named(person: Person, readers: Sequence[Reader], texts: Sequence[str | None]) -> bool:
    return any(reads(person, text) for reads, text in zip(readers, texts, strict=True) if text is not None)
