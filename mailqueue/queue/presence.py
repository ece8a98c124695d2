"""Which senders are alive, by the database's clock: what a backend allows is shared out among them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ALIVE_SECONDS = 45
"""A sender that was not seen for so long has no share."""
REMEMBERED_DAYS = 1

# The others are read as they were before it, and so without this sender where it is new.
NOTE = """
WITH noted AS (
    INSERT INTO mailqueue_senderprocess (name, host, version, backends, connection_count, started_at, seen_at)
    VALUES (%s, %s, %s, %s::jsonb, %s, clock_timestamp(), clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at, ended_at = NULL
    RETURNING name, backends, connection_count
)
SELECT name, backends, connection_count FROM noted UNION ALL
SELECT s.name, s.backends, s.connection_count FROM mailqueue_senderprocess s
WHERE s.seen_at > clock_timestamp() - %s * interval '1 second' AND s.ended_at IS NULL
  AND s.name <> ALL (SELECT name FROM noted)
ORDER BY name
"""
FORGET_OLD = "DELETE FROM mailqueue_senderprocess WHERE seen_at < now() - %s * interval '1 day'"
LEAVE = """
WITH ended AS (
    UPDATE mailqueue_senderprocess SET seen_at = clock_timestamp(), ended_at = clock_timestamp() WHERE name = %(name)s
    RETURNING host
)
DELETE FROM mailqueue_senderprocess s USING ended
WHERE s.host = ended.host AND s.ended_at IS NOT NULL AND s.name <> %(name)s
"""
ALIVE = """
SELECT name, backends, connection_count FROM mailqueue_senderprocess
WHERE seen_at > clock_timestamp() - %s * interval '1 second' AND ended_at IS NULL ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Presence:
    """A sender that is alive."""

    name: str
    backends: tuple[str, ...]
    """Only mail of these; empty: of all."""
    connection_count: int

    def serves(self, backend: str) -> bool:
        return not self.backends or backend in self.backends


def note_alive(
    cursor: Any, *, name: str, host: str, version: str, backends: Sequence[str], connection_count: int
) -> list[Presence]:
    """Say that this sender lives, and return all who do, in the order that their shares follow."""
    cursor.execute(NOTE, [name, host, version, json.dumps(list(backends)), connection_count, ALIVE_SECONDS])
    return _presence(cursor)


def forget_old(cursor: Any) -> None:
    """Forget senders that ended long ago without a word."""
    cursor.execute(FORGET_OLD, [REMEMBERED_DAYS])


def leave(cursor: Any, *, name: str) -> None:
    """Give up this sender's share, and be of its host the last that is known to have ended in order."""
    cursor.execute(LEAVE, {"name": name})


def read_presence(cursor: Any) -> list[Presence]:
    """Return the senders that are alive, in the order that their shares follow."""
    cursor.execute(ALIVE, [ALIVE_SECONDS])
    return _presence(cursor)


def _presence(cursor: Any) -> list[Presence]:
    return [Presence(name, tuple(json.loads(backends)), count) for name, backends, count in cursor.fetchall()]


def share_of(limit: int, *, name: str, backend: str, presence: Sequence[Presence]) -> int:
    """Return how much of `limit` is this sender's: the rest of an even division goes to the first in order."""
    names = [sender.name for sender in presence if sender.serves(backend)]
    if name not in names:
        return limit
    whole, rest = divmod(limit, len(names))
    return whole + (names.index(name) < rest)
