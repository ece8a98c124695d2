"""The sweep: removes the files of attachments whose writers were killed before they could commit or roll back."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice

from django.core.files.storage import Storage
from django.db import connections
from post_office.models import Attachment

from mailqueue.outbox.files import FOLDER
from mailqueue.outbox.tags import tag_of
from mailqueue.queue.attachments import known_files, read_clock, read_home

OLD = timedelta(hours=48)
"""A file of a transaction that has been open for longer than this may be removed before it commits."""
END_OF_DAY = timedelta(hours=36)
"""A day is over everywhere on Earth so long after it began in UTC."""
BATCH = 10_000


def sweep(*, using: str, now: datetime | None = None) -> int:
    """Remove files that are old, were written for this very database, and belong to no row; return how many.

    `now` is the database's time unless it is given. Several sweeps at once do no harm, and a crash leaves the rest to
    the next one. Where the storage can't list its files, or the database does not say which one it is, nothing is
    removed.

    Raises:
        whatever the storage or the database does; of files that can't be removed, the last one's error, in the end.
    """
    with connections[using].cursor() as cursor:
        tag = tag_of(read_home(cursor), using=using)
        now = now or read_clock(cursor)
    if not tag:
        return 0
    storage = Attachment._meta.get_field("file").storage
    return _Broom(storage, tag=tag, now=now).sweep(using=using)


class _Broom:
    def __init__(self, storage: Storage, *, tag: str, now: datetime) -> None:
        self._storage = storage
        self._stem = f"[0-9a-f]{{32}}-{tag}"
        self._now = now
        self._error: Exception | None = None

    def sweep(self, *, using: str) -> int:
        files = self._old_files()
        count = 0
        while batch := dict(islice(files, BATCH)):
            with connections[using].cursor() as cursor:
                known = known_files(cursor, pattern=self._stem, stems=batch)
            count += sum(self._remove(name) for stem, name in batch.items() if stem not in known)
        if self._error:
            raise self._error
        return count

    def _old_files(self) -> Iterator[tuple[str, str]]:
        """Yield the part of the name that tells a file from all others, and its name."""
        for folder, day in self._days():
            if self._now - day < END_OF_DAY + OLD:
                continue
            for name in self._listing(folder)[1]:
                if found := re.match(self._stem, name):
                    yield found[0], f"{folder}/{name}"

    def _days(self) -> Iterator[tuple[str, datetime]]:
        for year in self._numbers(FOLDER):
            for month in self._numbers(f"{FOLDER}/{year}"):
                for day in self._numbers(f"{FOLDER}/{year}/{month}"):
                    with suppress(ValueError):  # a folder that is no date is none of ours
                        yield f"{FOLDER}/{year}/{month}/{day}", datetime(int(year), int(month), int(day), tzinfo=UTC)

    def _numbers(self, folder: str) -> list[str]:
        return [name for name in self._listing(folder)[0] if name.isdecimal()]

    def _listing(self, folder: str) -> tuple[Sequence[str], Sequence[str]]:
        try:
            folders, files = self._storage.listdir(folder)
        except (NotImplementedError, FileNotFoundError):
            return [], []
        return folders, files

    def _remove(self, name: str) -> bool:
        """Remove a file; one that can't be removed does not keep the others."""
        try:
            if not self._was_written_long_ago(name):
                return False
            self._storage.delete(name)
        except FileNotFoundError:  # another sweep was faster
            return False
        except Exception as error:  # noqa: BLE001 - a storage may raise anything
            self._error = error
            return False
        return True

    def _was_written_long_ago(self, name: str) -> bool:
        try:
            written_at = self._storage.get_modified_time(name)
        except NotImplementedError:
            return True  # the day's folder has to do
        return self._now.timestamp() - written_at.timestamp() >= OLD.total_seconds()
