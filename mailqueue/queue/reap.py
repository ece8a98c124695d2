"""Reaping: what senders left behind that died or lost their lease."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mailqueue.conf import Configuration
from mailqueue.faults import reach
from mailqueue.queue.unknown import treat_unknown

LIMIT = 500

REAP = """
WITH dead AS MATERIALIZED (
    SELECT a.id, a.email_id, a.started_at FROM mailqueue_attempt a JOIN post_office_email e ON e.id = a.email_id
    WHERE a.finished_at IS NULL AND (a.lease_until < clock_timestamp() OR a.sender = ANY(%s::text[]))
      AND NOT a.id = ANY(%s::bigint[])
    ORDER BY a.id LIMIT %s FOR NO KEY UPDATE OF a, e SKIP LOCKED
), returned AS (
    DELETE FROM mailqueue_attempt WHERE id IN (SELECT id FROM dead WHERE started_at IS NULL) RETURNING email_id
), unknown AS (
    UPDATE mailqueue_attempt SET finished_at = clock_timestamp(), outcome = 'unknown', stage = ''
    WHERE id IN (SELECT id FROM dead WHERE started_at IS NOT NULL) RETURNING email_id, backend
)
SELECT email_id, false, '' FROM returned UNION ALL SELECT email_id, true, backend FROM unknown
"""


ANY_DEAD = """
SELECT EXISTS (SELECT FROM mailqueue_attempt
    WHERE finished_at IS NULL AND lease_until < clock_timestamp() AND NOT id = ANY(%s::bigint[]))
"""


@dataclass(frozen=True, slots=True)
class Reaped:
    """Mails whose claim was taken away from a dead sender."""

    returned: list[int]
    """Nothing was sent: they are in the queue again."""
    unknown: list[int]
    """They had been started: nobody knows whether the server took them."""
    unknown_backends: list[str]
    """By which these were sent, in the same order."""
    held: list[int]
    """Those of them that wait for a person; the others are sent once more."""


def is_any_dead(cursor: Any, *, besides: Sequence[int] = ()) -> bool:
    """Whether there is a claim whose lease has ended; those `besides` are not meant."""
    cursor.execute(ANY_DEAD, [list(besides)])
    return bool(cursor.fetchone()[0])


def reap(
    cursor: Any,
    *,
    configuration: Configuration,
    dead_senders: Sequence[str] = (),
    besides: Sequence[int] = (),
) -> Reaped:
    """Close what is left of claims whose lease has ended, or whose sender is proven dead. Any host may do it.

    `besides` are attempts that the caller holds and knows about: their leases may have ended while the database was
    away, and it will settle them itself.
    """
    cursor.execute(REAP, [list(dead_senders), list(besides), LIMIT])
    rows = cursor.fetchall()
    unknown = [email_id for email_id, is_unknown, _ in rows if is_unknown]
    held = treat_unknown(cursor, unknown, configuration=configuration) if unknown else []
    if rows:
        reach("reaping")
    return Reaped(
        returned=[email_id for email_id, is_unknown, _ in rows if not is_unknown],
        unknown=unknown,
        unknown_backends=[backend for _, is_unknown, backend in rows if is_unknown],
        held=held,
    )
