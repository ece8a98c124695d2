"""Attachment files that live and die with the transaction that wrote them."""

import logging
import weakref
from collections.abc import Callable
from typing import Any

from django.core.files.storage import Storage
from django.db import connections, transaction

logger = logging.getLogger("mailqueue.outbox")


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
    when the connection is lost so that nobody can know whether the commit came through, the file stays.
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


def _remove(storage: Storage, name: str, released: list[bool], raw_connection: Any) -> None:
    if released or raw_connection is None or raw_connection.closed:
        return
    try:
        storage.delete(name)
    except Exception:  # a storage may raise anything, and this runs where nobody can catch it
        logger.warning("attachment.left", extra={"fields": {"file": name}}, exc_info=True)
