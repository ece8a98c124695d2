"""Dropping: what a mail said that is done with leaves the database, in small batches; its history stays."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from mailqueue.queue.purge import ATTACHED, BATCH, DECIDE, ENDINGS
from mailqueue.queue.wipe import EMPTYING, drop_attachments
from mailqueue.queue.work import is_databases_trouble, is_locked, work

# A stretch of the index of times, whatever stands in it: what was dropped long ago is stepped over but once, for who
# calls goes on where he was. The joins see no more than that stretch.
LOOK = """
WITH looked AS MATERIALIZED (
    SELECT id, status, last_updated FROM post_office_email
    WHERE last_updated < %(before)s AND (last_updated, id) > (%(after)s, %(after_id)s)
    ORDER BY last_updated, id LIMIT %(limit)s
)
SELECT e.id, e.last_updated, ({done}) AND o.wiped_at IS NULL
FROM looked e LEFT JOIN mailqueue_mailstate s ON s.email_id = e.id
    LEFT JOIN mailqueue_mailoptions o ON o.email_id = e.id
ORDER BY e.last_updated, e.id
"""
# Whoever acts on one of them at this moment has locked it: it is left to him.
LOCK = "SELECT id FROM post_office_email WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"
STILL_THERE = "NOT EXISTS (SELECT FROM mailqueue_mailoptions o WHERE o.email_id = e.id AND o.wiped_at IS NOT NULL)"

DROP = f"""
WITH wiped AS (
    INSERT INTO mailqueue_mailoptions AS o (email_id, ref, is_sensitive, unknown_outcome, wiped_at)
    SELECT g.id, '', false, '', clock_timestamp() FROM unnest(%(ids)s::bigint[]) AS g(id) ORDER BY g.id
    ON CONFLICT (email_id) DO UPDATE SET
        wiped_at = CASE WHEN %(keeps_subject)s THEN coalesce(o.wiped_at, excluded.wiped_at) ELSE excluded.wiped_at END
    RETURNING email_id, %(keeps_subject)s AND NOT is_sensitive AS keeps_subject
), {EMPTYING}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody has come in the order of the times at which mails were last changed."""

    last_updated: datetime | str = "-infinity"
    email_id: int = 0


BEGINNING = Place()


@dataclass(frozen=True, slots=True)
class Dropped:
    """What one batch came to."""

    count: int
    place: Place
    """Where to begin the next time: before it nothing is left to be done."""


def drop(
    *, endings: Iterable[str], before: datetime, using: str, after: Place = BEGINNING, batch: int = BATCH
) -> Iterator[Dropped]:
    """Drop what mails said that are done with and were last changed before that time, and say so batch by batch.

    `endings` are names of purge.ENDINGS. Each batch is a transaction: after a crash those before it are empty, and
    marked so (`MailOptions.wiped_at`), with all that `drop_contents` says. Mail that somebody works on is left to the
    next time, and what can't be changed (a trigger of the project's) keeps no other.
    """
    conditions = " OR ".join(f"({ENDINGS[name]})" for name in endings)
    look, decide = LOOK.format(done=conditions), DECIDE.format(done=f"({conditions}) AND {STILL_THERE}")
    place = resumed = after
    while True:
        given = {"before": before, "after": place.last_updated, "after_id": place.email_id, "limit": batch}
        with work(using) as cursor:
            cursor.execute(look, given)
            rows = cursor.fetchall()
            wanted = [email_id for email_id, _, is_wanted in rows if is_wanted]
            count, are_all_free = _drop_free(cursor, wanted, decide=decide)
        begun_at, place = place, Place(rows[-1][1], rows[-1][0]) if rows else place
        if resumed == begun_at and are_all_free:
            resumed = place
        yield Dropped(count, resumed)
        if len(rows) < batch:
            return


def drop_contents(cursor: Any, email_ids: Sequence[int], *, keeps_subject: bool = True) -> None:
    """Empty these mails, which the caller has locked, whatever their state; who got them and how it went stays.

    Message-ID and Date stay; the subject too if it is asked for and the mail is not sensitive. Attachments that no
    other mail has go too, their files after the commit.
    """
    cursor.execute(ATTACHED, [list(email_ids)])
    cursor.execute(DROP, {"ids": list(email_ids), "keeps_subject": keeps_subject})
    if attachment_ids := [attachment_id for (attachment_id,) in cursor.fetchall()]:
        drop_attachments(cursor, attachment_ids)


def _drop_free(cursor: Any, email_ids: Sequence[int], *, decide: str) -> tuple[int, bool]:
    """Drop those on which nobody works, and return how many, and whether that was all of them."""
    if not email_ids:
        return 0, True
    cursor.execute(LOCK, [list(email_ids)])
    free = [email_id for (email_id,) in cursor.fetchall()]
    cursor.execute(decide, [free])
    count, are_unlocked = _drop_apart(cursor, [email_id for (email_id,) in cursor.fetchall()])
    return count, are_unlocked and len(free) == len(email_ids)


def _drop_apart(cursor: Any, email_ids: Sequence[int]) -> tuple[int, bool]:
    """Drop all at once or, where that can't be done, each half by itself."""
    try:
        with transaction.atomic(using=cursor.db.alias):
            drop_contents(cursor, email_ids)
    except Exception as error:
        if is_databases_trouble(error) and not is_locked(error):
            raise
        if len(email_ids) == 1:
            return 0, not is_locked(error)
        middle = len(email_ids) // 2
        parts = [_drop_apart(cursor, part) for part in (email_ids[:middle], email_ids[middle:])]
        return sum(count for count, _ in parts), all(is_free for _, is_free in parts)
    return len(email_ids), True
