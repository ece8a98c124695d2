"""The usual turn of a sender in one statement: what was accepted is sent, what comes next is started and read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mailqueue.queue.claim import IDENTITY, Claim
from mailqueue.queue.mails import COLUMNS, IS_PLAIN, PlainMail, plain_mails
from mailqueue.queue.settle import CLOSING, Settlement, given
from mailqueue.queue.start import as_array, parameters, start_statement

# A mail that has lost its Message-ID or Date since it was claimed is not started: it is given new ones first. The
# count keeps the order of the locks: mails that are sent come before attempts that start, as with those who cancel.
USUAL = f"""
WITH {CLOSING}, started AS (
    {start_statement(of_mail=IDENTITY, of_attempt="(SELECT count(*) FROM sent) >= 0")}
)
SELECT c.id, NULL::bigint, NULL::boolean, {", ".join(["NULL"] * COLUMNS.count(","))}, NULL::timestamptz FROM closed c
UNION ALL
SELECT NULL, s.id, {IS_PLAIN}, {COLUMNS} FROM started s JOIN post_office_email e ON e.id = s.email_id
WHERE e.id = ANY (%(email_ids)s::bigint[])
"""
OWN_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Turned:
    """What a usual turn came to."""

    closed: set[int]
    """Attempts that are closed."""
    started: set[int]
    """Attempts that may go out."""
    plain: list[PlainMail]
    """Those of the started mails that are all in their rows; their lists of addresses are not split yet."""


def turn_over(
    cursor: Any, accepted: Sequence[Settlement], claims: Sequence[Claim], *, sender: str, lease_seconds: float
) -> Turned:
    """Close attempts whose mail was accepted, start others, and read their mails.

    It is one statement, and needs no transaction around it: after a crash all of it has happened, or nothing. What is
    left out of it is as in `settle` and `start`, of which it does no more than this.
    """
    wanted = parameters(claims, sender=sender, lease_seconds=lease_seconds)
    wanted["email_ids"] = as_array(claim.email_id for claim in claims)
    wanted["given"] = given(accepted)
    cursor.execute(USUAL, wanted)
    rows = cursor.fetchall()
    return Turned(
        closed={row[0] for row in rows if row[0] is not None},
        started={row[1] for row in rows if row[1] is not None},
        plain=plain_mails(row[OWN_COLUMNS:] for row in rows if row[2]),
    )
