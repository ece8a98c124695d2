"""From drafts to the database, inside the caller's transaction."""

from collections.abc import Sequence

from django.db.models.functions import Now
from post_office.models import Email

from mailqueue.outbox.addresses import split_addresses
from mailqueue.outbox.attachments import link, store
from mailqueue.outbox.drafts import Draft


def insert(drafts: Sequence[Draft], *, using: str) -> list[Email]:
    """Write the rows of drafts and give the mails, in order. With rows besides the
    mail's own, the caller has opened a transaction.

    Does not tell anybody: that is up to the caller, by post_office's signal `email_queued`.
    """
    emails = [_insert(draft, using=using) for draft in drafts]
    attached = [(draft, email) for draft, email in zip(drafts, emails, strict=True) if draft.attachments]
    stored = store([draft.attachments for draft, _ in attached], using=using)
    link(stored, [email.pk for _, email in attached], using=using)
    return emails


def _insert(draft: Draft, *, using: str) -> Email:
    email = draft.email
    # `raw` keeps Django from putting this host's clock into the row: the database's time orders the queue.
    email.created = email.last_updated = Now()
    email.save_base(raw=True, force_insert=True, using=using)
    for name in ("created", "last_updated"):
        if isinstance(vars(email).get(name), Now):
            delattr(email, name)  # read from the database when somebody asks
    email.to, email.cc, email.bcc = (split_addresses(text) for text in (email.to, email.cc, email.bcc))
    for extra in (draft.source, draft.options):
        if extra:
            extra.email = email
            extra.save(using=using, force_insert=True)
    return email
