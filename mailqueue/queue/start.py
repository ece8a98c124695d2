"""The start fence: a committed mark on a live lease, before anything is sent."""

from collections.abc import Sequence
from typing import Any

from mailqueue.queue.claim import Claim

MARGIN = 0.25
"""The share of a lease that must be left when an attempt starts."""

# `outcome IS NULL` says the same as `finished_at IS NULL`, but can't lure the planner to the small partial index,
# which is full of dead entries.
START = """
UPDATE mailqueue_attempt a
SET started_at = coalesce(a.started_at, clock_timestamp()),
    lease_until = clock_timestamp() + %(lease)s * interval '1 second'
FROM post_office_email e
WHERE a.id = ANY(%(ids)s) AND a.outcome IS NULL AND a.sender = %(sender)s
  AND a.lease_until > clock_timestamp() + %(margin)s * interval '1 second'
  AND e.id = a.email_id AND e.status IN (2, 3) AND (e.expires_at IS NULL OR e.expires_at > now())
RETURNING a.id
"""

EXPIRED = """
SELECT a.id FROM mailqueue_attempt a JOIN post_office_email e ON e.id = a.email_id
WHERE a.id = ANY(%(ids)s) AND a.outcome IS NULL AND a.sender = %(sender)s
  AND e.status IN (2, 3) AND e.expires_at <= now()
"""

RENEW = """
UPDATE mailqueue_attempt SET lease_until = clock_timestamp() + %(lease)s * interval '1 second'
WHERE id = ANY(%(ids)s) AND outcome IS NULL AND sender = %(sender)s AND lease_until > clock_timestamp()
RETURNING id
"""


def start(cursor: Any, claims: Sequence[Claim], *, sender: str, lease_seconds: float) -> set[int]:
    """Mark attempts as started and return the ids of those that may go out.

    Left out are mails that were cancelled, expired, deleted or stopped since they were claimed, and claims whose lease
    has ended or is about to. After a crash behind this commit the outcome of a started attempt is unknown.
    """
    parameters = {
        "ids": [claim.attempt_id for claim in claims],
        "sender": sender,
        "lease": lease_seconds,
        "margin": lease_seconds * MARGIN,
    }
    cursor.execute(START, parameters)
    return {attempt_id for (attempt_id,) in cursor.fetchall()}


def expired(cursor: Any, claims: Sequence[Claim], *, sender: str) -> set[int]:
    """Return which of these claims are on mail whose time has run out."""
    cursor.execute(EXPIRED, {"ids": [claim.attempt_id for claim in claims], "sender": sender})
    return {attempt_id for (attempt_id,) in cursor.fetchall()}


def renew(cursor: Any, attempt_ids: Sequence[int], *, sender: str, lease_seconds: float) -> set[int]:
    """Extend leases that are still alive and return the ids of those attempts; the others are lost."""
    cursor.execute(RENEW, {"ids": list(attempt_ids), "sender": sender, "lease": lease_seconds})
    return {attempt_id for (attempt_id,) in cursor.fetchall()}
