"""What people order: requeue and cancel."""

from collections.abc import Sequence
from typing import Any

from django.db import connections, transaction
from post_office.models import STATUS

from mailqueue.models import StopReason
from mailqueue.queue.settle import stop

# The lock keeps claimers away; a second statement then sees every claim there is.
LOCK = "SELECT id FROM post_office_email WHERE id = ANY(%s) AND status = ANY(%s) ORDER BY id FOR UPDATE"

# An attempt that starts at the same moment changes this row too: one of the two comes second, and sees it.
WITHDRAW = "DELETE FROM mailqueue_attempt WHERE email_id = ANY(%s) AND outcome IS NULL AND started_at IS NULL"
STARTED = "SELECT email_id FROM mailqueue_attempt WHERE email_id = ANY(%s) AND finished_at IS NULL"

REQUEUE = f"""
UPDATE post_office_email SET status = {STATUS.queued}, scheduled_time = NULL, number_of_retries = 0,
    last_updated = now()
WHERE id = ANY(%s)
"""
WAITING = (STATUS.queued, STATUS.requeued)


def cancel(email_ids: Sequence[int], *, by: str, using: str) -> list[int]:
    """Take mails out of the queue for good and return the ids of those that were.

    Left out are mails that are not queued, and those that are being sent right now: what this returns will not be
    sent, unless somebody queues it again.
    """
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        free = _take(cursor, email_ids, statuses=WAITING)
        stop(cursor, [(email_id, StopReason.CANCELLED, "") for email_id in free], by=by)
    return free


def requeue(email_ids: Sequence[int], *, using: str) -> list[int]:
    """Queue mails anew, to be sent at once, and return the ids of those that were queued.

    A mail that was sent in full goes to all its recipients again; one that was partly sent, to those who do not have
    it. Left out are mails that are being sent right now, and those that post_office never finished creating.
    """
    from mailqueue.outbox.notice import wake

    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        free = _take(cursor, email_ids, statuses=(*WAITING, STATUS.sent, STATUS.failed))
        cursor.execute(REQUEUE, [free])
        transaction.on_commit(lambda: wake(using), using=using)
    return free


def _take(cursor: Any, email_ids: Sequence[int], *, statuses: Sequence[int]) -> list[int]:
    """Lock mails and take unstarted claims away from senders; return those that nobody is sending."""
    cursor.execute(LOCK, [list(email_ids), list(statuses)])
    locked = [email_id for (email_id,) in cursor.fetchall()]
    cursor.execute(WITHDRAW, [locked])
    cursor.execute(STARTED, [locked])
    started = {email_id for (email_id,) in cursor.fetchall()}
    return [email_id for email_id in locked if email_id not in started]
