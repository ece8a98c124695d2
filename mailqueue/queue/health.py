"""What all senders know of each backend, in Postgres: its breaker, its connections, whether a person paused it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

FAILURES_TO_SHUT = 5
"""Connect failures in a row that open the breaker."""
AUTH_PROBE_SECONDS = 300
"""After an auth failure or a quota text, probing begins with the first delay that is at least this long."""
FORGIVEN_SECONDS = 3_600
"""A complaint about the rate that is so old does not slow anybody down any more."""
CALM_SECONDS = 60
"""After so long without a complaint about connections, one more is allowed."""
CROWDING_SECONDS = 1
"""Complaints about connections that come within so long of a cut are about what was open before it."""

COLUMNS = """alias, failure_count, shut_at IS NOT NULL, coalesce(probe_at <= now(), false), shut_reason,
    paused_at IS NOT NULL, paused_by,
    coalesce(greatest(extract(epoch FROM resting_until - clock_timestamp()), 0), 0)::float8,
    connection_limit, max_per_second, max_per_day, max_connections, throttled_at IS NOT NULL
    AND greatest(throttled_at, resting_until) > now() - %(forgiven)s::float8 * interval '1 second'"""
READ = f"SELECT {COLUMNS} FROM mailqueue_backendhealth"

INTRODUCE = "INSERT INTO mailqueue_backendhealth (alias) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"

RECORD = """
INSERT INTO mailqueue_backendhealth AS b (alias, failure_count) VALUES (%(alias)s, %(count)s)
ON CONFLICT (alias) DO UPDATE SET failure_count = b.failure_count + excluded.failure_count
"""

SHUT = """
UPDATE mailqueue_backendhealth SET shut_at = now(), shut_reason = %(reason)s, probe_count = %(first)s,
    probe_at = now() + (%(delays)s::float8[])[%(first)s + 1] * interval '1 second'
WHERE alias = %(alias)s AND shut_at IS NULL AND (%(at_once)s OR failure_count >= %(limit)s)
RETURNING probe_at
"""

# One sender wins the probe; until it knows more, the next one is far enough away. Nobody waits for a row that another
# sender writes: two who hold one row each would wait for each other.
PROBE = """
UPDATE mailqueue_backendhealth SET probe_count = probe_count + 1,
    probe_at = now() + (%(delays)s::float8[])[least(probe_count + 2, cardinality(%(delays)s::float8[]))]
        * interval '1 second'
WHERE alias = (SELECT alias FROM mailqueue_backendhealth
    WHERE alias = %(alias)s AND shut_at IS NOT NULL AND probe_at <= now() FOR UPDATE SKIP LOCKED)
RETURNING alias
"""

OPEN = """
UPDATE mailqueue_backendhealth
SET failure_count = 0, shut_at = NULL, shut_reason = '', probe_at = NULL, probe_count = 0
WHERE alias = %s AND (failure_count > 0 OR shut_at IS NOT NULL)
"""

PROBE_AGAIN = """
UPDATE mailqueue_backendhealth SET probe_at = now()
WHERE alias = (SELECT alias FROM mailqueue_backendhealth
    WHERE alias = %s AND shut_at IS NOT NULL FOR UPDATE SKIP LOCKED)
"""

CROWD = """
INSERT INTO mailqueue_backendhealth AS b (alias, connection_limit, connections_changed_at)
VALUES (%(alias)s, greatest(%(in_use)s / 2, 1), clock_timestamp())
ON CONFLICT (alias) DO UPDATE
SET connection_limit = greatest(least(b.connection_limit, %(in_use)s) / 2, 1),
    connections_changed_at = excluded.connections_changed_at
WHERE b.connection_limit IS NULL
    OR b.connections_changed_at < clock_timestamp() - %(deaf)s * interval '1 second'
RETURNING connection_limit
"""

CALM = """
UPDATE mailqueue_backendhealth SET connections_changed_at = clock_timestamp(),
    connection_limit = CASE WHEN connection_limit + 1 < %(most)s THEN connection_limit + 1 END
WHERE alias = %(alias)s AND connection_limit IS NOT NULL
    AND connections_changed_at < clock_timestamp() - %(calm)s * interval '1 second'
"""


@dataclass(frozen=True, slots=True)
class Health:
    """What all senders know of one backend."""

    failure_count: int = 0
    is_shut: bool = False
    is_probe_due: bool = False
    reason: str = ""
    is_paused: bool = False
    paused_by: str = ""
    rest_seconds: float = 0.0
    """How long nothing may be started yet: the server asked for it, or what it takes in a day is used up."""
    connection_limit: int | None = None
    """Connections of all senders together, as learned from the server's complaints."""
    max_per_second: float | None = None
    max_per_day: int | None = None
    max_connections: int | None = None
    """What a person allows, in the admin; None: what the settings say."""
    was_throttled: bool = False

    @property
    def is_troubled(self) -> bool:
        return self.is_shut or self.failure_count > 0


def introduce(cursor: Any, aliases: Collection[str]) -> None:
    """Give every backend a row, so that people see it."""
    cursor.execute(INTRODUCE, [sorted(aliases)])


def read_health(cursor: Any) -> dict[str, Health]:
    """Return the health of every backend that is known."""
    cursor.execute(READ, {"forgiven": FORGIVEN_SECONDS})
    return {row[0]: Health(*row[1:]) for row in cursor.fetchall()}


def record_trouble(
    cursor: Any, alias: str, *, count: int, at_once: bool, reason: str, delays: Sequence[float]
) -> bool:
    """Count failures of a backend and return whether that shut it just now."""
    cursor.execute(RECORD, {"alias": alias, "count": count})
    first = _first_long_delay(delays) if at_once else 0
    cursor.execute(
        SHUT,
        {
            "alias": alias,
            "at_once": at_once,
            "reason": reason,
            "delays": list(map(float, delays)),
            "first": first,
            "limit": FAILURES_TO_SHUT,
        },
    )
    return cursor.fetchone() is not None


def record_success(cursor: Any, alias: str) -> bool:
    """Open a backend that answered again and return whether there was anything to mend."""
    cursor.execute(OPEN, [alias])
    return bool(cursor.rowcount)


def take_probe(cursor: Any, alias: str, *, delays: Sequence[float]) -> bool:
    """Return whether this sender may try one mail on a backend that is shut."""
    cursor.execute(PROBE, {"alias": alias, "delays": list(map(float, delays))})
    return cursor.fetchone() is not None


def probe_again(cursor: Any, alias: str) -> None:
    """Let the next mail probe a backend at once: the last one ended before it had reached the server."""
    cursor.execute(PROBE_AGAIN, [alias])


def record_crowding(cursor: Any, alias: str, *, in_use: int) -> int | None:
    """Halve the connections of all senders together, of which about `in_use` are open.

    Returns the new limit; None where this complaint is about what was open before a cut that was just made.
    """
    cursor.execute(CROWD, {"alias": alias, "in_use": max(in_use, 1), "deaf": CROWDING_SECONDS})
    row = cursor.fetchone()
    return int(row[0]) if row else None


def record_calm(cursor: Any, alias: str, *, most: int) -> None:
    """Allow one connection more after a calm minute, and any number when the senders could not use more."""
    cursor.execute(CALM, {"alias": alias, "most": most, "calm": CALM_SECONDS})


def _first_long_delay(delays: Sequence[float]) -> int:
    return next((n for n, delay in enumerate(delays) if delay >= AUTH_PROBE_SECONDS), len(delays) - 1)
