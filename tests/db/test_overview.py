"""The queue at a glance: every mail is counted where its state says, none without end, by plans that stay cheap."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import PRIORITY, STATUS, Email

from mailqueue.delivery.backends import canonical, configured_aliases
from mailqueue.models import Attempt, AttemptOutcome, BackendHealth, MailState, StopReason
from mailqueue.ops import overview as module
from mailqueue.ops.overview import SHOWN, Overview, ages_by_domain
from mailqueue.ops.states import State, state_of, states_of
from mailqueue.queue import counts, positions
from mailqueue.queue.counts import AGES
from mailqueue.queue.orders import requeue
from tests.support.plans import rows_read
from tests.support.situations import SITUATIONS, make_attempt, make_mail, stop_mail

pytestmark = pytest.mark.django_db
MOST_STATEMENTS = 8


def overview() -> Overview:
    return module.overview(using="default")


def waiting_since(**ago: float) -> Email:
    """Make a mail that has been due for so long."""
    moment = timezone.now() - timedelta(**ago)
    mail = make_mail(scheduled_time=moment)
    Email.objects.filter(pk=mail.pk).update(last_updated=moment - timedelta(hours=1))
    return mail


def numbers(found: Overview) -> dict[State, int]:
    return {state: count.number for state, count in found.counts.items() if count.number}


def test_every_mail_that_is_not_sent_is_counted_in_its_state() -> None:
    mails = [make() for make, _ in SITUATIONS.values()]
    described = Counter(status.state for status in states_of(mails).values())

    assert {state: described[state] for state in SHOWN} == numbers(overview())


def test_what_was_stopped_long_ago_is_counted_only_where_it_waits_for_a_person() -> None:
    for reason in StopReason:
        stop_mail(make_mail(status=STATUS.failed), reason)
    long_ago = timezone.now() - timedelta(days=2)
    MailState.objects.update(stopped_at=long_ago)
    Email.objects.update(last_updated=long_ago)

    assert {State.HELD: 1, State.UNKNOWN: 1} == numbers(overview())


def test_a_count_that_was_not_finished_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(counts.read_piles, "__kwdefaults__", {"most": 2})
    for _ in range(3):
        make_mail()
    make_mail(scheduled_time=timezone.now() + timedelta(hours=1))
    found = overview().counts

    assert [(2, True), (1, False)] == [
        (found[state].number, found[state].is_at_least) for state in (State.WAITING, State.SCHEDULED)
    ]


def test_a_mail_that_ended_as_partly_sent_today_is_counted_until_the_others_have_it() -> None:
    today, yesterday, mended = (SITUATIONS["partly sent"][0]() for _ in range(3))
    Attempt.objects.filter(email=yesterday.pk).update(finished_at=timezone.now() - timedelta(hours=25))
    make_attempt(mended, AttemptOutcome.SENT)

    assert {State.PARTLY_SENT: 1} == numbers(overview())
    assert state_of(today).state == State.PARTLY_SENT


def test_the_oldest_mail_is_the_one_that_has_been_due_for_longest() -> None:
    old = waiting_since(hours=2)
    make_mail()
    make_mail(scheduled_time=timezone.now() + timedelta(hours=2))

    assert old.scheduled_time == overview().oldest_due_at


def test_an_empty_queue_has_no_oldest_mail_and_knows_its_backends() -> None:
    found = overview()

    assert (None, None, sorted(configured_aliases())) == (
        found.oldest_seconds,
        found.next_due_at,
        [backend.row.alias for backend in found.backends],
    )


def test_a_backend_is_shown_with_what_waits_for_it() -> None:
    BackendHealth.objects.update_or_create(alias=canonical(""), defaults={"paused_at": timezone.now()})
    make_mail()
    make_mail(scheduled_time=timezone.now() + timedelta(hours=1))
    found = overview()

    flows = {backend.row.alias: backend.flow.value for backend in found.backends}

    assert "paused" == flows[canonical("")]
    assert 1 == found.waiting[canonical("")].number


def test_a_lane_tells_the_ages_of_its_mail() -> None:
    for seconds in (10, 120, 100 * 3600):
        waiting_since(seconds=seconds)
    (lane,) = overview().lanes

    assert (f"{canonical('')} medium", [1, 1, 0, 0, 0, 0, 0, 1]) == (lane.name, lane.counts)


def test_a_mail_that_was_queued_again_has_been_due_since_then() -> None:
    mail = make_mail(status=STATUS.failed)
    Email.objects.filter(pk=mail.pk).update(created=timezone.now() - timedelta(days=30))
    requeue([mail.pk], using="default")
    found = overview()

    assert found.oldest_seconds is not None
    assert (True, 1) == (found.oldest_seconds < 60, found.lanes[0].counts[0])


def test_mail_of_a_clock_that_is_ahead_has_not_waited_for_less_than_nothing() -> None:
    mail = make_mail()
    Email.objects.filter(pk=mail.pk).update(created=timezone.now() + timedelta(minutes=5))
    seconds = overview().oldest_seconds

    assert seconds is not None
    assert 0 <= seconds < 60


@pytest.mark.parametrize("column", ["created", "last_updated", "scheduled_time"])
@pytest.mark.parametrize("time", ["infinity", "-infinity"])
@pytest.mark.parametrize("status", [STATUS.queued, STATUS.requeued])
def test_an_infinite_time_hides_no_other_mail(column: str, time: str, status: int) -> None:
    odd, _ = make_mail(status=status), make_mail()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE post_office_email SET {column} = %s WHERE id = %s", [time, odd.pk])

    assert 2 == sum(numbers(overview()).values())


def test_mail_of_a_clock_that_is_ahead_waits() -> None:
    mail = make_mail()
    Email.objects.filter(pk=mail.pk).update(created=timezone.now() + timedelta(minutes=5))
    found = overview()

    assert ({State.WAITING: 1}, None) == (numbers(found), found.next_due_at)


def test_what_failed_is_counted_whatever_else_was_held_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts.read_stopped, "__kwdefaults__", {"most": 2})
    for _ in range(4):
        stop_mail(make_mail(status=STATUS.failed), StopReason.HELD)
    stop_mail(make_mail(status=STATUS.failed), StopReason.FAILED)
    found = overview().counts

    assert [(2, True), (1, False)] == [
        (found[state].number, found[state].is_at_least) for state in (State.HELD, State.FAILED)
    ]


def test_where_the_stopped_were_not_all_counted_none_of_their_numbers_is_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counts.read_stopped, "__kwdefaults__", {"most": 2})
    for _ in range(2):
        stop_mail(make_mail(status=STATUS.failed), StopReason.FAILED)
    found = overview().counts

    assert [(2, True), (0, True)] == [
        (found[state].number, found[state].is_at_least) for state in (State.FAILED, State.EXPIRED)
    ]


def test_mail_that_is_retried_is_as_old_as_it_is_and_not_as_its_retry() -> None:
    mail = make_mail(status=STATUS.requeued, scheduled_time=timezone.now() + timedelta(hours=1))
    Email.objects.filter(pk=mail.pk).update(created=timezone.now() - timedelta(minutes=10))
    (lane,) = overview().lanes

    assert [0, 0, 1] == lane.counts[:3]


def test_a_mail_counts_for_each_domain_that_it_goes_to() -> None:
    make_mail(to='"Doe, Jane" <jane@Example.com>', cc=["bob@example.com", "eve@example.org"])
    make_mail(to="ann@example.org")
    make_mail(to="late@example.net", scheduled_time=timezone.now() + timedelta(hours=1))

    assert [("example.org", 2), ("example.com", 1)] == [
        (ages.name, ages.total) for ages in ages_by_domain(using="default")
    ]


def test_there_is_a_class_of_age_for_every_mail() -> None:
    waiting_since(seconds=AGES[-1] + 1)
    (domain,) = ages_by_domain(using="default")

    assert [0] * len(AGES) + [1] == domain.counts


def test_the_number_of_statements_does_not_depend_on_the_number_of_lanes() -> None:
    for priority in PRIORITY:
        Email.objects.create(from_email="a@example.com", to=["b@example.com"], status=STATUS.queued, priority=priority)
    with CaptureQueriesContext(connection) as captured:
        overview()

    assert len(captured) <= MOST_STATEMENTS


def fill(count: int, **columns: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status,
                   priority, created, last_updated, scheduled_time, backend_alias)
               SELECT 'a@x', 'b@y', '', '', 's', '', '', %(status)s, %(priority)s, now(), now(),
                   %(scheduled_time)s::timestamptz, '' FROM generate_series(1, %(count)s)""",
            {
                "count": count,
                "scheduled_time": None,
                "status": STATUS.queued,
                "priority": PRIORITY.medium,
                **columns,
            },
        )


