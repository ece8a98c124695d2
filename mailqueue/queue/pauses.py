"""What people order of a backend: pause, resume, and how much it may be given. Senders keep the other columns."""

from typing import Any

from django.db import connections, transaction

from mailqueue.delivery.backends import canonical
from mailqueue.queue.rate import DAY_SECONDS

PAUSE = """
INSERT INTO mailqueue_backendhealth AS b (alias, paused_at, paused_by, pause_note)
VALUES (%(alias)s, now(), %(by)s, %(note)s)
ON CONFLICT (alias) DO UPDATE
SET paused_at = excluded.paused_at, paused_by = excluded.paused_by, pause_note = excluded.pause_note
WHERE b.paused_at IS NULL
RETURNING alias
"""

RESUME = """
UPDATE mailqueue_backendhealth SET paused_at = NULL, paused_by = '', pause_note = ''
WHERE alias = %(alias)s AND paused_at IS NOT NULL
RETURNING alias
"""

# A rest to the end of the day came from the former limit. If the new one is used up too, the next sender says so. The
# end of a rest is also since when a rate that was cut grows again.
ALLOW = """
INSERT INTO mailqueue_backendhealth AS b (alias, max_per_second, max_per_day, max_connections)
VALUES (%(alias)s, %(per_second)s, %(per_day)s, %(connections)s)
ON CONFLICT (alias) DO UPDATE
SET max_per_second = excluded.max_per_second, max_per_day = excluded.max_per_day,
    max_connections = excluded.max_connections,
    resting_until = CASE WHEN abs(extract(epoch FROM b.resting_until - b.day_began_at) - %(day)s) < 1
        THEN coalesce(b.throttled_at, clock_timestamp()) ELSE b.resting_until END
"""


def pause(alias: str, *, by: str, note: str, using: str) -> bool:
    """Let no sender start mail of a backend until somebody resumes it, and return whether that is new.

    What is being sent right now ends as it would. A backend that is paused already keeps the name and the note of who
    was first. After a crash, in any process, a committed pause stands; an uncommitted one never was.
    """
    return _order(PAUSE, {"alias": canonical(alias), "by": by, "note": note}, using=using)


def resume(alias: str, *, using: str) -> bool:
    """Let mail of a backend flow again, and return whether it was paused. What is shut or rests goes on doing so.

    Senders are woken after the commit. After a crash between the two they find out when they next look by themselves.
    """
    from mailqueue.outbox.notice import wake

    with transaction.atomic(using=using):
        is_new = _order(RESUME, {"alias": canonical(alias)}, using=using)
        transaction.on_commit(lambda: wake(using), using=using)
    return is_new


def allow(
    alias: str, *, per_second: float | None, per_day: int | None, connections_at_once: int | None, using: str
) -> None:
    """Set what a backend may be given; None: what the settings say. Senders are woken after the commit.

    Only these columns are written, so that what senders note at the same moment stays. A backend whose day was used up
    is free again where the new limit is higher. After a crash all of it stands, or nothing.
    """
    from mailqueue.outbox.notice import wake

    words = {
        "alias": canonical(alias),
        "per_second": per_second,
        "per_day": per_day,
        "connections": connections_at_once,
        "day": DAY_SECONDS,
    }
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(ALLOW, words)
        transaction.on_commit(lambda: wake(using), using=using)


def _order(statement: str, words: dict[str, Any], *, using: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, words)
        return cursor.fetchone() is not None
