"""Taking somebody's address out of the rows that stay: of mails that others have, and of what is kept of backends."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import apps
from django.db import models, router
from post_office.models import Log

from mailqueue.models import Attempt, BackendHealth, MailOptions, MailState, MessageSource, RefusedFrom
from mailqueue.outbox.person import Person

READ = 'SELECT id, "to", cc, bcc, from_email FROM post_office_email WHERE id = ANY(%s)'
# When it was last changed stays: from then on the retention counts.
WRITE = 'UPDATE post_office_email SET "to" = %s, cc = %s, bcc = %s, from_email = %s WHERE id = %s'
ADMIN_APPS = ("mailqueue", "post_office")


def redact(cursor: Any, person: Person, email_ids: Sequence[int]) -> None:
    """Take him out of the rows of these mails, which the caller has locked and emptied."""
    cursor.execute(READ, [list(email_ids)])
    for email_id, *lists, from_email in cursor.fetchall():
        columns = [*map(person.redacted_list, lists), person.redacted_address(from_email)]
        cursor.execute(WRITE, [*columns, email_id])
    using = cursor.db.alias
    _redact(Attempt.objects.using(using).filter(email__in=email_ids), person, ("recipients", "reply", "error"))
    _redact(MailState.objects.using(using).filter(email__in=email_ids), person, ("note",))
    _redact(MailOptions.objects.using(using).filter(email__in=email_ids), person, ("ref",))
    _redact(MessageSource.objects.using(using).filter(email__in=email_ids), person, ("recipients", "envelope_from"))
    _redact(Log.objects.using(using).filter(email__in=email_ids), person, ("message",))


def redact_backends(person: Person, *, using: str) -> None:
    """Take him out of what servers said that stands with their backends; he is no refused sender any more."""
    refused = RefusedFrom.objects.using(using)
    refused.filter(pk__in=[row.pk for row in refused.all() if person.is_meant(row.from_email)]).delete()
    _redact(refused.all(), person, ("reply",))
    _redact(BackendHealth.objects.using(using).all(), person, ("shut_reason", "pause_note"))


def redact_admin_log(person: Person) -> int:
    """Take him out of what people did in the admin with mail, and return how many entries named him."""
    if not apps.is_installed("django.contrib.admin"):
        return 0
    from django.contrib.admin.models import LogEntry

    using = router.db_for_write(LogEntry)
    entries = LogEntry.objects.using(using).filter(content_type__app_label__in=ADMIN_APPS)
    limit = LogEntry._meta.get_field("object_repr").max_length or 0
    count = 0
    for entry in entries.only("object_repr", "change_message").order_by("pk").iterator(chunk_size=1000):
        text, message = person.redacted(entry.object_repr), person.redacted(entry.change_message)
        if len(entry.object_repr) >= limit:
            text = person.redacted_end(text)
        if (text, message) != (entry.object_repr, entry.change_message):
            entries.filter(pk=entry.pk).update(object_repr=text[:limit], change_message=message)
            count += 1
    return count


def _redact(rows: "models.QuerySet[Any]", person: Person, columns: Iterable[str]) -> None:
    names = tuple(columns)
    for pk, *values in rows.values_list("pk", *names):
        changed = {name: _fitting(rows, name, person.redacted_json(v)) for name, v in zip(names, values, strict=True)}
        if list(changed.values()) != values:
            rows.filter(pk=pk).update(**changed)


def _fitting(rows: "models.QuerySet[Any]", name: str, value: Any) -> Any:
    """Cut what has grown longer than its column."""
    limit = getattr(rows.model._meta.get_field(name), "max_length", None)
    return value[:limit] if limit and isinstance(value, str) else value
