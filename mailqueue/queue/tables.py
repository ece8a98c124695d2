"""How the tables are: who keeps vacuum from cleaning them, how large the lane index is, how many mails there are.

Nothing here reads the tables themselves beyond one row, or waits for a lock: it comes from the catalogs and statistics
that any user of the database may read.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

HELD_SECONDS = 600
"""A snapshot that is older is held for long."""
HELD_TRANSACTIONS = 100_000
"""The same, where nobody says since when."""
ENTRY_BYTES = 64
"""What a live entry of the lane index takes, with the room that its pages keep."""
BLOATED_TIMES = 4
BLOATED_BYTES = 16 * 1024 * 1024
"""A smaller index is not worth a word."""

# A session holds by its snapshot and by its own number, and in this database only, except for a standby's. A vacuum's
# own snapshot keeps nobody. Without the right to see more, only the age in transactions is known of others' sessions.
HELD = """
WITH held AS (
    SELECT 'session' AS kind, a.pid::text AS name, a.application_name AS application, a.xact_start AS since,
        greatest(age(a.backend_xmin), age(a.backend_xid)) AS transactions
    FROM pg_stat_activity a
    WHERE (a.datname = current_database() OR a.datid IS NULL) AND a.pid <> pg_backend_pid()
      AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
      AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.pid = a.pid)
    UNION ALL
    SELECT 'prepared', gid, '', prepared, age(transaction) FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT 'slot', slot_name, '', NULL, age(xmin) FROM pg_replication_slots
)
SELECT kind, name, coalesce(application, ''), since, transactions::bigint FROM held
WHERE transactions IS NOT NULL AND CASE WHEN since IS NULL THEN transactions > %s::bigint
    ELSE since <= clock_timestamp() - %s::float8 * interval '1 second' END
ORDER BY transactions DESC, since LIMIT 5
"""

IN_USE = """
SELECT claimed_at > clock_timestamp() - %s::float8 * interval '1 second' FROM mailqueue_attempt
ORDER BY id DESC LIMIT 1
"""

ARE_THERE = "SELECT to_regclass('post_office_email') IS NOT NULL AND to_regclass('mailqueue_attempt') IS NOT NULL"

# Both were written at the same moment: the size of now beside a count of then would take a fresh backlog for bloat.
LANE = """
SELECT relpages * current_setting('block_size')::bigint, reltuples::bigint FROM pg_class
WHERE oid = to_regclass('mailqueue_lane')
"""

UNVACUUMED = """
SELECT '' WHERE current_setting('autovacuum') = 'off' OR current_setting('track_counts') = 'off'
UNION ALL
SELECT c.relname FROM pg_class c, unnest(c.reloptions) AS parameter
WHERE c.oid IN (to_regclass('post_office_email'), to_regclass('mailqueue_attempt'))
  AND split_part(parameter, '=', 1) = 'autovacuum_enabled' AND NOT split_part(parameter, '=', 2)::boolean
ORDER BY 1
"""

ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s::text)"


class Holder(StrEnum):
    """What can hold a snapshot."""

    SESSION = "session"
    PREPARED = "prepared"
    SLOT = "slot"


@dataclass(frozen=True, slots=True)
class HeldSnapshot:
    """Somebody for whose sake vacuum must keep what was finished since then."""

    holder: Holder
    name: str
    """The process id of a session, the name of a prepared transaction or of a replication slot."""
    application: str
    since: datetime | None
    """None: a standby's, or another user's that this one may not look at."""
    transaction_count: int
    """How many transactions began since then, on the whole server."""


@dataclass(frozen=True, slots=True)
class LaneSize:
    """The lane index at the last vacuum or analyze."""

    size_bytes: int
    entry_count: int

    @property
    def needed_bytes(self) -> int:
        return self.entry_count * ENTRY_BYTES

    @property
    def is_bloated(self) -> bool:
        """It is several times as large as what stands in it needs; claims may step over the rest."""
        return self.size_bytes >= BLOATED_BYTES and self.size_bytes > BLOATED_TIMES * self.needed_bytes


def are_there(cursor: Any) -> bool:
    """Return whether the tables of the queue exist."""
    cursor.execute(ARE_THERE)
    return bool(cursor.fetchone()[0])


def is_in_use(cursor: Any, *, seconds: float = HELD_SECONDS) -> bool:
    """Return whether mail was claimed within so many seconds."""
    cursor.execute(IN_USE, [seconds])
    row = cursor.fetchone()
    return bool(row and row[0])


def read_held_snapshots(
    cursor: Any, *, seconds: float = HELD_SECONDS, transactions: int = HELD_TRANSACTIONS
) -> list[HeldSnapshot]:
    """Return who has been holding a snapshot for so long, the one that holds most first, five at most."""
    cursor.execute(HELD, [transactions, seconds])
    return [HeldSnapshot(Holder(kind), *facts) for kind, *facts in cursor.fetchall()]


def read_lane_size(cursor: Any) -> LaneSize | None:
    """Return the size of the lane index; None: there is none, or nothing has looked at it yet."""
    cursor.execute(LANE)
    row = cursor.fetchone()
    return LaneSize(*row) if row and row[1] >= 0 else None


def read_unvacuumed(cursor: Any) -> list[str]:
    """Return the hot tables for which autovacuum is switched off; "" stands for the whole server."""
    cursor.execute(UNVACUUMED)
    return [name for (name,) in cursor.fetchall()]


def estimate_count(cursor: Any, *, table: str) -> int:
    """Return about how many rows a table has, as the last vacuum or analyze found; 0: nobody knows."""
    cursor.execute(ESTIMATE, [table])
    row = cursor.fetchone()
    return row[0] if row else 0
