"""Keys: a mail with the same key is queued once, whoever calls. Only their hashes are kept."""

from collections.abc import Mapping, Sequence
from typing import Any

# Waits for a transaction that has just written one of the keys, and then leaves that key out, or takes it when the
# other one was rolled back. Sorted, so that two calls with the same keys cannot wait for each other.
TAKE = """
INSERT INTO mailqueue_mailkey (digest, created_at)
SELECT digest, clock_timestamp() FROM unnest(%s::text[]) AS digest
ON CONFLICT (digest) DO NOTHING RETURNING digest
"""

# A second statement sees what was committed while the first one waited.
READ = """
SELECT digest, email_id, created_at < clock_timestamp() - %s * interval '1 day' FROM mailqueue_mailkey
WHERE digest = ANY(%s)
"""

RENEW = """
UPDATE mailqueue_mailkey SET email_id = NULL, created_at = clock_timestamp()
WHERE digest = %s AND created_at < clock_timestamp() - %s * interval '1 day' RETURNING digest
"""

FILL = """
UPDATE mailqueue_mailkey k SET email_id = given.email_id
FROM unnest(%s::text[], %s::bigint[]) AS given (digest, email_id) WHERE k.digest = given.digest
"""

FORGET = """
WITH old AS MATERIALIZED (
    SELECT digest FROM mailqueue_mailkey WHERE created_at < clock_timestamp() - %s * interval '1 day'
    ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED
)
DELETE FROM mailqueue_mailkey WHERE digest IN (SELECT digest FROM old)
"""


def take_keys(cursor: Any, digests: Sequence[str], *, retention_days: float) -> dict[str, int | None]:
    """Take keys in the open transaction, and return those that were taken before, with the id of their mail.

    Waits for other transactions that hold one of them. The id is None where the mail has been deleted. What is not
    returned belongs to this transaction: `fill_keys` has to follow. A key that is older than `retention_days` counts
    as new, whether or not it has been forgotten yet.
    """
    held: dict[str, int | None] = {}
    wanted = sorted(set(digests))
    while wanted:
        cursor.execute(TAKE, [wanted])
        taken = {digest for (digest,) in cursor.fetchall()}
        cursor_rows = _read(cursor, [digest for digest in wanted if digest not in taken], retention_days)
        for digest, email_id, is_old in cursor_rows:
            if not is_old:
                held[digest] = email_id
            elif _renew(cursor, digest, retention_days):
                taken.add(digest)
        # Left over: forgotten, or renewed by another transaction, since the first statement met them.
        wanted = [digest for digest in wanted if digest not in taken and digest not in held]
    return held


def fill_keys(cursor: Any, email_ids: Mapping[str, int]) -> None:
    """Say which mail was queued under each key that was taken."""
    cursor.execute(FILL, [list(email_ids), list(email_ids.values())])


def forget_old_keys(cursor: Any, *, retention_days: float, limit: int) -> int:
    """Delete up to `limit` keys that are older than `retention_days`, oldest first, and return how many."""
    cursor.execute(FORGET, [retention_days, limit])
    count: int = cursor.rowcount
    return count


def _read(cursor: Any, digests: Sequence[str], retention_days: float) -> list[tuple[str, int | None, bool]]:
    if not digests:
        return []
    cursor.execute(READ, [retention_days, list(digests)])
    rows: list[tuple[str, int | None, bool]] = cursor.fetchall()
    return sorted(rows)


def _renew(cursor: Any, digest: str, retention_days: float) -> bool:
    cursor.execute(RENEW, [digest, retention_days])
    return cursor.fetchone() is not None
