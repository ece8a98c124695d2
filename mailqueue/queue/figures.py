"""How much was sent and how long it took, by minute and backend: senders add to it, and it is read in sums."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COUNTS = ("accepted_count", "put_off_count", "failed_count", "unknown_count")
"""How attempts ended, one of these each."""
WAITS: Mapping[str, float] = {
    "within_30ms": 0.03,
    "within_100ms": 0.1,
    "within_300ms": 0.3,
    "within_1s": 1,
    "within_3s": 3,
    "within_10s": 10,
    "within_30s": 30,
    "within_2min": 120,
    "within_10min": 600,
    "within_1h": 3600,
    "over_1h": float("inf"),
}
"""How long mails took from due to accepted that were accepted at their first attempt: up to so many seconds, and
longer than the class before."""
COLUMNS = (*COUNTS, *WAITS)
KEPT_DAYS = 8
FORGOTTEN_AT_ONCE = 1000

# All senders add to the same rows: in one order, else two could deadlock.
ADD = f"""
INSERT INTO mailqueue_sendingminute AS m (began_at, backend, {", ".join(COLUMNS)})
SELECT date_trunc('minute', statement_timestamp()), g.backend,
    {", ".join(f"coalesce(g.{name}, 0)" for name in COLUMNS)}
FROM json_to_recordset(%s::json) AS g(backend text, {", ".join(f"{name} int" for name in COLUMNS)})
ORDER BY g.backend
ON CONFLICT (began_at, backend) DO UPDATE SET {", ".join(f"{name} = m.{name} + excluded.{name}" for name in COLUMNS)}
"""
FORGET = """
DELETE FROM mailqueue_sendingminute WHERE id = ANY (ARRAY(
    SELECT id FROM mailqueue_sendingminute WHERE began_at < statement_timestamp() - %s * interval '1 day'
    ORDER BY began_at LIMIT %s FOR UPDATE SKIP LOCKED))
"""
READ = f"""
SELECT floor(extract(epoch FROM began_at) / %(step)s)::bigint, {", ".join(f"sum({name})::bigint" for name in COLUMNS)}
FROM mailqueue_sendingminute WHERE began_at >= to_timestamp(%(since)s) GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Sums:
    """What was sent in one step of time, by all senders and through all backends."""

    accepted: int = 0
    put_off: int = 0
    failed: int = 0
    unknown: int = 0
    waits: tuple[int, ...] = (0,) * len(WAITS)
    """How many of each class of WAITS."""


def wait_class(seconds: float) -> str:
    """Return the column that counts a mail which took so long."""
    return list(WAITS)[bisect_left(list(WAITS.values()), seconds)]


def add(cursor: Any, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Add counts, by backend and column, to this minute of the database's clock.

    It is one statement, and needs no transaction around it. After a crash all of them are added, or none.
    """
    cursor.execute(ADD, [json.dumps([{"backend": backend, **columns} for backend, columns in counts.items()])])


def forget_old(cursor: Any, *, limit: int = FORGOTTEN_AT_ONCE) -> int:
    """Delete up to so many of the minutes that are too old to be shown, oldest first; return how many there were."""
    cursor.execute(FORGET, [KEPT_DAYS, limit])
    count: int = cursor.rowcount
    return count


def read(cursor: Any, *, step: int, places: Iterable[int]) -> list[Sums]:
    """Return the sums of steps of time, all so many seconds long.

    The place of one is its number, counted since 1970; they are given in order.
    """
    wanted = list(places)
    cursor.execute(READ, {"step": step, "since": wanted[0] * step})
    found = {place: _sums(*columns) for place, *columns in cursor.fetchall()}
    return [found.get(place, Sums()) for place in wanted]


def _sums(accepted: int, put_off: int, failed: int, unknown: int, *waits: int) -> Sums:
    return Sums(accepted, put_off, failed, unknown, waits)
