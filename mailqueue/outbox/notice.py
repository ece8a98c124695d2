"""What follows when mail was queued, by our backend or post_office's API: it is remembered, senders are woken."""

import inspect
import logging
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from django.db import Error, connections, router
from post_office.models import PRIORITY, Email
from post_office.signals import email_queued
from psycopg.pq import TransactionStatus

from mailqueue.outbox.collect import remember
from mailqueue.outbox.pace import Pace

CHANNEL = "mailqueue"

logger = logging.getLogger("mailqueue.outbox")
_is_telling: ContextVar[bool] = ContextVar("mailqueue_is_telling", default=False)


class OtherDatabaseWarning(RuntimeWarning):
    """The caller's transaction is on another database than the mail: its rollback does not take the mail back."""


class PriorityNowWarning(RuntimeWarning):
    """post_office's own API was given the priority "now": it sends inside the caller's transaction, once."""


def announce(emails: Sequence[Email], *, using: str) -> None:
    """Tell everybody of mail that our API has just written, by post_office's signal `email_queued` too.

    A receiver of somebody else that raises is logged, and no reason to raise: the mail is queued, and a caller who
    tries again would queue it twice.

    Raises:
        whatever a receiver raises that leaves the caller's transaction broken, so that the mail is lost with it.
    """
    _note(emails, using=using)
    try:
        email_queued.send(sender=Email, emails=emails, is_noted=True)
    except Exception as error:
        if _is_broken(using):
            raise
        _tell_of_failed_receiver(error)


def notice(*, emails: Sequence[Email], is_noted: bool = False, **_: Any) -> None:
    """Take note of rows that were just queued by post_office's API (the receiver of its `email_queued`)."""
    if not is_noted:
        using = router.db_for_write(Email)
        warn_of_other_transaction(using)
        _note(emails, using=using)


def warn_of_priority_now(*, instance: Email, raw: bool = False, **_: Any) -> None:
    """Warn before post_office's API writes a mail that it will send by itself (the receiver of `pre_save`).

    Ours writes rows with `raw`, and leaves the sending to senders.
    """
    if raw or instance.priority != PRIORITY.now or instance.status is not None or not instance._state.adding:
        return
    warnings.warn(
        'priority="now": post_office sends this mail by itself, inside the call and the transaction around it. '
        "A rollback does not take it back, a mail server that is slow is waited for, and nothing is tried again. "
        'mailqueue.send(priority="now") queues it in the top lane instead.',
        PriorityNowWarning,
        stacklevel=_callers_level(),
    )


def _note(emails: Sequence[Email], *, using: str) -> None:
    remember(emails)
    connection = connections[using]
    # Who commits by hand can't be told when: senders look for mail by themselves as well.
    if connection.in_atomic_block or connection.get_autocommit():
        connection.on_commit(_waking(connection.run_on_commit, using))


class _Waking:
    """Wakes the senders after a commit: once, however many mails of the transaction it was registered for."""

    __slots__ = ("_using", "is_done")

    def __init__(self, using: str) -> None:
        self._using = using
        self.is_done = False

    def __call__(self) -> None:
        if not self.is_done:
            self.is_done = True
            wake(self._using)


def _waking(callables: Sequence[tuple[Any, ...]], using: str) -> _Waking:
    """Return what is to be called after the commit, the last of `callables` if it will do."""
    last = callables[-1][1] if callables else None
    return last if isinstance(last, _Waking) and not last.is_done else _Waking(using)


def _is_broken(using: str) -> bool:
    """Whether the open transaction can only be rolled back."""
    connection: Any = connections[using]
    if not connection.in_atomic_block:
        return False
    raw = connection.connection
    if connection.needs_rollback or raw is None or raw.closed:
        return True
    return raw.info.transaction_status not in (TransactionStatus.INTRANS, TransactionStatus.ACTIVE)


def _tell_of_failed_receiver(error: Exception) -> None:
    # Where the log itself is mailed, what is told of that mail would be mailed too, and so on.
    if _is_telling.get():
        return
    token = _is_telling.set(True)
    try:
        logger.warning("receiver.failed", exc_info=error)
    finally:
        _is_telling.reset(token)


_paces: dict[str, Pace] = {}


def wake(alias: str) -> None:
    """Wake the senders that listen on this database. Never raises: they look for mail by themselves as well.

    A NOTIFY inside the transaction would take a lock on commit that all writers share; this one runs after it, and
    the less often the more mail this process writes.
    """
    pace = _paces.get(alias) or _paces.setdefault(alias, Pace())
    if not pace.may_wake():
        return
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])
    except Error:
        logger.debug("wake.failed", exc_info=True)
    pace.note_cost()


def warn_of_other_transaction(alias: str) -> None:
    """Warn a caller whose open transaction is on another database than that of the mail."""
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
