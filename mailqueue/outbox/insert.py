"""From drafts to the database, inside the caller's transaction."""

from collections.abc import Iterable, Iterator, Sequence

from django.db.models import Model
from django.db.models.signals import post_save, pre_save
from post_office.models import Email

from mailqueue.outbox.addresses import split_addresses
from mailqueue.outbox.attachments import link, store
from mailqueue.outbox.drafts import Draft
from mailqueue.queue.enqueue import insert_mail, insert_mails

ROWS_PER_STATEMENT = 1_000


def insert(drafts: Sequence[Draft], *, using: str) -> list[Email]:
    """Write the rows of drafts and give the mails, in order. With rows besides the mail's own, or with more than one
    mail, the caller has opened a transaction.

    The times of the rows are the database's. Does not tell anybody: that is up to the caller, by post_office's signal
    `email_queued`.
    """
    if len(drafts) > 1:
        insert_while_made(drafts, count=len(drafts), using=using)
    else:
        for draft in drafts:
            _insert(draft.email, using=using)
    return complete(drafts, using=using)


def insert_while_made(drafts: Iterable[Draft], *, count: int, using: str) -> list[Draft]:
    """Write the mails' own rows for at most `count` drafts that are made one by one meanwhile; then `complete` them.

    To make them must not ask this database for anything.
    """
    written: list[Draft] = []

    def emails() -> Iterator[Email]:
        for draft in drafts:
            written.append(draft)
            yield draft.email

    insert_mails(emails(), count=count, using=using)
    return written


def complete(drafts: Sequence[Draft], *, using: str) -> list[Email]:
    """Write the rows beside those of the mails, and have the mails hold their addresses as when they are read."""
    emails = [draft.email for draft in drafts]
    for email in emails:
        email.to, email.cc, email.bcc = (
            split_addresses(email.to),
            split_addresses(email.cc),
            split_addresses(email.bcc),
        )
    if any(draft.has_extra_rows for draft in drafts):
        _insert_beside(drafts, using=using)
    return emails


def _insert(email: Email, *, using: str) -> None:
    """Write a row with the signals of Django's `save_base(raw=True)`, and without what its ORM costs."""
    pre_save.send(sender=Email, instance=email, raw=True, using=using, update_fields=None)
    insert_mail(email, using=using)
    post_save.send(sender=Email, instance=email, created=True, update_fields=None, raw=True, using=using)


def _insert_beside(drafts: Sequence[Draft], *, using: str) -> None:
    for name in ("source", "options"):
        rows: list[Model] = []
        for draft in drafts:
            if row := getattr(draft, name):
                row.email = draft.email
                rows.append(row)
        if rows:
            type(rows[0])._default_manager.using(using).bulk_create(rows, batch_size=ROWS_PER_STATEMENT)
    attached = [draft for draft in drafts if draft.attachments]
    if attached:
        stored = store([draft.attachments for draft in attached], using=using)
        link(stored, [draft.email.pk for draft in attached], using=using)
