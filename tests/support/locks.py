"""Who waits for a lock: to be sure of it before a test goes on."""

from typing import Any

# Not whether somebody waits: other databases of the same server, and its vacuum, have locks of their own.
WAITING = "SELECT FROM pg_locks WHERE NOT granted AND %s = ANY (pg_blocking_pids(pid))"


def is_waited_for(holder: Any, *, seen_by: Any = None) -> bool:
    """Return whether a session waits for what another one has locked. Both are connections of psycopg.

    Without `seen_by`, the holder asks himself, in his transaction.
    """
    return bool((seen_by or holder).execute(WAITING, [holder.info.backend_pid]).fetchall())
