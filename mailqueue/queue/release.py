"""Handing claims back: the mail is in the queue again as if nobody had touched it."""

from collections.abc import Sequence
from typing import Any

RELEASE = "DELETE FROM mailqueue_attempt WHERE id = ANY(%s) AND outcome IS NULL AND sender = %s"

RELEASE_ALL_BUT = """
DELETE FROM mailqueue_attempt
WHERE finished_at IS NULL AND sender = %s
  AND (NOT (id = ANY(%s)) OR (started_at IS NULL AND lease_until < clock_timestamp()))
"""

RELEASE_UNSENT = """
DELETE FROM mailqueue_attempt a USING unnest(%s::bigint[], %s::uuid[]) AS g(id, token)
WHERE a.id = g.id AND a.token = g.token AND a.outcome IS NULL
"""


def release(cursor: Any, attempt_ids: Sequence[int], *, sender: str) -> None:
    """Hand back attempts for which nothing was sent; a crash before the commit leaves them to their lease's end."""
    if attempt_ids:
        cursor.execute(RELEASE, [list(attempt_ids), sender])


def release_all_but(cursor: Any, attempt_ids: Sequence[int], *, sender: str) -> int:
    """Hand back what this sender holds without knowing it, after a commit whose answer was lost.

    So goes what it knows of but can't start any more, for its lease ended while the database was away.
    """
    cursor.execute(RELEASE_ALL_BUT, [sender, list(attempt_ids)])
    return int(cursor.rowcount)


def release_unsent(cursor: Any, unsent: Sequence[tuple[int, str]]) -> int:
    """Hand back attempts, by id and token, of which their dead sender knew that nothing was sent, started or not."""
    if not unsent:
        return 0
    ids, tokens = zip(*unsent, strict=True)
    cursor.execute(RELEASE_UNSENT, [list(ids), list(tokens)])
    return int(cursor.rowcount)
