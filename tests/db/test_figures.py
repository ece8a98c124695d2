"""Figures over time: what senders add to the minutes, how that is summed up, and how old minutes go."""

import time
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone
from post_office.models import Email

from mailqueue.models import AttemptOutcome, SendingMinute
from mailqueue.outbox.messages import letter_of, load
from mailqueue.queue import figures as module
from mailqueue.queue.claim import Claim
from mailqueue.queue.enqueue import database_time
from mailqueue.queue.figures import COLUMNS, KEPT_DAYS, READ, WAITS, Sums, add, forget_old, read, wait_class
from mailqueue.queue.history import History
from mailqueue.sender.clock import boot_time
from mailqueue.sender.figures import Figures
from mailqueue.sender.jobs import Job, Lease
from tests.support.mails import claimed, make_mail, settlement, turn
from tests.support.plans import carried_out

pytestmark = pytest.mark.django_db
HOUR = 3600


def minute(began_at: datetime, *, backend: str = "default", **counts: int) -> SendingMinute:
    return SendingMinute.objects.create(began_at=began_at, backend=backend, **counts)


def counts_of(row: SendingMinute) -> dict[str, int]:
    """What a row counts, without what is 0."""
    return {name: getattr(row, name) for name in COLUMNS if getattr(row, name)}


def add_once(**backends: dict[str, int]) -> None:
    with turn() as cursor:
        add(cursor, backends)


def claim_one() -> Claim:
    with turn() as cursor:
        (claim,) = claimed(cursor, limit=1)
    return claim


def job_of(claim: Claim, **fields: Any) -> Job:
    email = load([claim.email_id], using="default")[claim.email_id]
    lease = Lease(asked_at=boot_time(), seconds=60)
    return Job(claim, email, letter_of(email, recipients=list(email.to)), History(), lease, **fields)


# the rows


def test_the_table_has_a_column_for_each_count() -> None:
    fields = {field.name for field in SendingMinute._meta.get_fields()}

    assert {"id", "began_at", "backend", *COLUMNS} == fields


def test_a_minute_is_a_whole_one_of_the_databases_clock() -> None:
    before = database_time("default")
    add_once(default={"accepted_count": 1})
    began_at = SendingMinute.objects.get().began_at

    assert (0, 0) == (began_at.second, began_at.microsecond)
    assert before - timedelta(minutes=1) < began_at <= database_time("default")


def test_all_senders_add_to_one_row_for_each_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    # All of it in one minute, whatever the clock says meanwhile.
    fixed = module.ADD.replace("statement_timestamp()", "'2026-11-21 08:00+00'::timestamptz")
    monkeypatch.setattr(module, "ADD", fixed)
    add_once(default={"accepted_count": 3, "within_1s": 2}, bulk={"failed_count": 1})
    add_once(default={"accepted_count": 4, "within_1s": 1, "over_1h": 1})

    assert {
        "default": {"accepted_count": 7, "within_1s": 3, "over_1h": 1},
        "bulk": {"failed_count": 1},
    } == {row.backend: counts_of(row) for row in SendingMinute.objects.all()}


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_was_not_added() -> None:
    with pytest.raises(ZeroDivisionError), turn() as cursor:
        add(cursor, {"default": {"accepted_count": 1}})
        raise ZeroDivisionError

    assert not SendingMinute.objects.exists()


def test_minutes_that_are_too_old_go_a_few_at_a_time_and_the_oldest_first() -> None:
    now = timezone.now()
    for days in (KEPT_DAYS - 1, KEPT_DAYS + 1, KEPT_DAYS + 2):
        minute(now - timedelta(days=days))
    with turn() as cursor:
        counts = [forget_old(cursor, limit=1)]
        left = [(now - row.began_at).days for row in SendingMinute.objects.order_by("-began_at")]
        counts += [forget_old(cursor), forget_old(cursor)]

    assert ([1, 1, 0], [KEPT_DAYS - 1, KEPT_DAYS + 1]) == (counts, left)
    assert SendingMinute.objects.count() == 1


# the sums


def test_minutes_are_summed_up_step_by_step_through_all_backends() -> None:
    since = datetime.fromisoformat("2026-11-21T08:00:00+00:00")
    minute(since - timedelta(minutes=1), accepted_count=100)
    minute(since, accepted_count=1, within_30ms=1)
    minute(since, backend="bulk", accepted_count=2, put_off_count=3, failed_count=4, unknown_count=5)
    minute(since + timedelta(minutes=59), accepted_count=7, over_1h=6)
    minute(since + timedelta(hours=2), accepted_count=8)
    first = int(since.timestamp()) // HOUR
    with turn() as cursor:
        found = read(cursor, step=HOUR, places=range(first, first + 3))

    waits = (1, *([0] * (len(WAITS) - 2)), 6)
    assert [Sums(10, 3, 4, 5, waits), Sums(), Sums(accepted=8)] == found


