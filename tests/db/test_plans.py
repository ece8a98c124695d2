"""How the statements of a look are carried out: along the lane index, whatever else the tables hold."""

import psycopg
import pytest
from django.db import connection

from mailqueue.queue.lanes import Position, read_lanes
from tests.support.mails import claimed, make_mail, turn
from tests.support.plans import EMAILS, OF_EACH_MAIL, STATEMENTS, carried_out, claim_parameters, known_parameters

pytestmark = pytest.mark.django_db

OTHERS = 100_000
AHEAD = 300_000
"""Rows that are in no lane's way."""


def fill(count: int, *, status: int = 0, priority: int = 1, due: str = "NULL") -> None:
    """Write mails, and leave the statistics as they are: stale."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status,
                    priority, created, last_updated, backend_alias, scheduled_time)
                SELECT 'a@x', 'b@x', '', '', 's', '', '', %s, %s, now() - interval '1 hour' + n * interval '1 ms',
                    now(), '', {due} FROM generate_series(1, %s) n""",
            [status, priority, count],
        )


@pytest.fixture(params=["fresh", "stale", "few", "after a burst"])
def others(request: pytest.FixtureRequest) -> None:
    """Mails of other states, of which the statistics know or do not; few; many that left the lane index large."""
    is_burst = request.param == "after a burst"
    fill(1_000 if request.param == "few" else OTHERS, status=2 if is_burst else 0)
    with connection.cursor() as cursor:
        if is_burst:
            cursor.execute("UPDATE post_office_email SET status = 0")
            fill(20, status=2)
        if request.param != "stale":
            cursor.execute("ANALYZE post_office_email")
    for _ in range(20):
        make_mail()


@pytest.fixture(params=[False, True], ids=["own values", "prepared"])
def is_generic(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.usefixtures("others")
def test_the_mails_of_a_lane_are_found_along_its_index() -> None:
    plans = {
        (name, is_generic): carried_out(*STATEMENTS[name], is_generic=is_generic)
        for name in STATEMENTS
        for is_generic in (False, True)
    }
    # What is looked up by its id is what the index has named before.
    allowed = {("Index Scan", "mailqueue_lane"), ("Index Scan", "post_office_email_pkey")}
    others = {which: [(s.kind, s.index) for s in plan.of(EMAILS)] for which, plan in plans.items()}

    assert {} == {which: scans for which, scans in others.items() if set(scans) - allowed}


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("name", OF_EACH_MAIL)
def test_a_mail_that_is_named_is_found_by_its_id(name: str, is_generic: bool) -> None:
    plan = carried_out(*OF_EACH_MAIL[name], is_generic=is_generic)

    assert {"post_office_email_pkey"} >= {scan.index for scan in plan.of(EMAILS)}


@pytest.mark.parametrize("name", ["claim", "claim alone", "known lanes"])
def test_a_scan_begins_at_its_position_in_the_index(name: str, is_generic: bool) -> None:
    make_mail()
    plan = carried_out(*STATEMENTS[name], is_generic=is_generic)

    assert any("ROW(COALESCE(scheduled_time, created), id) > ROW(" in scan.condition for scan in plan.of(EMAILS))


def test_a_plan_that_was_prepared_while_nothing_had_been_sent_reads_no_table_as_a_whole() -> None:
    make_mail()
    plan = carried_out(*STATEMENTS["claim"], is_generic=True)

    assert [] == [scan for scan in plan.scans if scan.kind == "Seq Scan"]


@pytest.mark.parametrize("name", OF_EACH_MAIL)
def test_what_was_prepared_for_a_few_mails_while_the_tables_were_empty_reads_nothing_as_a_whole(name: str) -> None:
    plan = carried_out(*OF_EACH_MAIL[name], is_generic=True)

    assert [] == [scan for scan in plan.scans if not scan.condition]


@pytest.mark.parametrize("name", OF_EACH_MAIL)
def test_what_was_prepared_where_few_attempts_are_left_of_many_mails_reads_nothing_as_a_whole(name: str) -> None:
    """As after old mail was deleted. PostgreSQL before 17 thinks little of looking up a few ids in a large index."""
    fill(1_000, status=2)
    with turn() as cursor:
        while claimed(cursor, limit=1_000):
            pass
        cursor.execute("DELETE FROM mailqueue_attempt; ANALYZE mailqueue_attempt")
    plan = carried_out(*OF_EACH_MAIL[name], is_generic=True)

    assert [] == [scan for scan in plan.scans if not scan.condition]


def buffer_counts() -> dict[str, int]:
    """Return what each statement reads where it looks at the top lane."""
    top = claim_parameters(priority=3)
    claims = {name: (sql, top) for name, (sql, _) in STATEMENTS.items() if name.startswith("claim")}
    return {
        f"{name}, {is_generic=}": carried_out(*statement, is_generic=is_generic).buffer_count
        for name, statement in (STATEMENTS | claims).items()
        for is_generic in (False, True)
    }


def growth(due: str) -> dict[str, int]:
    """Return how much more is read after 300,000 mails of the top lane were scheduled."""
    make_mail(priority=3)
    before = buffer_counts()
    fill(AHEAD, status=2, priority=3, due=f"{due} + n * interval '1 ms'")
    buffer_counts()  # what only the first who comes after so many rows reads is not what a claim costs
    return {name: count - before[name] for name, count in buffer_counts().items()}


def test_mail_that_is_scheduled_for_tomorrow_is_not_stepped_over() -> None:
    assert max(growth("now() + interval '1 day'").values()) < 30


def test_mail_that_is_scheduled_for_the_next_minutes_is_searched_up_to_a_limit() -> None:
    """For what came from a host whose clock is ahead."""
    assert max(growth("now() + interval '5 minutes'").values()) < 1_100


def test_open_attempts_are_not_read_all_together(is_generic: bool) -> None:
    fill(5_000, status=2)
    with turn() as cursor:
        while claimed(cursor, limit=1_000):
            pass
    fill(100, status=2)
    with turn() as cursor:
        position = read_lanes(cursor).begins["", 1]
    plan = carried_out(*STATEMENTS["claim"], is_generic=is_generic)
    sent_away = [scan for scan in plan.of("mailqueue_attempt") if scan.filtered_count > 100]

    assert (Position, []) == (type(position), sent_away)


@pytest.mark.django_db(transaction=True)
def test_what_is_finished_is_not_stepped_over_while_another_session_holds_a_snapshot(database_url: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM post_office_email")  # of what other tests have rolled back
    fill(20_000, status=2)
    with psycopg.connect(database_url) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT FROM mailqueue_backendhealth")
        with turn() as cursor:
            cursor.execute("UPDATE post_office_email SET status = 0")
        make_mail()
        with turn() as cursor:
            from_the_beginning = carried_out(*STATEMENTS["claim"])
            lane = read_lanes(cursor).begins["", 1]
            from_the_position = carried_out(STATEMENTS["claim"][0], claim_parameters(begin=lane))
            known = carried_out(STATEMENTS["known lanes"][0], known_parameters(begin=lane))

    assert from_the_beginning.buffer_count > 200
    assert max(from_the_position.buffer_count, known.buffer_count) < 100
