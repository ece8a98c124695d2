"""From drafts to the database, inside the caller's transaction."""

from collections.abc import Sequence

from django.db.models import Model
from django.db.models.functions import Now
from post_office.models import Email

from mailqueue.outbox.addresses import split_addresses
from mailqueue.outbox.attachments import link, store
from mailqueue.outbox.drafts import Draft
from mailqueue.queue.enqueue import insert_mails

ROWS_PER_STATEMENT = 1_000


def insert(drafts: Sequence[Draft], *, using: str) -> list[Email]:
    """Write the rows of drafts and give the mails, in order. With rows besides the mail's own, or with more than one
    mail, the caller has opened a transaction.

    The times of the rows are the database's. Does not tell anybody: that is up to the caller, by post_office's signal
    `email_queued`.
    """
    emails = [draft.email for draft in drafts]
    if len(emails) > 1:
        insert_mails(emails, using=using)
    else:
        for email in emails:
            _insert(email, using=using)
    for email in emails:
        email.to, email.cc, email.bcc = (split_addresses(text) for text in (email.to, email.cc, email.bcc))
    _insert_beside(drafts, using=using)
    return emails


def _insert(email: Email, *, using: str) -> None:
    # `raw` keeps Django from putting this host's clock into the row: the database's time orders the queue.
    email.created = email.last_updated = Now()
    email.save_base(raw=True, force_insert=True, using=using)
    for name in ("created", "last_updated"):
        if isinstance(vars(email).get(name), Now):
            delattr(email, name)  # read from the database when somebody asks


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
