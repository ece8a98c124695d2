"""The start fence: a committed mark on a live lease, before anything is sent."""

from collections.abc import Iterable, Sequence
from typing import Any

from mailqueue.queue.claim import Claim

MARGIN = 0.25
"""The share of a lease that must be left when an attempt starts."""

# `outcome IS NULL` says the same as `finished_at IS NULL`, but can't lure the planner to the small partial index,
# which is full of dead entries. OFFSET 0 leaves each mail to be looked up by the id that its attempt names: as a join,
# the planner may go through all attempts in the order of their mails, where it takes them for few.
_START = """
UPDATE mailqueue_attempt a
SET started_at = coalesce(a.started_at, clock_timestamp()),
    lease_until = clock_timestamp() + %(lease)s * interval '1 second'
WHERE a.id = ANY(%(ids)s::bigint[]) AND a.outcome IS NULL AND a.sender = %(sender)s
  AND a.lease_until > clock_timestamp() + %(margin)s * interval '1 second'
  AND NOT EXISTS (SELECT FROM mailqueue_backendhealth h WHERE h.alias = a.backend AND h.paused_at IS NOT NULL OFFSET 0)
  AND EXISTS (
    SELECT FROM post_office_email e
    WHERE e.id = a.email_id AND e.status + 0 IN (2, 3) AND (e.expires_at IS NULL OR e.expires_at > now())
      AND NOT EXISTS (SELECT FROM mailqueue_refusedfrom r WHERE r.backend = a.backend AND r.from_email = e.from_email
          AND r.refused_at > now() - %(refused_for)s * interval '1 second' OFFSET 0)
      AND {of_mail} OFFSET 0)
  AND {of_attempt}
RETURNING a.id, a.email_id
"""


def start_statement(*, of_mail: str = "true", of_attempt: str = "true") -> str:
    """Return the statement that marks attempts as started, with what else must hold of a mail `e` and an attempt `a`.

    It leaves out what `start` does; its parameters are those of `parameters`.
    """
    return _START.format(of_mail=of_mail, of_attempt=of_attempt)


START = start_statement()

REFUSED_SECONDS = 3600
"""For so long mail of a From that the server refused is held without asking the server again."""

REFUSED = """
SELECT a.id, refused.reply FROM mailqueue_attempt a CROSS JOIN LATERAL (
    SELECT r.reply FROM post_office_email e JOIN mailqueue_refusedfrom r ON r.from_email = e.from_email
    WHERE e.id = a.email_id AND e.status + 0 IN (2, 3) AND r.backend = a.backend
      AND r.refused_at > now() - %(refused_for)s * interval '1 second' OFFSET 0
) refused
WHERE a.id = ANY(%(ids)s::bigint[]) AND a.outcome IS NULL AND a.sender = %(sender)s
"""

REFUSE = """
INSERT INTO mailqueue_refusedfrom AS r (backend, from_email, reply, refused_at)
SELECT %(backend)s, e.from_email, %(reply)s, clock_timestamp() FROM post_office_email e WHERE e.id = %(email_id)s
ON CONFLICT (backend, from_email) DO UPDATE SET reply = excluded.reply, refused_at = excluded.refused_at
WHERE r.refused_at <= now() - %(refused_for)s * interval '1 second'
"""

EXPIRED = """
SELECT a.id FROM mailqueue_attempt a
WHERE a.id = ANY(%(ids)s::bigint[]) AND a.outcome IS NULL AND a.sender = %(sender)s AND EXISTS (
    SELECT FROM post_office_email e
    WHERE e.id = a.email_id AND e.status + 0 IN (2, 3) AND e.expires_at <= now() OFFSET 0)
"""

RENEW = """
UPDATE mailqueue_attempt SET lease_until = clock_timestamp() + %(lease)s * interval '1 second'
WHERE id = ANY(%(ids)s) AND outcome IS NULL AND sender = %(sender)s AND lease_until > clock_timestamp()
RETURNING id
"""


def start(cursor: Any, claims: Sequence[Claim], *, sender: str, lease_seconds: float) -> set[int]:
    """Mark attempts as started and return the ids of those that may go out.

    Left out are mails that were cancelled, expired, deleted or stopped since they were claimed, those of a backend
    that is paused or of a From that it refuses, and claims whose lease has ended or is about to. After a crash behind
    this commit the outcome of a started attempt is unknown.
    """
    cursor.execute(START, parameters(claims, sender=sender, lease_seconds=lease_seconds))
    return {attempt_id for attempt_id, _ in cursor.fetchall()}


def parameters(claims: Sequence[Claim], *, sender: str, lease_seconds: float) -> dict[str, Any]:
    """Return what START wants to know of claims."""
    return {
        "ids": as_array(claim.attempt_id for claim in claims),
        "sender": sender,
        "lease": lease_seconds,
        "margin": lease_seconds * MARGIN,
        "refused_for": REFUSED_SECONDS,
    }


def as_array(ids: Iterable[int]) -> str:
    """Write ids as Postgres does. A list is asked for its types each time."""
    return f"{{{','.join(map(str, ids))}}}"


def expired(cursor: Any, claims: Sequence[Claim], *, sender: str) -> set[int]:
    """Return which of these claims are on mail whose time has run out."""
    cursor.execute(EXPIRED, {"ids": [claim.attempt_id for claim in claims], "sender": sender})
    return {attempt_id for (attempt_id,) in cursor.fetchall()}


def refused(cursor: Any, claims: Sequence[Claim], *, sender: str) -> dict[int, str]:
    """Return which of these claims are on mail whose From the server has just refused, with what it said."""
    ids = [claim.attempt_id for claim in claims]
    cursor.execute(REFUSED, {"ids": ids, "sender": sender, "refused_for": REFUSED_SECONDS})
    return dict(cursor.fetchall())


def record_refused_from(cursor: Any, *, email_id: int, backend: str, reply: str) -> bool:
    """Remember that a backend refuses the From of this mail, and return whether that is news."""
    parameters = {"email_id": email_id, "backend": backend, "reply": reply, "refused_for": REFUSED_SECONDS}
    cursor.execute(REFUSE, parameters)
    return bool(cursor.rowcount)


def renew(cursor: Any, attempt_ids: Sequence[int], *, sender: str, lease_seconds: float) -> set[int]:
    """Extend leases that are still alive and return the ids of those attempts; the others are lost."""
    cursor.execute(RENEW, {"ids": list(attempt_ids), "sender": sender, "lease": lease_seconds})
    return {attempt_id for (attempt_id,) in cursor.fetchall()}
