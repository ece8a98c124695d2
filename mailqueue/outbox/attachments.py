"""Attachments in post_office's file storage: rows and files that live and die with the caller's transaction."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.files.base import ContentFile
from post_office.models import Attachment

from mailqueue.outbox.files import remove_on_rollback

SAFE_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}$")


@dataclass(frozen=True, slots=True)
class Content:
    """One attachment, not yet stored."""

    name: str
    mimetype: str
    data: bytes


def store(contents: Sequence[Sequence[Content]], *, using: str) -> list[list[Attachment]]:
    """Store the attachments of several mails, in their order, and give the rows of each.

    After a rollback, of a savepoint too, no new file stays.
    """
    return [[_store(content, using=using) for content in contents_of_mail] for contents_of_mail in contents]


def link(attachments: Sequence[Sequence[Attachment]], email_ids: Sequence[int], *, using: str) -> None:
    """Attach rows to mails, in order: `attachments[n]` belong to `email_ids[n]`."""
    through = Attachment.emails.through
    links = [
        through(email_id=email_id, attachment_id=row.pk)
        for email_id, rows in zip(email_ids, attachments, strict=True)
        for row in rows
    ]
    if links:
        through.objects.using(using).bulk_create(links)


def _store(content: Content, *, using: str) -> Attachment:
    row = Attachment(name=content.name, mimetype=content.mimetype)
    suffix = SAFE_SUFFIX.search(content.name)
    row.file.save(f"attachment{suffix[0] if suffix else '.bin'}", ContentFile(content.data), save=False)
    remove_on_rollback(row.file.storage, row.file.name, using=using)
    row.save(using=using)
    return row
