"""What people and programs order: requeue, hold and cancel."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction
from post_office.models import STATUS

from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.queue.settle import stop

BATCH = 2000
"""Mails in one statement: a whole filter takes a number of statements that grows with its size only by this step."""

# The lock keeps claimers away; a second statement then sees every claim there is.
LOCK = "SELECT id FROM post_office_email WHERE id = ANY(%s) AND status = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
LOCK_ANY = "SELECT id FROM post_office_email WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"

# An attempt that starts at the same moment changes this row too: one of the two comes second, and sees it.
WITHDRAW = "DELETE FROM mailqueue_attempt WHERE email_id = ANY(%s) AND outcome IS NULL AND started_at IS NULL"
STARTED = "SELECT email_id FROM mailqueue_attempt WHERE email_id = ANY(%s) AND finished_at IS NULL"

# What was held before its first attempt has a scheduled time of its caller's; behind an attempt it is a retry's.
REQUEUE = f"""
UPDATE post_office_email e SET status = {STATUS.queued}, number_of_retries = 0, last_updated = now(),
    scheduled_time = CASE WHEN e.status = {STATUS.failed} AND e.scheduled_time > now()
        AND EXISTS (SELECT FROM mailqueue_mailstate s WHERE s.email_id = e.id AND s.reason = '{StopReason.HELD}')
        AND NOT EXISTS (SELECT FROM mailqueue_attempt a WHERE a.email_id = e.id) THEN e.scheduled_time END
WHERE e.id = ANY(%s) AND (e.expires_at IS NULL OR e.expires_at > now())
  AND NOT EXISTS (SELECT FROM mailqueue_mailoptions o WHERE o.email_id = e.id AND o.wiped_at IS NOT NULL)
RETURNING e.id, e.from_email
"""

# Who queues mail of a refused From again has mended what was wrong with it, and is to see whether that is so. Two who
# do that for the same senders lock them in one order: at the end, for all batches at once.
TRY_FROM_AGAIN = """
WITH tried AS MATERIALIZED (
    SELECT id FROM mailqueue_refusedfrom WHERE from_email = ANY(%s) ORDER BY id FOR UPDATE
)
DELETE FROM mailqueue_refusedfrom WHERE id IN (SELECT id FROM tried)
"""
# Of a mail that was sent in part, those who have it do not get it again.
TWICE = f"""
SELECT e.id FROM post_office_email e WHERE e.id = ANY(%s) AND (
    EXISTS (SELECT FROM mailqueue_attempt a WHERE a.email_id = e.id
        AND a.outcome IN ('{AttemptOutcome.SENT}', '{AttemptOutcome.UNKNOWN}'))
    OR (e.status = {STATUS.failed} AND EXISTS (SELECT FROM mailqueue_mailstate s WHERE s.email_id = e.id
        AND s.reason = '{StopReason.UNKNOWN}'))
    OR (e.status = {STATUS.sent} AND NOT EXISTS (SELECT FROM mailqueue_attempt a WHERE a.email_id = e.id
        AND a.outcome = '{AttemptOutcome.PARTLY_SENT}')))
"""
# Who has been sent a mail since somebody was asked was not there to be asked about.
SENT_SINCE = f"""
SELECT email_id FROM mailqueue_attempt WHERE email_id = ANY(%s) AND id > %s
    AND outcome IN ('{AttemptOutcome.SENT}', '{AttemptOutcome.UNKNOWN}')
"""
# Of the mails that were locked, those that wait and those that are held. What is stopped for another reason stays so.
CANCEL = f"""
WITH cancelled AS (
    UPDATE post_office_email e SET status = {STATUS.failed}, last_updated = now()
    WHERE e.id = ANY(%s) AND (e.status IN (2, 3) OR (e.status = {STATUS.failed} AND EXISTS (
        SELECT FROM mailqueue_mailstate s WHERE s.email_id = e.id AND s.reason = '{StopReason.HELD}')))
    RETURNING e.id
)
INSERT INTO mailqueue_mailstate (email_id, reason, note, stopped_by, stopped_at)
SELECT id, '{StopReason.CANCELLED}', '', %s, clock_timestamp() FROM cancelled
ON CONFLICT (email_id) DO UPDATE SET reason = excluded.reason, note = excluded.note,
    stopped_by = excluded.stopped_by, stopped_at = excluded.stopped_at
RETURNING email_id
"""
NEWEST = "SELECT coalesce(max(id), 0) FROM mailqueue_attempt"
HELD = f"SELECT email_id FROM mailqueue_mailstate WHERE email_id = ANY(%s) AND reason = '{StopReason.HELD}'"
WAITING = (STATUS.queued, STATUS.requeued)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a person has agreed to: that these mails may come twice, as things stood when he was asked."""

    mails: Collection[int] = frozenset()
    up_to: int = 0
    """The newest attempt of all that there was then."""


def newest_attempt(*, using: str) -> int:
    """Return the number of the newest attempt; read before it is found out which mails could come twice."""
    with connections[using].cursor() as cursor:
        cursor.execute(NEWEST)
        return int(cursor.fetchone()[0])


