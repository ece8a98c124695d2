"""Mail of which nobody knows whether the server took it: resent once, or held for a person."""

from collections.abc import Sequence
from typing import Any

from post_office.models import STATUS

from mailqueue.conf import Configuration
from mailqueue.models import StopReason, UnknownOutcome
from mailqueue.queue.history import History, read_histories
from mailqueue.queue.settle import stop

NOTE = "Nobody knows whether the mail server took the mail: it may have arrived."

# `+ 0`: see CLOSING.
RESEND = f"""
UPDATE post_office_email SET status = {STATUS.requeued}, last_updated = now(),
    scheduled_time = now() + %s * interval '1 second'
WHERE id = ANY(%s::bigint[]) AND status + 0 IN (2, 3)
"""

WISHES = "SELECT email_id, unknown_outcome FROM mailqueue_mailoptions WHERE email_id = ANY(%s)"


def may_resend(history: History, *, earlier: int, wish: str, configuration: Configuration) -> bool:
    """Whether a mail with that many earlier unknown attempts is sent again by itself.

    `wish` is what its caller asked for; empty: what the setting says.
    """
    return (wish or configuration.UNKNOWN_OUTCOME) == UnknownOutcome.RESEND and history.unknown <= earlier


def treat_unknown(cursor: Any, email_ids: Sequence[int], *, configuration: Configuration) -> list[int]:
    """Decide about mails whose last attempt was just closed as unknown; return those that are held."""
    histories = read_histories(cursor, email_ids)
    cursor.execute(WISHES, [list(email_ids)])
    wishes = dict(cursor.fetchall())
    # The attempt just closed is part of the history that was read.
    resent = [
        email_id
        for email_id in email_ids
        if may_resend(histories[email_id], earlier=1, wish=wishes.get(email_id, ""), configuration=configuration)
    ]
    if resent:
        cursor.execute(RESEND, [configuration.UNKNOWN_RESEND_AFTER, resent])
    held = [email_id for email_id in email_ids if email_id not in resent]
    stop(cursor, [(email_id, StopReason.UNKNOWN, NOTE) for email_id in held], by="")
    return held
