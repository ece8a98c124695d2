"""Attachment files that live and die with the transaction that wrote them."""

import logging
import weakref
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from django.core.files.storage import Storage
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields.files import FieldFile

logger = logging.getLogger("mailqueue.outbox")

FOLDER = "post_office_attachments"
"""Where post_office keeps attachments, in a folder for each day."""
LONGEST_EXTENSION = 5
WRITTEN = "_mailqueue_written"
"""Where a row of attachments notes the name of the file that it has just written."""


def quotable_name(name: str) -> str:
    """Return the name of a stored file for a log: post_office takes a whole name without a dot for its extension."""
    stem, dot, extension = name.rpartition(".")
    return name if not dot or (extension.isalnum() and len(extension) <= LONGEST_EXTENSION) else stem


class AttachmentFile(FieldFile):
    """The file of a row of attachments, which notes on its row that it wrote it."""

    def save(self, name: str, content: Any, save: bool = True) -> None:
        """Store the content under a new name, and save the row."""
        super().save(name, content, save=False)
        vars(self.instance)[WRITTEN] = self.name
        if save:
            self.instance.save()


class _Keeper:
    """Stands in the list of things to do on commit; dropped with that list when the transaction rolls back."""

    def __init__(self, committed: list[bool]) -> None:
        self.committed = committed

    def __call__(self) -> None:
        self.committed.append(True)


class _First(_Keeper):
    """Stands in the place of somebody else's callable, which it calls."""

    def __init__(self, then: Callable[[], Any]) -> None:
        super().__init__([])
        self._then = then
        update_wrapper(self, then, updated=())

    def __call__(self) -> None:
        super().__call__()
        self._then()


def remove_on_rollback(storage: Storage, name: str, *, using: str) -> None:
    """Delete a stored file as soon as the open transaction, or the savepoint, that it was written in rolls back.

    Django tells of a commit but not of a rollback. It forgets its on-commit callables at a rollback, though, and a
    callable that is forgotten without having been called is what is watched here. After a crash of the process, or
    when the connection is lost so that nobody can know whether the commit came through, the file is left to the sweep.
    So it is where the caller commits by hand: Django forgets its callables at a rollback that comes after the commit.
    """
    connection = connections[using]
    if not connection.in_atomic_block or not connection.commit_on_exit:
        return
    committed = _committed(connection)
    keeper = _Keeper(committed)
    finalizer = weakref.finalize(keeper, _remove, storage, name, committed, connection.connection)
    finalizer.atexit = False
    transaction.on_commit(keeper, using=using, robust=True)


def _committed(connection: BaseDatabaseWrapper) -> list[bool]:
    """Return a list that is empty until the open transaction commits.

    A callable of somebody else that raises makes Django drop those behind it, so the one that is called first has to
    note the commit. It keeps its place: Django's tests tell callables apart by their places. What rolls back the first
    one takes all others with it, for those were registered later and within the same savepoints.
    """
    hooks: list[Any] = connection.run_on_commit
    if not hooks:
        return []
    savepoints, first, is_robust = hooks[0]
    if isinstance(first, _Keeper):
        return first.committed
    hooks[0] = (savepoints, noting := _First(first), is_robust)
    return noting.committed


def follow_transaction(*, instance: Any, created: bool, raw: bool, using: str, **_: Any) -> None:
    """Let the file of an attachment that post_office's API has just written go with its row (receives `post_save`).

    Only a file that this very row wrote: it may also name one that was there before, which is not ours to delete.
    """
    written = vars(instance).pop(WRITTEN, None)
    if created and not raw and written and written == instance.file.name:
        remove_on_rollback(instance.file.storage, written, using=using)


def _remove(storage: Storage, name: str, committed: list[bool], raw_connection: Any) -> None:
    if committed or raw_connection is None or raw_connection.closed:
        return
    try:
        storage.delete(name)
    except Exception:  # a storage may raise anything, and this runs where nobody can catch it
        logger.warning("attachment.left", extra={"fields": {"file": quotable_name(name)}}, exc_info=True)