def cancel(email_ids: Iterable[int], *, by: str, using: str) -> list[int]:
    """Take mails out of the queue for good, held ones too, and return the ids of those that were, in order.

    Left out are mails that are neither queued nor held, and those that are being sent right now: what this returns
    will not be sent, unless somebody queues it again. Of a release at the same time the one that comes second finds
    what the first has made of the mail.
    """
    cancelled: list[int] = []
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        for batch in _batches(email_ids):
            cursor.execute(CANCEL, [_take(cursor, batch, statuses=(*WAITING, STATUS.failed)), by])
            cancelled += sorted(email_id for (email_id,) in cursor.fetchall())
    return cancelled


def hold(email_ids: Iterable[int], *, note: str, by: str, using: str) -> list[int]:
    """Take mails out of the queue until somebody requeues them, and return the ids of those that were, in order.

    Left out are mails that are not queued, and those that are being sent right now.
    """
    held: list[int] = []
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        for batch in _batches(email_ids):
            free = _take(cursor, batch, statuses=WAITING)
            stop(cursor, [(email_id, StopReason.HELD, note) for email_id in free], by=by)
            held += free
    return held


def lock(email_ids: Iterable[int], *, using: str) -> None:
    """Keep everybody else from taking these mails, or giving an order for them, until the transaction ends.

    A sender that has one already goes on with it.
    """
    with connections[using].cursor() as cursor:
        for batch in _batches(email_ids):
            cursor.execute(LOCK_ANY, [batch])


def could_come_twice(email_ids: Iterable[int], *, using: str) -> set[int]:
    """Return which of these mails somebody has, or may have, who would get them again if they were queued again."""
    found: set[int] = set()
    with connections[using].cursor() as cursor:
        for batch in _batches(email_ids):
            found |= _twice(cursor, batch)
    return found


def requeue(email_ids: Iterable[int], *, using: str, agreed: Agreement | None = None) -> list[int]:
    """Queue mails anew, to be sent at once, and return the ids of those that were queued, in order.

    A mail that was sent in full goes to all its recipients again; one that was partly sent, to those who do not have
    it. One that was held before its time and before its first attempt keeps its time. Left out are mails that are
    being sent right now, those that post_office never finished creating, those whose `expires_at` has passed, and
    those whose content is no longer kept. A From that a server refused is tried again.

    With `agreed`, of the mails that could come twice only those are queued that somebody agreed to, and only if they
    were not sent since: an answer that comes twice, or late, sends nothing twice.
    """
    queued: list[int] = []
    senders: set[str] = set()
    with _waking(using) as cursor:
        for batch in _batches(email_ids):
            free = _take(cursor, batch, statuses=(*WAITING, STATUS.sent, STATUS.failed))
            queued += _queue(cursor, free, agreed=agreed, senders=senders)
        cursor.execute(TRY_FROM_AGAIN, [list(senders)])
    return queued


def requeue_held(email_ids: Iterable[int], *, using: str, agreed: Agreement | None = None) -> list[int]:
    """Do what `requeue` does for those of these mails that are held; all others are left out."""
    queued: list[int] = []
    senders: set[str] = set()
    with _waking(using) as cursor:
        for batch in _batches(email_ids):
            # What is stopped for whatever reason stays so while it is locked.
            cursor.execute(HELD, [_take(cursor, batch, statuses=(STATUS.failed,))])
            held = [email_id for (email_id,) in cursor.fetchall()]
            queued += _queue(cursor, held, agreed=agreed, senders=senders)
        cursor.execute(TRY_FROM_AGAIN, [list(senders)])
    return queued


@contextmanager
def _waking(using: str) -> Iterator[Any]:
    """Open a transaction that wakes the senders when it is committed."""
    from mailqueue.outbox.notice import wake

    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        yield cursor
        transaction.on_commit(lambda: wake(using), using=using)


def _queue(cursor: Any, free: Sequence[int], *, agreed: Agreement | None, senders: set[str]) -> list[int]:
    """Queue mails that are locked, return their ids in order, and add from whom they are to `senders`."""
    if agreed is not None:
        surprising = _twice(cursor, free).difference(agreed.mails) | _sent_since(cursor, free, agreed.up_to)
        free = [email_id for email_id in free if email_id not in surprising]
    cursor.execute(REQUEUE, [list(free)])
    rows = cursor.fetchall()
    senders.update(from_email for _, from_email in rows)
    return sorted(email_id for email_id, _ in rows)


def _batches(email_ids: Iterable[int]) -> Iterator[list[int]]:
    """Cut into batches, in the order of the ids: two who work on the same mails then can't block each other."""
    ids = sorted(set(email_ids))
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def _twice(cursor: Any, email_ids: Sequence[int]) -> set[int]:
    cursor.execute(TWICE, [list(email_ids)])
    return {email_id for (email_id,) in cursor.fetchall()}


def _sent_since(cursor: Any, email_ids: Sequence[int], attempt_id: int) -> set[int]:
    cursor.execute(SENT_SINCE, [list(email_ids), attempt_id])
    return {email_id for (email_id,) in cursor.fetchall()}


def _take(cursor: Any, email_ids: Sequence[int], *, statuses: Sequence[int]) -> list[int]:
    """Lock mails and take unstarted claims away from senders; return those that nobody is sending."""
    cursor.execute(LOCK, [list(email_ids), list(statuses)])
    locked = [email_id for (email_id,) in cursor.fetchall()]
    cursor.execute(WITHDRAW, [locked])
    cursor.execute(STARTED, [locked])
    started = {email_id for (email_id,) in cursor.fetchall()}
    return [email_id for email_id in locked if email_id not in started]
