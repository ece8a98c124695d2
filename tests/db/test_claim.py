"""Claiming on a real Postgres: who gets what, in which order, and by which plan."""

import math
import threading
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from post_office.models import STATUS, Email

from mailqueue.models import Attempt
from mailqueue.queue import claim as claim_module
from mailqueue.queue.lanes import Lane, read_lanes
from tests.support.mails import OTHER, claimed, make_mail, turn

pytestmark = pytest.mark.django_db


def test_due_mail_is_claimed_oldest_first() -> None:
    mails = [make_mail() for _ in range(3)]
    with turn() as cursor:
        claims = claimed(cursor, limit=2)

    assert [mails[0].pk, mails[1].pk] == [claim.email_id for claim in claims]


def test_both_spellings_of_the_default_backend_are_one_lane() -> None:
    mails = [make_mail(backend_alias=alias) for alias in ("default", "", "default", "")]
    with turn() as cursor:
        claims = claimed(cursor)

    assert [mail.pk for mail in mails] == [claim.email_id for claim in claims]


def test_a_mail_without_priority_stands_in_the_medium_lane() -> None:
    make_mail(priority=None)
    with turn() as cursor:
        assert len(claimed(cursor, priority=1)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"status": STATUS.sent},
        {"status": STATUS.failed},
        {"status": None},
        {"priority": 2},
        {"backend_alias": "other"},
    ],
)
def test_what_is_not_due_in_this_lane_is_left(fields: dict[str, object]) -> None:
    make_mail(**fields)
    with turn() as cursor:
        assert [] == claimed(cursor)


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(days=1)])
def test_what_is_scheduled_is_left_until_then(ahead: timedelta) -> None:
    make_mail(scheduled_time=timezone.now() + ahead)
    with turn() as cursor:
        assert [] == claimed(cursor)


@pytest.mark.parametrize("status", [STATUS.queued, STATUS.requeued])
def test_what_is_queued_by_update_is_in_the_queue(status: int) -> None:
    mail = make_mail(status=STATUS.failed)
    Email.objects.filter(pk=mail.pk).update(status=status)
    with turn() as cursor:
        assert len(claimed(cursor)) == 1


def test_a_host_whose_clock_is_ahead_does_not_delay_its_mail() -> None:
    mail = make_mail()
    Email.objects.filter(pk=mail.pk).update(created=timezone.now() + timedelta(minutes=5))
    with turn() as cursor:
        assert len(claimed(cursor)) == 1


def test_the_mail_of_a_host_whose_clock_is_ahead_is_found_among_what_is_scheduled_for_the_next_minutes() -> None:
    for minutes in (1, 2, 8, 9):
        make_mail(scheduled_time=timezone.now() + timedelta(minutes=minutes))
    mail = make_mail()
    Email.objects.filter(pk=mail.pk).update(created=timezone.now() + timedelta(minutes=5))
    with turn() as cursor:
        assert [mail.pk] == [claim.email_id for claim in claimed(cursor)]


def test_a_claimed_mail_is_not_claimed_again() -> None:
    make_mail()
    with turn() as cursor:
        claimed(cursor)
    with turn() as cursor:
        assert [] == claimed(cursor, sender=OTHER)


def test_attempts_are_numbered() -> None:
    mail = make_mail()
    with turn() as cursor:
        (first,) = claimed(cursor)
        cursor.execute("UPDATE mailqueue_attempt SET finished_at = now(), outcome = 'retry'")
    with turn() as cursor:
        (second,) = claimed(cursor)

    assert [(1, mail.pk), (2, mail.pk)] == [(first.number, first.email_id), (second.number, second.email_id)]


@pytest.mark.django_db(transaction=True)
def test_a_row_that_another_sender_has_locked_is_passed_over() -> None:
    mails = [make_mail() for _ in range(4)]
    locked, release = threading.Event(), threading.Event()
    found: list[int] = []

    def other() -> None:
        with turn() as cursor:
            found.extend(claim.email_id for claim in claimed(cursor, limit=2, sender=OTHER))
            locked.set()
            release.wait(10)
        connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    assert locked.wait(10)
    with turn() as cursor:
        mine = [claim.email_id for claim in claimed(cursor, limit=2)]
    release.set()
    thread.join()

    assert ([mails[0].pk, mails[1].pk], [mails[2].pk, mails[3].pk]) == (found, mine)


@pytest.mark.django_db(transaction=True)
def test_a_row_that_others_only_refer_to_is_claimed(database_url: str) -> None:
    mail = make_mail()
    with psycopg.connect(database_url) as other, turn() as cursor:
        other.execute("SELECT FROM post_office_email FOR KEY SHARE")

        assert [mail.pk] == [claim.email_id for claim in claimed(cursor)]


@pytest.mark.django_db(transaction=True)
def test_the_index_refuses_a_second_claim_that_the_lock_let_through() -> None:
    mail = make_mail()
    with turn() as cursor:
        claimed(cursor)
    # What a sender with an older snapshot does: it sees no claim, and the lock is free.
    columns = "id, created AS due, false AS has_identity, created AS since"
    stale = f"stale AS (SELECT {columns} FROM post_office_email WHERE id = %s)"
    statement = claim_module.CLAIM.format(where="", due=stale, union="TABLE stale")
    with turn() as cursor:
        cursor.execute(statement, [mail.pk, 1, OTHER, "default", 60])

        assert [] == cursor.fetchall()
    assert Attempt.objects.count() == 1


@pytest.mark.parametrize(("is_alone", "expected"), [(True, "off"), (False, "on")])
def test_only_a_claim_that_is_a_transaction_by_itself_waits_for_no_disk(is_alone: bool, expected: str) -> None:
    make_mail()
    with turn() as cursor:
        claims = claimed(cursor, is_alone=is_alone)
        cursor.execute("SHOW synchronous_commit")

        assert (1, (expected,)) == (len(claims), cursor.fetchone())


def test_lanes_are_those_that_hold_mail_from_the_highest() -> None:
    for alias, priority in [("", 1), ("", 3), ("bulk", 0), ("", None), ("", 3)]:
        make_mail(backend_alias=alias, priority=priority)
    make_mail(backend_alias="done", status=STATUS.sent)
    with turn() as cursor:
        assert [Lane("", 3), Lane("", 1), Lane("bulk", 0)] == read_lanes(cursor).lanes


@pytest.mark.parametrize("times", [("-infinity", "-infinity"), ("2026-01-01", "infinity"), ("-infinity", "infinity")])
def test_mail_with_an_infinite_time_is_claimed(times: tuple[str, str]) -> None:
    mail = make_mail()
    with turn() as cursor:
        cursor.execute("UPDATE post_office_email SET created = %s, last_updated = %s WHERE id = %s", [*times, mail.pk])
        (claim,) = claimed(cursor)

    assert mail.pk == claim.email_id
    assert claim.due_at is not None
    assert math.isfinite(claim.due_at)
