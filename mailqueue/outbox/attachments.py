"""Attachments in post_office's file storage: stored once per content, with the caller's transaction or not at all."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from django.db import connections
from post_office.models import Attachment, get_upload_path

from mailqueue.models import AttachmentDigest
from mailqueue.outbox.files import remove_on_rollback
from mailqueue.outbox.sources import Data, Source
from mailqueue.outbox.tags import tag_of
from mailqueue.queue.attachments import find_stored

SAFE_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}$")


@dataclass(frozen=True, slots=True)
class Content:
    """One attachment, not yet stored. `data` is bytes or an open file, read from its beginning and left open."""

    name: str
    mimetype: str
    data: Data
    headers: dict[str, Any] | None = None


def store(contents: Sequence[Sequence[Content]], *, using: str) -> list[list[Attachment]]:
    """Store the attachments of several mails and give the rows of each, in their order.

    Mails with the same content share a row and its file, those of earlier transactions too; within one mail each
    attachment has a row of its own. The number of statements does not depend on the number of mails. Nobody is waited
    for: two transactions that store the same new content at once store it twice.

    After a rollback, of a savepoint too, no new file stays. A process that is killed before it commits leaves one to
    the sweep.

    Raises:
        TypeError: `data` is neither bytes nor a file, or headers can't be kept as JSON.
    """
    if not any(contents):
        return [[] for _ in contents]
    with ExitStack() as until_stored:
        drafts = _Drafts(until=until_stored)
        digests = [drafts.add(contents_of_mail) for contents_of_mail in contents]
        rows = _rows(drafts.by_digest, using=using)
    return [[rows[digest] for digest in digests_of_mail] for digests_of_mail in digests]


def link(attachments: Sequence[Sequence[Attachment]], email_ids: Sequence[int], *, using: str) -> None:
    """Attach rows to mails: `attachments[n]` belong to `email_ids[n]`. The ids of the links keep their order."""
    through = Attachment.emails.through
    links = [
        through(email_id=email_id, attachment_id=row.pk)
        for email_id, rows in zip(email_ids, attachments, strict=True)
        for row in rows
    ]
    if links:
        through.objects.using(using).bulk_create(links)


class _Drafts:
    """What is to be stored, each content once."""

    def __init__(self, *, until: ExitStack) -> None:
        self.by_digest: dict[str, tuple[Content, Source]] = {}
        self._until = until
        self._sources: dict[int, Source] = {}

    def add(self, contents: Iterable[Content]) -> list[str]:
        """Add the attachments of one mail and give the digest of each: no two are the same."""
        seen: Counter[str] = Counter()
        return [self._add(content, seen) for content in contents]

    def _add(self, content: Content, seen: Counter[str]) -> str:
        source = self._source(content.data)
        digest = _digest(content, source, copy=0)
        seen[digest] += 1
        if seen[digest] > 1:
            digest = _digest(content, source, copy=seen[digest] - 1)
        self.by_digest.setdefault(digest, (content, source))
        return digest

    def _source(self, data: Data) -> Source:
        # The same object on many mails is read once. It can't go, and its id with it, while `contents` holds it.
        if id(data) not in self._sources:
            self._sources[id(data)] = Source(data, until=self._until)
        return self._sources[id(data)]


def _digest(content: Content, source: Source, *, copy: int) -> str:
    """Hash all that makes a row; `copy` counts those before it that are equal, on the same mail."""
    fields = [content.name, content.mimetype, content.headers, source.digest, copy]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _rows(wanted: dict[str, tuple[Content, Source]], *, using: str) -> dict[str, Attachment]:
    storage = Attachment._meta.get_field("file").storage
    with connections[using].cursor() as cursor:
        found, home = find_stored(cursor, list(wanted))
    # Asking costs a storage less than taking a file. Without it, a file that somebody removed by hand would fail every
    # mail to come with that content.
    rows = {
        digest: _row(wanted[digest][0], stored.file, pk=stored.attachment_id, using=using)
        for digest, stored in found.items()
        if storage.exists(stored.file)
    }
    missing = {digest: draft for digest, draft in wanted.items() if digest not in rows}
    if not missing:
        return rows
    tag = tag_of(home, using=using)
    new = {digest: _store(*draft, tag=tag, using=using) for digest, draft in missing.items()}
    Attachment.objects.using(using).bulk_create(new.values())
    AttachmentDigest.objects.using(using).bulk_create(
        AttachmentDigest(attachment_id=row.pk, digest=digest) for digest, row in new.items()
    )
    return rows | new


def _row(content: Content, file: str, *, pk: int, using: str) -> Attachment:
    names = ["id", "file", "name", "mimetype", "headers"]
    return Attachment.from_db(using, names, [pk, file, content.name, content.mimetype, content.headers])


def _store(content: Content, source: Source, *, tag: str, using: str) -> Attachment:
    row = Attachment(name=content.name, mimetype=content.mimetype, headers=content.headers)
    storage = row.file.storage
    with source.open() as file:
        name = storage.save(_path(row, tag=tag), file, max_length=row.file.field.max_length)
    remove_on_rollback(storage, name, using=using)
    row.file = name
    return row


def _path(row: Attachment, *, tag: str) -> str:
    """Return a path that nobody can guess, in post_office's folder of the day."""
    suffix = SAFE_SUFFIX.search(row.name)
    path = PurePosixPath(get_upload_path(row, f"attachment{suffix[0] if suffix else '.bin'}"))
    return str(path.with_stem(f"{path.stem}-{tag}") if tag else path)
