"""What follows when mail was queued, by our backend or post_office's API: it is remembered, senders are woken."""

import inspect
import logging
import time
import warnings
from collections.abc import Sequence
from typing import Any

from django.db import Error, connections, router, transaction
from post_office.models import Email

from mailqueue.outbox.collect import remember

CHANNEL = "mailqueue"
QUIET_SECONDS = 0.25
"""A process wakes senders at most this often: a sender that was just woken goes on looking for longer than this."""

logger = logging.getLogger("mailqueue.outbox")


class OtherDatabaseWarning(RuntimeWarning):
    """The caller's transaction is on another database than the mail: its rollback does not take the mail back."""


def notice(*, emails: Sequence[Email], **_: Any) -> None:
    """Take note of rows that were just queued (the receiver of post_office's `email_queued`)."""
    remember(emails)
    alias = router.db_for_write(Email)
    _warn_of_other_transaction(alias)
    transaction.on_commit(lambda: wake(alias), using=alias)


_last_woken_at: dict[str, float] = {}


def wake(alias: str) -> None:
    """Wake the senders that listen on this database. Never raises: they look for mail by themselves as well.

    A NOTIFY inside the transaction would take a lock on commit that all writers share; this one runs after it.
    """
    now = time.monotonic()
    if now - _last_woken_at.get(alias, -QUIET_SECONDS) < QUIET_SECONDS:
        return
    _last_woken_at[alias] = now
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])
    except Error:
        logger.debug("wake.failed", exc_info=True)


def _warn_of_other_transaction(alias: str) -> None:
    if connections[alias].in_atomic_block:
        return
    others = [c.alias for c in connections.all(initialized_only=True) if c.in_atomic_block]
    if others:
        warnings.warn(
            f"Mail is written to the database {alias!r}, but the open transaction is on {others[0]!r}: if it rolls "
            f"back, the mail is sent all the same. Open a transaction on {alias!r} as well, or route the mail.",
            OtherDatabaseWarning,
            stacklevel=_callers_level(),
        )


def _callers_level() -> int:
    """Return how far up the stack the caller's own code stands: above us, post_office and Django."""
    frame = inspect.currentframe()
    level = 0
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in ("mailqueue", "post_office", "django"):
        frame, level = frame.f_back, level + 1
    # The innermost frame counted is this function's, which warn() does not see.
    return max(level, 1)
