"""Taking somebody's address out of the rows that stay: of mails that others have, and of what is kept of backends."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.apps import apps
from django.db import models, router
from post_office.models import Log

from mailqueue.models import Attempt, BackendHealth, MailOptions, MailState, MessageSource, RefusedFrom
from mailqueue.outbox.person import Person

# Beside the columns of a mail, all that may name somebody who was forgotten before.
READ = """
SELECT e.id, concat_ws(' ', e."to", e.cc, e.bcc, e.from_email, m.recipients::text, (
        SELECT string_agg(a.recipients::text, ' ') FROM mailqueue_attempt a WHERE a.email_id = e.id)),
    e."to", e.cc, e.bcc, e.from_email
FROM post_office_email e LEFT JOIN mailqueue_messagesource m ON m.email_id = e.id WHERE e.id = ANY(%s)
"""
# When it was last changed stays: from then on the retention counts.
WRITE = 'UPDATE post_office_email SET "to" = %s, cc = %s, bcc = %s, from_email = %s WHERE id = %s'
ADMIN_APPS = ("mailqueue", "post_office")


Columns: TypeAlias = Mapping[str, Callable[[Person, Any], Any]]
"""Which columns may name him, and what takes him out of each."""

BESIDE: Sequence[tuple[type[models.Model], Columns]] = (
    (MessageSource, {"recipients": Person.redacted_json, "envelope_from": Person.redacted_sender}),
    (Attempt, {"recipients": Person.redacted_json, "reply": Person.redacted, "error": Person.redacted}),
    (MailState, {"note": Person.redacted}),
    (MailOptions, {"ref": Person.redacted}),
    (Log, {"message": Person.redacted}),
)


REFUSED: Columns = {"reply": Person.redacted}
HEALTH: Columns = {"shut_reason": Person.redacted, "pause_note": Person.redacted}


@dataclass(frozen=True, slots=True)
class Beside:
    """How many rows name somebody beside those of mail."""

    refused_count: int
    """Sender addresses that servers refuse: his, and those of which a server said something that names him."""
    backend_count: int
    entry_count: int
    """Entries of the admin's log."""

    def __bool__(self) -> bool:
        return bool(self.refused_count or self.backend_count or self.entry_count)


def count_beside(person: Person, *, using: str) -> Beside:
    """Count what `redact_backends` and `redact_admin_log` would delete or change. Locks nothing."""
    refused = RefusedFrom.objects.using(using).all()
    named = {row.pk for row in refused if person.is_sender(row.from_email)} | set(_named(refused, person, REFUSED))
    backends = list(_named(BackendHealth.objects.using(using).all(), person, HEALTH))
    return Beside(len(named), len(backends), sum(1 for _ in _entries(person)))


def redact(cursor: Any, person: Person, email_ids: Sequence[int]) -> None:
    """Take him out of the rows of these mails, which the caller has locked, with their attempts, and emptied."""
    cursor.execute(READ, [list(email_ids)])
    people: dict[int, Person] = {}
    for email_id, names, *lists, from_email in cursor.fetchall():
        people[email_id] = within = person.within(names)
        columns = [*map(within.redacted_list, lists), within.redacted_sender(from_email)]
        cursor.execute(WRITE, [*columns, email_id])
    for model, beside in BESIDE:
        rows = model._default_manager.using(cursor.db.alias).filter(email__in=email_ids)
        for email_id, pk, *values in rows.order_by("pk").values_list("email_id", "pk", *beside):
            _rewrite(rows, people[email_id], beside, pk, values)


def redact_backends(person: Person, *, using: str) -> None:
    """Take him out of what servers said that stands with their backends; he is no refused sender any more."""
    refused = RefusedFrom.objects.using(using)
    refused.filter(pk__in=[row.pk for row in refused.all() if person.is_sender(row.from_email)]).delete()
    _redact(refused.all(), person, REFUSED)
    _redact(BackendHealth.objects.using(using).all(), person, HEALTH)


def redact_admin_log(person: Person) -> int:
    """Take him out of what people did in the admin with mail, and return how many entries named him."""
    count = 0
    for entries, pk, changed in _entries(person):
        entries.filter(pk=pk).update(**changed)
        count += 1
    return count


def _entries(person: Person) -> Iterator[tuple["models.QuerySet[Any]", int, dict[str, str]]]:
    """Give the entries of the admin's log that name him, with what they say without him."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import LogEntry

    using = router.db_for_write(LogEntry)
    entries = LogEntry.objects.using(using).filter(content_type__app_label__in=ADMIN_APPS)
    limit = LogEntry._meta.get_field("object_repr").max_length or 0
    for entry in entries.only("object_repr", "change_message").order_by("pk").iterator(chunk_size=1000):
        text, message = person.redacted(entry.object_repr), _redacted_message(entry.change_message, person)
        if len(entry.object_repr) >= limit:
            text = person.redacted_end(text)
        if (text, message) != (entry.object_repr, entry.change_message):
            yield entries, entry.pk, {"object_repr": text[:limit], "change_message": message}


def _redacted_message(message: str, person: Person) -> str:
    """Return what an entry of the admin's log says without him: a text, or a list as JSON."""
    try:
        value = json.loads(message) if message.startswith("[") else message
    except ValueError:
        value = message
    redacted = person.redacted_texts(value)
    if redacted == value:
        return message
    return redacted if isinstance(redacted, str) else json.dumps(redacted)


def _redact(rows: "models.QuerySet[Any]", person: Person, columns: Columns) -> None:
    for pk, *values in rows.values_list("pk", *columns):
        _rewrite(rows, person, columns, pk, values)


def _named(rows: "models.QuerySet[Any]", person: Person, columns: Columns) -> Iterator[Any]:
    for pk, *values in rows.values_list("pk", *columns):
        if list(_without(rows, person, columns, values).values()) != values:
            yield pk


def _rewrite(rows: "models.QuerySet[Any]", person: Person, columns: Columns, pk: Any, values: Sequence[Any]) -> None:
    changed = _without(rows, person, columns, values)
    if list(changed.values()) != values:
        rows.filter(pk=pk).update(**changed)


def _without(rows: "models.QuerySet[Any]", person: Person, columns: Columns, values: Sequence[Any]) -> dict[str, Any]:
    return {
        name: _fitting(rows, name, value if value is None else redacted(person, value))
        for (name, redacted), value in zip(columns.items(), values, strict=True)
    }


def _fitting(rows: "models.QuerySet[Any]", name: str, value: Any) -> Any:
    """Cut what has grown longer than its column."""
    limit = getattr(rows.model._meta.get_field(name), "max_length", None)
    return value[:limit] if limit and isinstance(value, str) else value
