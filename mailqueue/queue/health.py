"""The breaker of every backend, in Postgres, so that all senders share it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FAILURES_TO_SHUT = 5
"""Connect failures in a row that open the breaker."""
AUTH_PROBE_SECONDS = 300
"""After an auth failure or a quota text, probing begins with the first delay that is at least this long."""

READ = "SELECT alias, failure_count, shut_at IS NOT NULL, probe_at <= now(), shut_reason FROM mailqueue_backendhealth"

RECORD = """
INSERT INTO mailqueue_backendhealth AS b (alias, failure_count, shut_reason, probe_count)
VALUES (%(alias)s, %(count)s, '', 0)
ON CONFLICT (alias) DO UPDATE SET failure_count = b.failure_count + excluded.failure_count
"""

SHUT = """
UPDATE mailqueue_backendhealth SET shut_at = now(), shut_reason = %(reason)s, probe_count = %(first)s,
    probe_at = now() + (%(delays)s::float8[])[%(first)s + 1] * interval '1 second'
WHERE alias = %(alias)s AND shut_at IS NULL AND (%(at_once)s OR failure_count >= %(limit)s)
RETURNING probe_at
"""

# One sender wins the probe; until it knows more, the next one is far enough away.
PROBE = """
UPDATE mailqueue_backendhealth SET probe_count = probe_count + 1,
    probe_at = now() + (%(delays)s::float8[])[least(probe_count + 2, cardinality(%(delays)s::float8[]))]
        * interval '1 second'
WHERE alias = %(alias)s AND shut_at IS NOT NULL AND probe_at <= now()
RETURNING alias
"""

OPEN = """
UPDATE mailqueue_backendhealth
SET failure_count = 0, shut_at = NULL, shut_reason = '', probe_at = NULL, probe_count = 0
WHERE alias = %s AND (failure_count > 0 OR shut_at IS NOT NULL)
"""


PROBE_AGAIN = "UPDATE mailqueue_backendhealth SET probe_at = now() WHERE alias = %s AND shut_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Health:
    """What all senders know of one backend."""

    failure_count: int = 0
    is_shut: bool = False
    is_probe_due: bool = False
    reason: str = ""


def read_health(cursor: Any) -> dict[str, Health]:
    """Return the health of every backend that ever was in trouble."""
    cursor.execute(READ)
    return {row[0]: Health(row[1], row[2], bool(row[3]), row[4]) for row in cursor.fetchall()}


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


def _first_long_delay(delays: Sequence[float]) -> int:
    return next((n for n, delay in enumerate(delays) if delay >= AUTH_PROBE_SECONDS), len(delays) - 1)
