"""Purging: mail that is done with leaves the database, in small batches. Never what may still be sent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections, transaction
from post_office.models import STATUS, Email

from mailqueue.models import StopReason
from mailqueue.queue.wipe import drop_attachments
from mailqueue.queue.work import is_databases_trouble, is_locked, work

BATCH = 500
REASON = f"coalesce(s.reason, '{StopReason.FAILED}')"  # others may set a mail to failed, and say no reason
ENDINGS = {
    "sent": f"e.status = {STATUS.sent}",
    "failed": f"e.status = {STATUS.failed} AND {REASON} IN ('{StopReason.FAILED}', '{StopReason.EXPIRED}')",
    "cancelled": f"e.status = {STATUS.failed} AND {REASON} = '{StopReason.CANCELLED}'",
    "interrupted": "e.status IS NULL",
}
"""How a mail ended, by the names of RETENTION_DAYS, and what post_office never finished, which nobody sends. Held
mail, and mail of an unknown outcome, has not ended."""

ROWS = "post_office_email e LEFT JOIN mailqueue_mailstate s ON s.email_id = e.id"

# Whoever acts on one of them at this moment has locked it: it is left to him.
LOCK = f"""
SELECT e.id, e.{{age}} FROM {ROWS}
WHERE ({{done}}) AND e.{{age}} < %(before)s AND (e.{{age}}, e.id) > (%(after)s, %(after_id)s)
ORDER BY e.{{age}}, e.id LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
"""
# A row may have changed before it was locked, and what is joined to it was read before: a second statement decides.
DECIDE = f"""
SELECT e.id FROM {ROWS} WHERE e.id = ANY(%s) AND ({{done}})
  AND NOT EXISTS (SELECT FROM mailqueue_attempt a WHERE a.email_id = e.id AND a.finished_at IS NULL)
ORDER BY e.id
"""
UNUSED = """
SELECT a.id FROM post_office_attachment a
WHERE a.id > %s AND NOT EXISTS (SELECT FROM post_office_attachment_emails l WHERE l.attachment_id = a.id)
ORDER BY a.id LIMIT %s
"""
# Of two whose mails share an attachment, the second looks for links that are left when the first has committed.
ATTACHED = """
SELECT a.id FROM post_office_attachment a WHERE a.id IN (
    SELECT l.attachment_id FROM post_office_attachment_emails l WHERE l.email_id = ANY(%s)
) ORDER BY a.id FOR NO KEY UPDATE
"""


@dataclass(slots=True)
class Purged:
    """What a purge came to."""

    count: int = 0
    kept: int = 0
    """Mails that rows of other apps keep from being deleted."""


def purge(
    *,
    endings: Iterable[str],
    before: datetime,
    using: str,
    by_creation: bool = False,
    drops_attachments: bool = True,
    batch: int = BATCH,
) -> Iterator[Purged]:
    """Delete mails that are done with and were last changed (or created) before that time, and say so batch by batch.

    `endings` are names of ENDINGS. Each batch is a transaction: after a crash those before it are gone, with their
    attempts, logs and (`drops_attachments`) what no other mail has attached; files go after the commit. Signals and
    `on_delete` hold, as in post_office: a mail that a project's row protects stays, and is counted as kept.
    """
    conditions = " OR ".join(f"({ENDINGS[name]})" for name in endings)
    lock = LOCK.format(done=conditions, age="created" if by_creation else "last_updated")
    decide = DECIDE.format(done=conditions)
    given: dict[str, Any] = {"before": before, "after": "-infinity", "after_id": 0, "limit": batch}
    while True:
        with work(using) as cursor:
            cursor.execute(lock, given)
            rows = cursor.fetchall()
            cursor.execute(decide, [[email_id for email_id, _ in rows]])
            email_ids = [email_id for (email_id,) in cursor.fetchall()]
            purged = delete(cursor, email_ids, drops_attachments=drops_attachments) if email_ids else Purged()
        yield purged
        if len(rows) < batch:
            return
        given |= {"after": rows[-1][1], "after_id": rows[-1][0]}


def purge_attachments(*, using: str, batch: int = BATCH) -> Iterator[int]:
    """Delete attachments that no mail has, their files after the commit, and say batch by batch how many."""
    last = 0
    while True:
        with work(using) as cursor:
            cursor.execute(UNUSED, [last, batch])
            attachment_ids = [attachment_id for (attachment_id,) in cursor.fetchall()]
            count = drop_attachments(cursor, attachment_ids) if attachment_ids else 0
        yield count
        if len(attachment_ids) < batch:
            return
        last = attachment_ids[-1]


def delete(cursor: Any, email_ids: Sequence[int], *, drops_attachments: bool) -> Purged:
    """Delete these mails, which the caller has locked, whatever their state; count those that something keeps."""
    using, attachment_ids = cursor.db.alias, []
    if drops_attachments:
        cursor.execute(ATTACHED, [list(email_ids)])
        attachment_ids = [attachment_id for (attachment_id,) in cursor.fetchall()]
    purged = Purged()
    for part in _deletable(email_ids, using=using):
        purged.count += len(part)
    purged.kept = len(email_ids) - purged.count
    if attachment_ids:
        drop_attachments(cursor, attachment_ids)
    return purged


def _deletable(email_ids: Sequence[int], *, using: str) -> Iterator[Sequence[int]]:
    """Delete all at once or, where something keeps one of them, each half by itself; yield what is gone."""
    if _try(email_ids, using=using):
        yield email_ids
    elif len(email_ids) > 1:
        middle = len(email_ids) // 2
        yield from _deletable(email_ids[:middle], using=using)
        yield from _deletable(email_ids[middle:], using=using)


def _try(email_ids: Sequence[int], *, using: str) -> bool:
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            Email.objects.using(using).filter(pk__in=email_ids).only("pk").delete()
            # What a project's tables refer to shows now, and not when all is committed.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    except Exception as error:
        # Whatever a project's rows, triggers or receivers say, the mail stays. The database's own trouble is told.
        if is_databases_trouble(error) and not is_locked(error):
            raise
        return False
    return True
