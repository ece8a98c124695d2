"""Claiming: an open attempt is the claim, and a unique index allows one per mail."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailqueue.queue.lanes import QUEUED, Position

# Due is what has no scheduled time or one that has passed. The scan begins where the last one ended: what was finished
# since vacuum last came is not stepped over again. OFFSET 0 keeps the planner from reading all open attempts first.
DUE = """
due_{n} AS MATERIALIZED (
    SELECT e.id, coalesce(e.scheduled_time, e.created) AS due, {identity} AS has_identity, {since} AS since
    FROM post_office_email e
    WHERE e.backend_alias = %s::text AND coalesce(e.priority, 1) = %s::int AND {queued}
      AND (coalesce(e.scheduled_time, e.created), e.id) > (%s::timestamptz, %s::bigint)
      AND coalesce(e.scheduled_time, e.created) <= now()
      AND (NOT %s::bool OR e.expires_at IS NULL OR e.expires_at > now())
      AND NOT EXISTS (SELECT FROM mailqueue_attempt a WHERE a.email_id = e.id AND a.finished_at IS NULL OFFSET 0)
    ORDER BY coalesce(e.scheduled_time, e.created), e.id
    LIMIT %s::bigint FOR NO KEY UPDATE OF e SKIP LOCKED
)"""

# `created` may come from a host whose clock is ahead, and only orders the queue. Among what is scheduled for the next
# minutes such mail is looked for up to a limit: what stands behind that is found when its time has come. The sum and
# the coalesce, and that nothing is in order, keep the planner from reading the whole of another index for a few ids.
EARLY = """
early_{n} AS MATERIALIZED (
    SELECT e.id, coalesce(e.scheduled_time, e.created) AS due, {identity} AS has_identity, {since} AS since
    FROM post_office_email e
    WHERE e.id = ANY (ARRAY(
        SELECT ahead.id FROM (
            SELECT e.id, e.scheduled_time FROM post_office_email e
            WHERE e.backend_alias = %s::text AND coalesce(e.priority, 1) = %s::int AND {queued}
              AND coalesce(e.scheduled_time, e.created) > now()
              AND coalesce(e.scheduled_time, e.created) <= now() + interval '10 minutes'
            ORDER BY coalesce(e.scheduled_time, e.created), e.id LIMIT 1000
        ) ahead WHERE ahead.scheduled_time IS NULL))
      AND e.status + 0 IN (2, 3) AND coalesce(e.scheduled_time, '-infinity') = '-infinity'
      AND (NOT %s::bool OR e.expires_at IS NULL OR e.expires_at > now())
      AND NOT EXISTS (SELECT FROM mailqueue_attempt a WHERE a.email_id = e.id AND a.finished_at IS NULL OFFSET 0)
    LIMIT %s::bigint FOR NO KEY UPDATE OF e SKIP LOCKED
)"""

IDENTITY = "e.message_id <> '' AND jsonb_exists(e.headers::jsonb, 'Date')"
# One that was queued again waits since then. Others may have written infinite times, which nothing can be taken from.
SINCE = "least(greatest(coalesce(e.scheduled_time, e.created), e.last_updated, '2000-01-01'), now())"

# A claim that is a transaction by itself waits for no disk: when the database crashes it is as if never made, for a
# start is written behind it.
UNSYNCED = "WHERE set_config('synchronous_commit', 'off', true) = 'off'"

# Another sender may have claimed and settled between our snapshot and our lock; the index decides (DO NOTHING).
CLAIM = """
WITH {due}, chosen AS MATERIALIZED (
    SELECT id, due, has_identity, since FROM ({union}) AS candidates {where} ORDER BY due, id LIMIT %s::bigint
), claimed AS (
    INSERT INTO mailqueue_attempt
        (email_id, number, token, sender, backend, claimed_at, lease_until, is_counted, stage, enhanced_code, reply,
         error)
    SELECT c.id, 1 + (SELECT count(*) FROM mailqueue_attempt p WHERE p.email_id = c.id), gen_random_uuid(), %s::text,
        %s::text, clock_timestamp(), clock_timestamp() + %s::float8 * interval '1 second', false, '', '', '', ''
    FROM chosen c ORDER BY c.due, c.id
    ON CONFLICT (email_id) WHERE finished_at IS NULL DO NOTHING
    RETURNING id, email_id, number, token
)
SELECT a.id, a.email_id, a.number, a.token,
    (SELECT least(c.due, now())::text FROM chosen c ORDER BY c.due DESC, c.id DESC LIMIT 1),
    (SELECT c.id FROM chosen c ORDER BY c.due DESC, c.id DESC LIMIT 1), coalesce(c.has_identity, false),
    extract(epoch FROM clock_timestamp() - c.since)::float8
FROM claimed a JOIN chosen c ON c.id = a.email_id ORDER BY a.id
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
    has_identity: bool = False
    """The row had its Message-ID and its Date when it was claimed."""
    due_at: float | None = None
    """When the mail became due, on this process's monotonic clock; the database said how long that was ago."""


@dataclass(frozen=True, slots=True)
class Catch:
    """What one scan of a lane brought."""

    claims: list[Claim]
    end: Position | None
    """Where the next scan may begin; None: where this one did."""


def claim(  # noqa: PLR0913 - so much there is to say of one
    cursor: Any,
    *,
    begins: Mapping[str, Position],
    priority: int,
    limit: int,
    backend: str,
    sender: str,
    lease_seconds: float,
    is_probe: bool = False,
    is_alone: bool = False,
) -> Catch:
    """Claim up to `limit` mails that are due in one lane, oldest first.

    A probe leaves out what has expired: it would not reach the server.

    `is_alone` says that nothing in this transaction must outlive a crash of the database. `begins` are the
    aliases under which rows belong to the lane, and where to begin with each. After a crash the claims go back when
    their lease ends, and cost nothing.
    """
    cursor.execute(
        statement(len(begins), is_alone=is_alone),
        [
            *(v for alias, at in begins.items() for v in (alias, priority, at.due, at.id, is_probe, limit)),
            *(v for alias in begins for v in (alias, priority, is_probe, limit)),
            limit,
            sender,
            backend,
            lease_seconds,
        ],
    )
    rows = cursor.fetchall()
    now = time.monotonic()
    claims = [
        Claim(row[0], row[1], row[2], str(row[3]), backend, priority, is_probe, row[6], now - max(row[7], 0))
        for row in rows
    ]
    return Catch(claims, Position(*rows[-1][4:6]) if rows and not is_probe else None)


def statement(spelling_count: int, *, is_alone: bool = False) -> str:
    """Return the SQL that claims in a lane whose alias has so many spellings."""
    parts = range(spelling_count)
    scans = [scan.format(n=n, queued=QUEUED, identity=IDENTITY, since=SINCE) for scan in (DUE, EARLY) for n in parts]
    names = [f"due_{n}" for n in parts] + [f"early_{n}" for n in parts]
    where = UNSYNCED if is_alone else ""
    return CLAIM.format(where=where, due=",".join(scans), union=" UNION ALL ".join(f"TABLE {name}" for name in names))
