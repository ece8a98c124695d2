"""Which lanes hold mail now: one per backend and priority."""

from dataclasses import dataclass
from typing import Any

# Jumps from one lane to the next along the lane index instead of reading the rows between.
LANES = """
WITH RECURSIVE lane AS (
    (SELECT backend_alias, coalesce(priority, 1) AS priority FROM post_office_email
     WHERE status IN (2, 3) ORDER BY backend_alias, coalesce(priority, 1) LIMIT 1)
    UNION ALL
    SELECT following.* FROM lane CROSS JOIN LATERAL (
        SELECT e.backend_alias, coalesce(e.priority, 1) AS priority FROM post_office_email e
        WHERE e.status IN (2, 3) AND (e.backend_alias, coalesce(e.priority, 1)) > (lane.backend_alias, lane.priority)
        ORDER BY e.backend_alias, coalesce(e.priority, 1) LIMIT 1
    ) following
)
SELECT backend_alias, priority FROM lane ORDER BY priority DESC, backend_alias
"""


@dataclass(frozen=True, slots=True)
class Lane:
    """Mail of one priority for one backend, as the rows spell its alias ("" is the default backend)."""

    alias: str
    priority: int


def read_lanes(cursor: Any) -> list[Lane]:
    """Return the lanes in which mail stands, due or not, from the highest priority."""
    cursor.execute(LANES)
    return [Lane(alias, priority) for alias, priority in cursor.fetchall()]
