"""Claims from a long queue through the sender's own turn, and times it."""

import time
from typing import Any

from django.db import connection
from post_office.models import PRIORITY, STATUS

WARM_UP = 5
BATCH = 50

STEADY = "SELECT count(*) FROM generate_series(1, 18000)"
FILL = """
INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status, priority, created,
    last_updated, scheduled_time, backend_alias, message_id, headers)
SELECT 'shop@bench.example', %(prefix)s || n || '@bench.example', '', '', 'Your order ' || n, md5(n::text), '',
    %(status)s, %(priority)s, now() - interval '1 hour' + n * interval '1 millisecond', now(),
    CASE WHEN %(is_ahead)s THEN now() + interval '1 day' + n * interval '1 millisecond' END, '',
    '<' || n || '.mailqueue@bench.example>', '{"Date": "Sat, 21 Nov 2026 12:00:00 -0000"}'
FROM generate_series(1, %(count)s) n
"""


def fill(count: int) -> None:
    """Make so many mails that wait, as our API writes them, and as many in a higher lane for tomorrow."""
    with connection.cursor() as cursor:
        for prefix, priority, is_ahead in (("waiting-", PRIORITY.medium, False), ("ahead-", PRIORITY.high, True)):
            given = {"prefix": prefix, "priority": priority, "is_ahead": is_ahead}
            cursor.execute(FILL, {**given, "status": STATUS.queued, "count": count})
        # As autovacuum does soon after.
        cursor.execute("VACUUM ANALYZE post_office_email")


def times(count: int) -> dict[str, list[float]]:
    """Return how long each of so many claims of 50 took, commit included (seconds). What is claimed is settled.

    And how long a statement took, between two of them, that reads no table and takes about as long: how evenly the
    machine works.
    """
    from mailqueue.conf import configuration
    from mailqueue.queue.work import settle_in
    from mailqueue.sender.options import Options
    from mailqueue.sender.plan import Plan
    from mailqueue.sender.turn import Turn

    settle_in("default")
    turn = Turn(options=Options(concurrency=BATCH, using="default"), configuration=configuration())
    claimed, steady = [], []
    for _ in range(WARM_UP + count):
        steady.append(_steady_time())
        began = time.perf_counter()
        claims = turn.run(Plan(rooms={"default": BATCH})).found.claims
        claimed.append(time.perf_counter() - began)
        if len(claims) != BATCH:
            raise RuntimeError(f"claimed {len(claims)} mails, not {BATCH}")
        started = turn.run(Plan(starting=claims)).started
        turn.run(Plan(results=[(job, _sent()) for job in started]))
    turn.leave()
    return {"claimed": claimed[WARM_UP:], "steady": steady[WARM_UP:]}


def fetches(count: int) -> list[float]:
    """Return how long each of so many fetches of post_office's took, on the same rows (seconds): it locks none."""
    from post_office.mail import get_queued

    taken = []
    for _ in range(count):
        began = time.perf_counter()
        found = list(get_queued())
        taken.append(time.perf_counter() - began)
        if not found:
            raise RuntimeError("post_office found nothing to send")
    return taken


def _steady_time() -> float:
    with connection.cursor() as cursor:
        began = time.perf_counter()
        cursor.execute(STEADY)
        cursor.fetchone()
        return time.perf_counter() - began


def _sent() -> Any:
    from mailqueue.delivery.outcomes import Outcome, Reply, Stage, Verdict

    return Outcome(Verdict.SENT, Stage.FINAL_DOT, reply=Reply(250, "2.0.0 Ok"))
