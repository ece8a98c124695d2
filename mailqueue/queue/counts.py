"""How much stands in the queue, and for how long: counted up to a limit, so that no queue is too long to ask."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mailqueue.models import StopReason
from mailqueue.queue.lanes import HEADS

MOST = 10_000
"""What is counted of a lane: so many mails that are due, and as many that are not yet."""
AGES = (60, 300, 900, 3600, 6 * 3600, 24 * 3600, 3 * 24 * 3600)
"""Where one class of age ends and the next begins (seconds)."""

# Asked for in its order, the lane index is read whatever the planner thinks of the table.
SEEN = f"""
WITH RECURSIVE {HEADS}, mail AS (
    SELECT head.backend_alias, head.priority, found.* FROM head CROSS JOIN LATERAL (
        (SELECT e.id, e.status, e.created, e.last_updated, e.scheduled_time,
            coalesce(e.scheduled_time, e.created) AS due, e."to", e.cc, e.bcc, true AS is_due
         FROM post_office_email e
         WHERE e.backend_alias = head.backend_alias AND coalesce(e.priority, 1) = head.priority
           AND e.status IN (2, 3) AND coalesce(e.scheduled_time, e.created) <= statement_timestamp()
         ORDER BY coalesce(e.scheduled_time, e.created), e.id LIMIT %(most)s)
        UNION ALL
        (SELECT e.id, e.status, e.created, e.last_updated, e.scheduled_time, coalesce(e.scheduled_time, e.created),
            e."to", e.cc, e.bcc, false
         FROM post_office_email e
         WHERE e.backend_alias = head.backend_alias AND coalesce(e.priority, 1) = head.priority
           AND e.status IN (2, 3) AND coalesce(e.scheduled_time, e.created) > statement_timestamp()
         ORDER BY coalesce(e.scheduled_time, e.created), e.id LIMIT %(most)s)
    ) found
), aged AS (
    SELECT mail.*,
        CASE WHEN EXISTS (
            SELECT FROM mailqueue_attempt a
            WHERE a.email_id = mail.id AND a.finished_at IS NULL AND a.started_at IS NOT NULL
        ) THEN 'sending' WHEN mail.is_due OR mail.scheduled_time IS NULL THEN 'waiting'
        WHEN mail.status = 2 THEN 'scheduled'
        WHEN (
            SELECT a.outcome FROM mailqueue_attempt a WHERE a.email_id = mail.id AND a.finished_at IS NOT NULL
            ORDER BY a.id DESC LIMIT 1
        ) = 'unknown' THEN 'unknown' ELSE 'retrying' END AS state,
        -- One that was queued again has been due since then. The time of a retry says nothing of a mail's age.
        -- Others may have written infinite times, which nothing can be taken from.
        least(greatest(mail.due, mail.last_updated, '2000-01-01'), statement_timestamp()) AS due_since,
        extract(epoch FROM statement_timestamp() - least(greatest(CASE mail.status
            WHEN 2 THEN greatest(mail.due, mail.last_updated) ELSE mail.created END, '2000-01-01'),
            statement_timestamp()))::float8 AS age_seconds
    FROM mail
)
"""
LANES = f"""{SEEN}
SELECT backend_alias, priority, state, is_due, width_bucket(greatest(age_seconds, 0), %(ages)s::float8[]), count(*),
    min(due_since) FILTER (WHERE state = 'waiting'), min(least(due, '9999-01-01'))
        FILTER (WHERE NOT is_due AND state <> 'waiting')
FROM aged GROUP BY 1, 2, 3, 4, 5
"""
# A mail counts once for each domain it goes to.
DOMAINS = f"""{SEEN}
SELECT domain[1], age_class, count(*) FROM (
    SELECT DISTINCT aged.id, width_bucket(greatest(age_seconds, 0), %(ages)s::float8[]) AS age_class,
        regexp_matches(lower(concat_ws(',', "to", cc, bcc)), '@([^[:space:],;<>"@]+)', 'g') AS domain
    FROM aged WHERE state IN ('waiting', 'retrying')
) found GROUP BY 1, 2
"""
# Others may set a mail to failed, and say no reason.
STOPPED = """
SELECT found.reason, count(*) FROM (
    (SELECT coalesce(s.reason, 'failed') AS reason
     FROM post_office_email e LEFT JOIN mailqueue_mailstate s ON s.email_id = e.id
     WHERE e.status = 1 AND e.last_updated > statement_timestamp() - interval '1 day'
       AND coalesce(s.reason, 'failed') NOT IN ('held', 'unknown') LIMIT %(most)s)
    UNION ALL
    (SELECT 'held' FROM mailqueue_mailstate s JOIN post_office_email e ON e.id = s.email_id
     WHERE s.reason = 'held' AND e.status = 1 LIMIT %(most)s)
    UNION ALL
    (SELECT 'unknown' FROM mailqueue_mailstate s JOIN post_office_email e ON e.id = s.email_id
     WHERE s.reason = 'unknown' AND e.status = 1 LIMIT %(most)s)
    UNION ALL
    (SELECT 'partly_sent' FROM mailqueue_attempt a JOIN post_office_email e ON e.id = a.email_id
     WHERE a.outcome = 'partly_sent' AND a.finished_at > statement_timestamp() - interval '1 day' AND e.status = 0
       AND NOT EXISTS (SELECT FROM mailqueue_attempt later
           WHERE later.email_id = a.email_id AND later.id > a.id AND later.finished_at IS NOT NULL)
     LIMIT %(most)s)
) found GROUP BY found.reason
"""
COUNTED_APART = ("held", "unknown", "partly_sent")


@dataclass(frozen=True, slots=True)
class Pile:
    """Mails of one lane, in one state, of about one age."""

    alias: str
    """As the rows spell it."""
    priority: int
    state: str
    is_due: bool
    """In which part of the lane they were counted."""
    age_class: int
    """The place of their age among AGES: 0 is younger than the first."""
    count: int
    oldest_due_at: datetime | None
    """Since when the first has been due of those that wait."""
    next_due_at: datetime | None
    """Of those that are not due yet."""


def read_piles(cursor: Any, *, most: int = MOST) -> list[Pile]:
    """Return what stands in each lane; of each, `most` mails that are due and as many that are not are counted."""
    cursor.execute(LANES, {"most": most, "ages": list(AGES)})
    return [Pile(*row) for row in cursor.fetchall()]


def read_domains(cursor: Any, *, most: int = MOST) -> dict[str, list[int]]:
    """Return to which domains the same mails go that wait or are retried: how many of each class of age."""
    cursor.execute(DOMAINS, {"most": most, "ages": list(AGES)})
    found: dict[str, list[int]] = {}
    for domain, age_class, count in cursor.fetchall():
        found.setdefault(domain, [0] * (len(AGES) + 1))[age_class] = count
    return found


def read_stopped(cursor: Any, *, most: int = MOST) -> dict[str, tuple[int, bool]]:
    """Return how many mails are stopped, by reason, and whether there may be more: what is held or unknown, and what
    failed, expired, was cancelled, or ended as partly sent, within a day."""
    cursor.execute(STOPPED, {"most": most})
    counts = {reason.value: 0 for reason in StopReason} | {"partly_sent": 0} | dict(cursor.fetchall())
    recent = sum(count for reason, count in counts.items() if reason not in COUNTED_APART)
    return {
        reason: (count, (count if reason in COUNTED_APART else recent) >= most) for reason, count in counts.items()
    }
