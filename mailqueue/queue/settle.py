"""Settling: closing attempts, and saying on the mail what became of it."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from post_office.models import STATUS

from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.queue.wipe import wipe

# An attempt that is still open is nobody else's, and its sender knows best, also after the lease has ended. What a
# reaper has declared unknown meanwhile takes one thing only: that the server accepted the mail. The predicates keep
# away from the partial index on `finished_at`.
#
# A proof that comes late is of no more interest where a later attempt has an end of its own: what was ordered since
# then is not taken back.
#
# The statements of the loop are planned once, perhaps while the tables are empty, when reading them whole looks cheap.
# Hence the arrays of ids, OFFSET 0, and `+ 0`: each leaves no other way than by the index meant.
CLOSING = f"""
given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(given)s::json) AS g(id bigint, token uuid, outcome text, is_counted boolean,
        stage text, reply_code int, enhanced_code text, reply text, error text, recipients jsonb, queue_id text,
        is_accepted boolean, is_sent boolean)
), closed AS (
    UPDATE mailqueue_attempt a SET
        finished_at = coalesce(a.finished_at, clock_timestamp()), outcome = g.outcome, is_counted = g.is_counted,
        stage = g.stage, reply_code = g.reply_code, enhanced_code = g.enhanced_code, reply = g.reply, error = g.error,
        recipients = g.recipients, queue_id = g.queue_id
    FROM given g
    WHERE a.id = ANY (ARRAY(SELECT id FROM given)) AND a.id = g.id AND a.token = g.token
      AND (a.outcome IS NULL OR (a.outcome = 'unknown' AND g.is_accepted))
    RETURNING a.id, a.email_id, g.is_sent
), sent AS (
    UPDATE post_office_email e SET status = {STATUS.sent}, last_updated = now() FROM closed c
    WHERE c.is_sent AND e.id = ANY (ARRAY(SELECT email_id FROM closed)) AND e.id = c.email_id AND NOT EXISTS (
        SELECT FROM mailqueue_attempt later WHERE later.email_id = c.email_id AND later.id + 0 > c.id
            AND later.outcome IN ('{AttemptOutcome.SENT}', '{AttemptOutcome.PARTLY_SENT}') OFFSET 0)
    RETURNING e.id
)
"""
CLOSE = f"WITH {CLOSING} SELECT id FROM closed"

# The last try comes a minute before the mail expires, and after that one none; NULL counts for nothing in least().
RETRY = f"""
UPDATE post_office_email e SET status = {STATUS.requeued}, last_updated = now(),
    scheduled_time = least(now() + g.delay * interval '1 second', CASE
        WHEN g.is_unknown THEN NULL
        WHEN e.expires_at - interval '1 minute' > now() THEN e.expires_at - interval '1 minute'
        ELSE e.expires_at END),
    number_of_retries = coalesce(e.number_of_retries, 0) + g.is_counted::int
FROM unnest(%(ids)s::bigint[], %(delays)s::float8[], %(counted)s::boolean[], %(unknown)s::boolean[])
    AS g(email_id, delay, is_counted, is_unknown)
WHERE e.id = ANY (%(ids)s::bigint[]) AND e.id = g.email_id AND e.status + 0 IN (2, 3)
"""

STOP = f"""
WITH given AS (
    SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) AS g(email_id, reason, note, stopped_by)
), stopped AS (
    UPDATE post_office_email e SET status = {STATUS.failed}, last_updated = now()
    FROM given
    WHERE e.id = ANY (ARRAY(SELECT email_id FROM given)) AND e.id = given.email_id AND e.status + 0 IN (2, 3)
    RETURNING e.id
)
INSERT INTO mailqueue_mailstate (email_id, reason, note, stopped_by, stopped_at)
SELECT email_id, reason, note, stopped_by, clock_timestamp() FROM given WHERE email_id IN (SELECT id FROM stopped)
ON CONFLICT (email_id) DO UPDATE SET reason = excluded.reason, note = excluded.note,
    stopped_by = excluded.stopped_by, stopped_at = excluded.stopped_at
"""

LOG = """
INSERT INTO post_office_log (email_id, date, status, exception_type, message)
SELECT e.id, now(), g.status, g.exception_type, g.message
FROM unnest(%(ids)s::bigint[], %(statuses)s::int[], %(exceptions)s::text[], %(messages)s::text[])
    AS g(email_id, status, exception_type, message)
