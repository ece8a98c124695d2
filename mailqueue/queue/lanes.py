"""Which lanes hold mail now, one per backend and priority, and where in each the next claim begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailqueue.queue.health import COLUMNS, FORGIVEN_SECONDS, Health

# That a mail is queued, in words that lead to the lane index and to no other. `IN (2, 3)` would do for the index on
# the status too: that was taken, and all that is queued read, where a bulk had left the lane index large and empty.
QUEUED = "(e.status = 2 OR e.status <> 2 AND e.status = 3)"

# Jumps from one lane to the next along the lane index instead of reading the rows between. What is finished stays in
# the index until vacuum may remove it, and is stepped over: while somebody holds an old snapshot that takes long.
HEADS = f"""head AS (
    (SELECT e.backend_alias, coalesce(e.priority, 1) AS priority, coalesce(e.scheduled_time, e.created) AS due, e.id
     FROM post_office_email e WHERE {QUEUED}
     ORDER BY e.backend_alias, coalesce(e.priority, 1), coalesce(e.scheduled_time, e.created), e.id LIMIT 1)
    UNION ALL
    SELECT following.* FROM head CROSS JOIN LATERAL (
        SELECT e.backend_alias, coalesce(e.priority, 1) AS priority, coalesce(e.scheduled_time, e.created) AS due, e.id
        FROM post_office_email e
        WHERE {QUEUED} AND (e.backend_alias, coalesce(e.priority, 1)) > (head.backend_alias, head.priority)
        ORDER BY e.backend_alias, coalesce(e.priority, 1), coalesce(e.scheduled_time, e.created), e.id LIMIT 1
    ) following
)"""
ALL = f"""
WITH RECURSIVE {HEADS}, lane AS (
    SELECT backend_alias, priority, due AS begin_due, id - 1::bigint AS begin_id,
        due <= now() + interval '10 minutes' AS is_due
    FROM head
)"""

# Where a lane is empty, what comes next sorts behind this, but for what bears an early time or was committed late.
SEEN_UNTIL = "now() - interval '1 second'"

# The same from where each lane was left to what is due in a moment: nothing that is finished is in the way, but what
# came in behind is not seen.
KNOWN = f"""
WITH lane AS (
    SELECT known.backend_alias, known.priority, coalesce(head.due, greatest(known.due, {SEEN_UNTIL})) AS begin_due,
        coalesce(head.id - 1::bigint, known.id) AS begin_id, head.id IS NOT NULL AS is_due
    FROM unnest(%(aliases)s::text[], %(priorities)s::int[], %(dues)s::timestamptz[], %(ids)s::bigint[])
        AS known(backend_alias, priority, due, id)
    LEFT JOIN LATERAL (
        SELECT coalesce(e.scheduled_time, e.created) AS due, e.id FROM post_office_email e
        WHERE e.backend_alias = known.backend_alias AND coalesce(e.priority, 1) = known.priority AND {QUEUED}
          AND (coalesce(e.scheduled_time, e.created), e.id) > (known.due, known.id)
          AND coalesce(e.scheduled_time, e.created) <= now() + interval '10 minutes'
        ORDER BY coalesce(e.scheduled_time, e.created), e.id LIMIT 1
    ) head ON true
)"""

# The health of the backends is wanted at every look, and costs no statement of its own.
READ = """{lanes}
SELECT lane.backend_alias, lane.priority, lane.is_due, lane.begin_due::text, lane.begin_id, ({seen_until})::text,
    extract(epoch FROM clock_timestamp() - statement_timestamp())::float8, {health}
FROM lane FULL JOIN mailqueue_backendhealth ON mailqueue_backendhealth.alias = lane.backend_alias
ORDER BY lane.priority DESC, lane.backend_alias
"""
READ_ALL, READ_KNOWN = (READ.format(lanes=lanes, seen_until=SEEN_UNTIL, health=COLUMNS) for lanes in (ALL, KNOWN))

LaneKey = tuple[str, int]
"""An alias as the rows spell it, and a priority."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a lane, behind a mail or between two; `due` is the database's text of a time."""

    due: str
    id: int


START = Position("-infinity", 0)


@dataclass(frozen=True, slots=True)
class Lane:
    """Mail of one priority for one backend, as the rows spell its alias ("" is the default backend)."""

    alias: str
    priority: int
    is_due: bool = True
    """Its first mail is due, or in a moment."""


@dataclass(slots=True)
class Lanes:
    """What one look at the heads of the lanes brought."""

    lanes: list[Lane]
    """From the highest priority. Some may be empty."""
    begins: dict[LaneKey, Position]
    """Where each lane begins: what is before was finished."""
    health: dict[str, Health]
    """Of every backend that is known."""
    seen_until: Position
    """Where a lane begins in which no mail stands."""
    seconds: float
    """How long the database took."""


def read_lanes(cursor: Any) -> Lanes:
    """Return all lanes, from their beginnings."""
    cursor.execute(READ_ALL, {"forgiven": FORGIVEN_SECONDS})
    return _lanes(cursor.fetchall())


def read_known_lanes(cursor: Any, begins: Mapping[LaneKey, Position]) -> Lanes:
    """Return these lanes, and whether mail that is due stands in them behind the given position."""
    parameters = {
        "aliases": [alias for alias, _ in begins],
        "priorities": [priority for _, priority in begins],
        "dues": [position.due for position in begins.values()],
        "ids": [position.id for position in begins.values()],
        "forgiven": FORGIVEN_SECONDS,
    }
    cursor.execute(READ_KNOWN, parameters)
    return _lanes(cursor.fetchall())


def _lanes(rows: list[Any]) -> Lanes:
    found = Lanes([], {}, {}, START, 0.0)
    for alias, priority, is_due, due, mail_id, seen_until, seconds, *health in rows:
        if alias is not None:
            found.begins[alias, priority] = Position(due, mail_id)
            found.lanes.append(Lane(alias, priority, is_due))
        if health[0] is not None:
            found.health[health[0]] = Health(*health[1:])
        found.seen_until, found.seconds = Position(seen_until, 0), max(found.seconds, seconds)
    return found
