"""Attachment files that live and die with the transaction that wrote them."""

import logging
import weakref
from collections.abc import Callable
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from django.core.files.storage import Storage
from django.db import connections, transaction
from django.utils import timezone

logger = logging.getLogger("mailqueue.outbox")

FOLDER = "post_office_attachments"
"""Where post_office keeps attachments, in a folder for each day."""


class _Keeper:
    """Stands in the list of things to do on commit; dropped with that list when the transaction rolls back."""

    def __init__(self, keep: Callable[[], Any]) -> None:
        self._keep = keep

    def __call__(self) -> None:
        self._keep()


def remove_on_rollback(storage: Storage, name: str, *, using: str) -> None:
    """Delete a stored file as soon as the open transaction, or the savepoint, that it was written in rolls back.

    Django tells of a commit but not of a rollback. It forgets its on-commit callables at a rollback, though, and a
    callable that is forgotten without having been called is what is watched here. After a crash of the process, or
    when the connection is lost so that nobody can know whether the commit came through, the file is left to the sweep.
    """
    connection = connections[using]
    keeper: Callable[[], Any]
    finalizer: weakref.finalize[Any, Any]
    released: list[bool] = []
    keeper = _Keeper(lambda: released.append(True))
    finalizer = weakref.finalize(keeper, _remove, storage, name, released, connection.connection)
    finalizer.atexit = False
    transaction.on_commit(keeper, using=using, robust=True)
    # First in the list: a callable of somebody else that raises makes Django drop those behind it.
    hooks = connection.run_on_commit
    if hooks and hooks[-1][1] is keeper:
        hooks.insert(0, hooks.pop())


def follow_transaction(*, instance: Any, created: bool, raw: bool, using: str, **_: Any) -> None:
    """Let the file of an attachment that post_office's API has just written go with its row (receives `post_save`).

    Only a file that was just written: a row may also name one that was there before, which is not ours to delete.
    """
    if created and not raw and _is_new(str(instance.file.name or "")):
        remove_on_rollback(instance.file.storage, instance.file.name, using=using)


def _is_new(name: str) -> bool:
    today = timezone.now().date()
    days = (today, today - timedelta(days=1))  # it may be past midnight by now
    return PurePosixPath(name).parent in {PurePosixPath(FOLDER, f"{d.year}/{d.month}/{d.day}") for d in days}


def _remove(storage: Storage, name: str, released: list[bool], raw_connection: Any) -> None:
    if released or raw_connection is None or raw_connection.closed:
        return
    try:
        storage.delete(name)
    except Exception:  # a storage may raise anything, and this runs where nobody can catch it
        logger.warning("attachment.left", extra={"fields": {"file": name}}, exc_info=True)