JOIN post_office_email e ON e.id = g.email_id WHERE e.id = ANY (%(ids)s::bigint[])
"""


KNOWN = """
SELECT a.id FROM mailqueue_attempt a JOIN unnest(%s::bigint[], %s::uuid[]) AS g(id, token) USING (id, token)
"""


class LogLevel(IntEnum):
    """Which of post_office's `Log` rows are written; the numbers are post_office's."""

    NOTHING = 0
    FAILURES = 1
    EVERYTHING = 2


@dataclass(slots=True, kw_only=True)
class Settlement:
    """How to close one attempt, and what to do with its mail.

    With `retry_after` the mail waits that many seconds, or less where it would expire meanwhile; with `stop` it goes
    out no more; with neither it is sent when the outcome says so, and otherwise stays in the queue as it stands.
    """

    attempt_id: int
    email_id: int
    token: str
    outcome: AttemptOutcome
    is_accepted: bool = False
    """The server took the mail for at least one recipient in this attempt."""
    is_counted: bool = False
    stage: str = ""
    reply_code: int | None = None
    enhanced_code: str = ""
    reply: str = ""
    error: str = ""
    recipients: dict[str, Any] | None = None
    queue_id: str = ""
    """Under which the server knows the mail that it took."""
    retry_after: float | None = None
    stop: StopReason | None = None
    note: str = ""

    @property
    def is_sent(self) -> bool:
        return self.outcome in (AttemptOutcome.SENT, AttemptOutcome.PARTLY_SENT)


def settle(
    cursor: Any,
    settlements: Sequence[Settlement],
    *,
    log_level: LogLevel = LogLevel.FAILURES,
    sensitive: Collection[int] | None = None,
    closed_ids: Collection[int] | None = None,
) -> set[int]:
    """Close attempts and bring their mails to where they belong; return the ids of the attempts that were closed.

    An attempt that a reaper has closed stays as it is, unless the server accepted the mail. Settling twice is
    harmless, so that a commit whose answer was lost may be repeated. `sensitive` names the mails that are wiped when
    they are sent or expire; who has not read them gives None, and the database is asked. `closed_ids` are what was
    closed of these already, in this transaction or one before.
    """
    if not settlements:
        return set()
    if closed_ids is None:
        closed_ids = _close(cursor, settlements)
    closed = [s for s in settlements if s.attempt_id in closed_ids]
    retried = [s for s in closed if s.retry_after is not None]
    if retried:
        cursor.execute(
            RETRY,
            {
                "ids": [s.email_id for s in retried],
                "delays": [float(s.retry_after or 0) for s in retried],
                "counted": [s.is_counted for s in retried],
                "unknown": [s.outcome == AttemptOutcome.UNKNOWN for s in retried],
            },
        )
    stop(cursor, [(s.email_id, s.stop, s.note) for s in closed if s.stop], by="")
    over = [s.email_id for s in closed if s.is_sent or s.stop == StopReason.EXPIRED]
    wipe(cursor, over if sensitive is None else [email_id for email_id in over if email_id in sensitive])
    _log(cursor, closed, log_level=log_level)
    return set(closed_ids)


def known_attempts(cursor: Any, settlements: Sequence[Settlement]) -> set[int]:
    """Return which of these attempts are this database's, told by their tokens."""
    ids, tokens = [s.attempt_id for s in settlements], [s.token for s in settlements]
    cursor.execute(KNOWN, [ids, tokens])
    return {attempt_id for (attempt_id,) in cursor.fetchall()}


def stop(cursor: Any, stops: Iterable[tuple[int, StopReason, str]], *, by: str) -> None:
    """Take mails out of the queue, saying why."""
    rows = list(stops)
    if rows:
        ids, reasons, notes = zip(*rows, strict=True)
        cursor.execute(STOP, [list(ids), [str(reason) for reason in reasons], list(notes), [by] * len(rows)])


def _close(cursor: Any, settlements: Sequence[Settlement]) -> set[int]:
    cursor.execute(CLOSE, {"given": given(settlements)})
    return {attempt_id for (attempt_id,) in cursor.fetchall()}


def given(settlements: Sequence[Settlement]) -> str:
    """Return what CLOSING wants to know of settlements."""
    return json.dumps([_given(s) for s in settlements])


def _given(s: Settlement) -> dict[str, Any]:
    return {
        "id": s.attempt_id,
        "token": s.token,
        "outcome": s.outcome.value,
        "is_counted": s.is_counted,
        "stage": s.stage,
        "reply_code": s.reply_code,
        "enhanced_code": s.enhanced_code,
        "reply": s.reply,
        "error": s.error,
        "recipients": s.recipients,
        "queue_id": s.queue_id,
        "is_accepted": s.is_accepted,
        "is_sent": s.is_sent,
    }


def _log(cursor: Any, closed: Sequence[Settlement], *, log_level: LogLevel) -> None:
    failed = [s for s in closed if not s.is_sent and (s.is_counted or s.stop)] if log_level > LogLevel.NOTHING else []
    logged = [*failed, *(s for s in closed if s.is_sent and log_level == LogLevel.EVERYTHING)]
    if not logged:
        return
    cursor.execute(
        LOG,
        {
            "ids": [s.email_id for s in logged],
            "statuses": [STATUS.sent if s.is_sent else STATUS.failed for s in logged],
            "exceptions": [s.error for s in logged],
            "messages": [_text(s) for s in logged],
        },
    )


def _text(settlement: Settlement) -> str:
    if settlement.is_sent:
        return ""
    reply = " ".join(p for p in (str(settlement.reply_code or ""), settlement.enhanced_code, settlement.reply) if p)
    return reply or settlement.note or settlement.error