@pytest.mark.parametrize("statement", ["LANES", "DOMAINS"])
def test_what_is_read_of_a_lane_ends_at_the_limit(statement: str) -> None:
    fill(20_000)
    fill(20_000, scheduled_time=timezone.now() + timedelta(days=1))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE post_office_email")
    most = 100
    read = rows_read(getattr(counts, statement), {"most": most, "ages": list(AGES)})

    assert read <= 2 * most + 10


def test_to_find_the_place_of_mails_no_more_is_read_of_their_lanes_than_is_counted() -> None:
    fill(10_000)
    fill(10_000, priority=PRIORITY.high)
    fill(20_000, scheduled_time=timezone.now() + timedelta(days=1))
    fill(20_000, status=STATUS.sent)
    mails = list(Email.objects.filter(priority=PRIORITY.medium).values_list("pk", flat=True)[:50])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE post_office_email")
    most = 100
    read = rows_read(positions.PLACED, {"ids": mails, "most": most, "backends": "{}"})

    assert read <= 2 * (most + 1) + len(mails) + 10


def test_mail_that_was_sent_is_not_read_to_count_what_was_stopped() -> None:
    fill(20_000, status=STATUS.sent)
    stop_mail(make_mail(status=STATUS.failed), StopReason.HELD)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE post_office_email, mailqueue_mailstate")

    assert rows_read(counts.STOPPED, {"most": 100}) <= 10