def test_old_minutes_are_not_read_for_a_short_time() -> None:
    now = timezone.now().replace(second=0, microsecond=0)
    SendingMinute.objects.bulk_create(
        [SendingMinute(began_at=now - timedelta(minutes=n), backend="default") for n in range(8 * 24 * 60)]
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE mailqueue_sendingminute")
    plan = carried_out(READ, {"step": 60, "since": now.timestamp() - HOUR})

    assert {"mailqueue_minute_of_backend"} == {scan.index for scan in plan.of("mailqueue_sendingminute")}
    assert plan.buffer_count < 50


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "within_30ms"), (0.03, "within_30ms"), (0.031, "within_100ms"), (3600, "within_1h"), (3601, "over_1h")],
)
def test_every_wait_has_one_class(seconds: float, expected: str) -> None:
    assert expected == wait_class(seconds)


# when a mail was due


def waited(claim: Claim) -> float:
    assert claim.due_at is not None
    return time.monotonic() - claim.due_at


def age(mail: Email, *, last_updated: float, **ago: float) -> None:
    now = timezone.now()
    times = {name: now - timedelta(seconds=seconds) for name, seconds in ago.items()}
    Email.objects.filter(pk=mail.pk).update(last_updated=now - timedelta(seconds=last_updated), **times)


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        ({"created": 100, "last_updated": 100}, 100),
        ({"created": 500, "last_updated": 500, "scheduled_time": 50}, 50),
        ({"created": 9000, "last_updated": 20}, 20),
        ({"created": -300, "last_updated": -300}, 0),
    ],
    ids=["since it was created", "since it was scheduled for", "since it was queued again", "a clock that is ahead"],
)
def test_a_claim_knows_since_when_the_mail_is_due(ago: dict[str, float], expected: float) -> None:
    age(make_mail(), **ago)

    # It has been due for longer by what the test itself has taken.
    assert expected <= waited(claim_one()) + 0.001 < expected + 60


# what a sender counts


def test_a_sender_counts_how_attempts_end() -> None:
    figures = Figures(using="default")
    for outcome in AttemptOutcome:
        make_mail()
        claim = claim_one()
        figures.note(job_of(claim, accepted_at=claim.due_at), settlement(claim, outcome))
    figures.note_unknown(["default", "bulk"])
    figures.write()

    assert {
        "default": {
            "accepted_count": 2,
            "put_off_count": 2,
            "failed_count": 1,
            "unknown_count": 2,
            "within_30ms": 2,
        },
        "bulk": {"unknown_count": 1},
    } == {row.backend: counts_of(row) for row in SendingMinute.objects.all()}


def test_the_wait_ends_when_the_server_took_the_mail_and_not_when_that_was_written() -> None:
    age(make_mail(), created=20, last_updated=20)
    claim = claim_one()
    assert claim.due_at is not None
    figures = Figures(using="default")
    figures.note(job_of(claim, accepted_at=claim.due_at + 25), settlement(claim))
    figures.write()

    assert {"accepted_count": 1, "within_30s": 1} == counts_of(SendingMinute.objects.get())


def test_the_wait_of_a_mail_that_is_tried_again_is_not_counted() -> None:
    make_mail()
    claim = claim_one()
    again = Claim(claim.attempt_id, claim.email_id, 2, claim.token, "default", 1, due_at=claim.due_at)
    figures = Figures(using="default")
    figures.note(job_of(again), settlement(again))
    figures.write()

    assert {"accepted_count": 1} == counts_of(SendingMinute.objects.get())


def test_a_sender_writes_at_once_and_then_every_fifteen_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("mailqueue.sender.figures.time.monotonic", lambda: now[0])
    figures = Figures(using="default")
    assert figures.due_at == float("inf")
    figures.note_unknown(["default"])
    figures.write_if_due()
    figures.note_unknown(["default"])
    now[0] += 14.9
    figures.write_if_due()

    assert [1] == list(SendingMinute.objects.values_list("unknown_count", flat=True))
    assert 1015 == figures.due_at


def test_what_can_not_be_written_is_told_kept_and_written_later(caplog: pytest.LogCaptureFixture) -> None:
    figures = Figures(using="default")
    figures.note_unknown(["default"])
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE mailqueue_sendingminute RENAME TO gone")
        figures.write()
        raise ZeroDivisionError
    figures.write()

    assert ["figures.not_written"] == [record.message for record in caplog.records]
    assert 1 == SendingMinute.objects.get().unknown_count


def test_a_sender_forgets_old_minutes_once_an_hour_and_goes_on_where_many_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mailqueue.sender.figures.FORGOTTEN_AT_ONCE", 2)
    monkeypatch.setattr(forget_old, "__kwdefaults__", {"limit": 2})
    figures = Figures(using="default")
    left = []
    for more in (3, 0, 1):
        for n in range(more):
            minute(timezone.now() - timedelta(days=KEPT_DAYS + 1, minutes=n))
        figures.write()
        left.append(SendingMinute.objects.count())

    assert [1, 0, 1] == left


@pytest.mark.django_db(transaction=True)
def test_a_row_that_somebody_has_locked_keeps_no_sender_waiting_for_long(database_url: str) -> None:
    figures = Figures(using="default")
    figures.note_unknown(["default"])
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE mailqueue_sendingminute")
        began_at = time.monotonic()
        figures.write()  # the lock is there until this has given up
        took = time.monotonic() - began_at
    figures.write()

    assert took < 30
    assert 1 == SendingMinute.objects.get().unknown_count
