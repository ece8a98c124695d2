"""Where mail stands in its lane: how much is sent before it, counted up to a limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mailqueue.queue.lanes import HEADS

MOST = 10_000

# Asked for in their order, lanes are read along their index. A window over it ends with the limit.
PLACED = f"""
WITH RECURSIVE {HEADS}, mine AS MATERIALIZED (
    SELECT e.id, e.backend_alias, coalesce(e.priority, 1) AS priority FROM post_office_email e
    WHERE e.id = ANY(%(ids)s::bigint[]) AND e.status IN (2, 3)
), lane AS MATERIALIZED (
    SELECT head.backend_alias, head.priority,
        coalesce(%(backends)s::jsonb ->> head.backend_alias, head.backend_alias) AS backend
    FROM head
), higher AS MATERIALIZED (
    SELECT lane.backend, lane.priority, (SELECT count(*) FROM (
        SELECT FROM post_office_email e
        WHERE e.backend_alias = lane.backend_alias AND coalesce(e.priority, 1) = lane.priority
          AND e.status IN (2, 3) AND coalesce(e.scheduled_time, e.created) <= statement_timestamp()
        ORDER BY coalesce(e.scheduled_time, e.created), e.id LIMIT %(most)s + 1) counted) AS count
    FROM lane WHERE EXISTS (SELECT FROM mine JOIN lane own USING (backend_alias, priority)
        WHERE own.backend = lane.backend AND own.priority < lane.priority)
), placed AS (
    SELECT ranked.id, ranked.place FROM (SELECT DISTINCT lane.backend, lane.priority
        FROM mine JOIN lane USING (backend_alias, priority)) own
    CROSS JOIN LATERAL (
        SELECT found.id, row_number() OVER (ORDER BY found.due, found.id) AS place
        FROM lane CROSS JOIN LATERAL (
            SELECT e.id, coalesce(e.scheduled_time, e.created) AS due FROM post_office_email e
            WHERE e.backend_alias = lane.backend_alias AND coalesce(e.priority, 1) = lane.priority
              AND e.status IN (2, 3)
            ORDER BY coalesce(e.scheduled_time, e.created), e.id LIMIT %(most)s + 1
        ) found
        WHERE lane.backend = own.backend AND lane.priority = own.priority
    ) ranked
)
SELECT mine.id,
    coalesce((SELECT sum(higher.count) FROM higher JOIN lane own USING (backend)
        WHERE own.backend_alias = mine.backend_alias AND own.priority = mine.priority
          AND higher.priority > mine.priority), 0)::bigint,
    least(coalesce(placed.place - 1, %(most)s + 1), %(most)s + 1)::bigint
FROM mine LEFT JOIN placed USING (id)
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What is sent before a mail: that it is more than `MOST` says that it was not counted to its end."""

    higher: int
    """Mails of a higher priority that are due."""
    before: int
    """Mails of its own priority that were there first."""


def read_places(cursor: Any, email_ids: Sequence[int], *, backends: str, most: int = MOST) -> dict[int, Place]:
    """Return where these mails stand that are queued. `backends` is a JSON object: by what rows say, the backend."""
    cursor.execute(PLACED, {"ids": list(email_ids), "most": most, "backends": backends})
    return {email_id: Place(higher, before) for email_id, higher, before in cursor.fetchall()}
