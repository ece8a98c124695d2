"""Claiming: an open attempt is the claim, and a unique index allows one per mail."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# `created` may come from a host whose clock is wrong, and only orders the queue: hence the slack in the range. Due is
# what has no scheduled time or one that has passed.
DUE = """
due_{n} AS MATERIALIZED (
    SELECT e.id, coalesce(e.scheduled_time, e.created) AS due FROM post_office_email e
    WHERE e.backend_alias = %s AND coalesce(e.priority, 1) = %s AND e.status IN (2, 3)
      AND coalesce(e.scheduled_time, e.created) <= now() + interval '10 minutes'
      AND (e.scheduled_time IS NULL OR e.scheduled_time <= now())
      AND (NOT %s OR e.expires_at IS NULL OR e.expires_at > now())
      AND NOT EXISTS (SELECT FROM mailqueue_attempt a WHERE a.email_id = e.id AND a.finished_at IS NULL)
    ORDER BY coalesce(e.scheduled_time, e.created), e.id
    LIMIT %s FOR NO KEY UPDATE OF e SKIP LOCKED
)"""

# Another sender may have claimed and settled between our snapshot and our lock; the index decides (DO NOTHING).
CLAIM = """
WITH {due}, chosen AS (
    SELECT id, due FROM ({union}) AS candidates ORDER BY due, id LIMIT %s
)
INSERT INTO mailqueue_attempt
    (email_id, number, token, sender, backend, claimed_at, lease_until, is_counted, stage, enhanced_code, reply, error)
SELECT c.id, 1 + (SELECT count(*) FROM mailqueue_attempt p WHERE p.email_id = c.id), gen_random_uuid(), %s, %s,
    clock_timestamp(), clock_timestamp() + %s * interval '1 second', false, '', '', '', ''
FROM chosen c ORDER BY c.due, c.id
ON CONFLICT (email_id) WHERE finished_at IS NULL DO NOTHING
RETURNING id, email_id, number, token
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that this sender holds: nothing has been sent for it yet."""

    attempt_id: int
    email_id: int
    number: int
    token: str
    backend: str
    priority: int
    is_probe: bool = False
    """The one mail by which senders find out whether a backend that is shut answers again."""


def claim(
    cursor: Any,
    *,
    spellings: Sequence[str],
    priority: int,
    limit: int,
    backend: str,
    sender: str,
    lease_seconds: float,
    is_probe: bool = False,
) -> list[Claim]:
    """Claim up to `limit` mails that are due in one lane, oldest first.

    A probe leaves out what has expired: it would not reach the server.

    `spellings` are the aliases under which rows belong to the lane. After a crash the claims go back when their lease
    ends, and cost nothing.
    """
    parts = range(len(spellings))
    due = ",".join(DUE.format(n=n) for n in parts)
    union = " UNION ALL ".join(f"SELECT id, due FROM due_{n}" for n in parts)
    parameters: list[Any] = [value for alias in spellings for value in (alias, priority, is_probe, limit)]
    cursor.execute(CLAIM.format(due=due, union=union), [*parameters, limit, sender, backend, lease_seconds])
    return [
        Claim(attempt_id, email_id, number, str(token), backend, priority, is_probe)
        for attempt_id, email_id, number, token in cursor.fetchall()
    ]
