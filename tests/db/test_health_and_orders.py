"""The breaker that all senders share, and what people order."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from post_office.models import STATUS

from mailqueue.models import Attempt, BackendHealth
from mailqueue.queue.health import (
    FAILURES_TO_SHUT,
    probe_again,
    read_health,
    record_success,
    record_trouble,
    take_probe,
)
from mailqueue.queue.orders import cancel, requeue
from mailqueue.queue.start import start
from tests.support.mails import SENDER, claimed, make_mail, turn

pytestmark = pytest.mark.django_db
DELAYS = (30, 60, 120, 300, 600)


def trouble(*, count: int = 1, at_once: bool = False) -> bool:
    with turn() as cursor:
        return record_trouble(cursor, "default", count=count, at_once=at_once, reason="refused", delays=DELAYS)


def seconds_to_probe() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM probe_at - now()) FROM mailqueue_backendhealth")
        return round(cursor.fetchone()[0])


def let_probe_be_due() -> None:
    BackendHealth.objects.update(probe_at=timezone.now() - timedelta(hours=1))


def test_failures_in_a_row_shut_the_backend_once() -> None:
    found = [trouble() for _ in range(FAILURES_TO_SHUT + 1)]

    assert [False] * (FAILURES_TO_SHUT - 1) + [True, False] == found
    assert seconds_to_probe() in (29, 30)


def test_a_success_between_them_begins_the_count_anew() -> None:
    trouble(count=4)
    with turn() as cursor:
        assert record_success(cursor, "default")
        assert not record_success(cursor, "default")

    assert not trouble()


def test_wrong_credentials_shut_it_at_once_and_are_probed_later() -> None:
    assert trouble(at_once=True)
    assert seconds_to_probe() in (299, 300)


def test_without_a_long_delay_the_last_one_serves() -> None:
    with turn() as cursor:
        record_trouble(cursor, "default", count=1, at_once=True, reason="535", delays=[1, 2])

    assert seconds_to_probe() in (1, 2)


def test_one_sender_wins_the_probe_and_the_pauses_grow() -> None:
    trouble(count=5)
    with turn() as cursor:
        early = take_probe(cursor, "default", delays=DELAYS)
    let_probe_be_due()
    with turn() as cursor:
        won, lost = (take_probe(cursor, "default", delays=DELAYS) for _ in range(2))

    assert (False, True, False) == (early, won, lost)
    assert seconds_to_probe() in (59, 60)


def test_the_last_pause_repeats() -> None:
    trouble(count=5)
    for _ in range(9):
        let_probe_be_due()
        with turn() as cursor:
            take_probe(cursor, "default", delays=DELAYS)

    assert seconds_to_probe() in (599, 600)


def test_health_is_read_with_the_reason() -> None:
    trouble(count=5)
    with turn() as cursor:
        health = read_health(cursor)["default"]

    assert (True, False, "refused", 5) == (health.is_shut, health.is_probe_due, health.reason, health.failure_count)


def test_a_waiting_mail_is_cancelled_and_says_by_whom() -> None:
    mail = make_mail()

    assert [mail.pk] == cancel([mail.pk], by="jane", using="default")
    mail.refresh_from_db()
    assert (STATUS.failed, "cancelled", "jane") == (
        mail.status,
        mail.mailqueue_state.reason,
        mail.mailqueue_state.stopped_by,
    )


def test_a_mail_that_is_claimed_but_not_started_can_be_cancelled_and_will_not_start() -> None:
    mail = make_mail()
    with turn() as cursor:
        claims = claimed(cursor)
    cancel([mail.pk], by="jane", using="default")
    with turn() as cursor:
        assert set() == start(cursor, claims, sender=SENDER, lease_seconds=60)


def test_a_mail_that_is_being_sent_is_not_cancelled() -> None:
    mail = make_mail()
    with turn() as cursor:
        start(cursor, claimed(cursor), sender=SENDER, lease_seconds=60)

    assert [] == cancel([mail.pk], by="jane", using="default")
    mail.refresh_from_db()
    assert (STATUS.queued, 1) == (mail.status, Attempt.objects.open().count())


def test_a_sent_mail_is_not_cancelled() -> None:
    mail = make_mail(status=STATUS.sent)

    assert [] == cancel([mail.pk], by="jane", using="default")


@pytest.mark.parametrize("status", [STATUS.sent, STATUS.failed, STATUS.queued, STATUS.requeued])
def test_a_requeue_sends_at_once_and_counts_anew(status: int) -> None:
    mail = make_mail(status=status, scheduled_time=timezone.now() + timedelta(days=1), number_of_retries=3)

    assert [mail.pk] == requeue([mail.pk], using="default")
    mail.refresh_from_db()
    assert (STATUS.queued, None, 0) == (mail.status, mail.scheduled_time, mail.number_of_retries)


def test_what_post_office_never_finished_is_not_requeued() -> None:
    mail = make_mail(status=None)

    assert [] == requeue([mail.pk], using="default")


def test_a_mail_that_is_being_sent_is_not_requeued() -> None:
    mail = make_mail()
    with turn() as cursor:
        start(cursor, claimed(cursor), sender=SENDER, lease_seconds=60)

    assert [] == requeue([mail.pk], using="default")


def test_a_probe_that_never_reached_the_server_may_be_made_again_at_once() -> None:
    trouble(count=5)
    with turn() as cursor:
        probe_again(cursor, "default")
        probe_again(cursor, "another")
        assert take_probe(cursor, "default", delays=DELAYS)
