"""Cancel, hold, requeue and state for programs: in the caller's transaction, for mails, QuerySets and refs."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from threading import Thread
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.db.models import Count, QuerySet
from django.db.utils import ConnectionDoesNotExist
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import STATUS, Email

import mailqueue
from mailqueue.models import Attempt, AttemptOutcome, MailOptions, MailState, RefusedFrom, StopReason
from mailqueue.ops.states import State
from mailqueue.queue import orders
from mailqueue.queue.orders import BATCH
from tests.support.locks import is_waited_for
from tests.support.situations import LATER, SITUATIONS, make_attempt, make_mail
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db


class OrderRefusedError(Exception):
    """What a shop raises in the middle of a transaction."""


def made(situation: str) -> Email:
    make, _ = SITUATIONS[situation]
    return make()


def with_ref(ref: str, **fields: Any) -> Email:
    mail = make_mail(**fields)
    MailOptions.objects.create(email=mail, ref=ref)
    return mail


def states(*mails: Email) -> list[State]:
    return [mailqueue.state(mail).state for mail in mails]


def test_a_shop_that_cancels_an_order_cancels_its_reminder_and_nothing_else() -> None:
    order = User.objects.create_user("order")
    ref = f"auth.user:{order.pk}"
    sent, reminder, other = with_ref(ref, status=STATUS.sent), with_ref(ref), with_ref("auth.user:0")

    assert [reminder.pk] == mailqueue.cancel(ref=order, by="shop")
    assert [State.SENT, State.CANCELLED, State.WAITING] == states(sent, reminder, other)
    assert "shop" == MailState.objects.get(email=reminder).stopped_by


def test_a_cancellation_that_is_rolled_back_has_not_happened() -> None:
    mail = with_ref("order 5")
    with pytest.raises(OrderRefusedError), transaction.atomic():
        mailqueue.cancel(ref="order 5")
        raise OrderRefusedError

    assert [State.WAITING] == states(mail)


def everything() -> "QuerySet[Email]":
    return Email.objects.all()


@pytest.mark.parametrize(
    "choose",
    [
        lambda: everything().order_by("-subject")[:2],
        lambda: everything().filter(attempts__outcome="retry").distinct(),
        lambda: everything().filter(attempts__outcome="retry").order_by("attempts__number"),
        lambda: everything().filter(subject__in="bc").order_by("subject").distinct("subject"),
        lambda: everything().annotate(n=Count("attempts")).filter(n=2),
        lambda: everything().filter(subject="c").union(everything().filter(subject="b")),
        lambda: everything().filter(subject__gt="a").values("subject"),
        lambda: everything().exclude(subject="a").select_related("template").defer("message"),
        lambda: list(everything().filter(subject__gt="a").order_by("-pk")),
        lambda: (mail for mail in everything() if mail.subject > "a"),
        lambda: {mail for mail in everything() if mail.subject > "a"},
        lambda: 2 * list(everything().filter(subject__gt="a")),
    ],
)
def test_mails_are_chosen_by_whatever_names_them(choose: Callable[[], Iterable[Email]]) -> None:
    mails = [make_mail(subject=subject) for subject in "abc"]
    for mail in mails[1:]:
        make_attempt(mail, AttemptOutcome.RETRY)
        make_attempt(mail, AttemptOutcome.RETRY)

    assert [mail.pk for mail in mails[1:]] == mailqueue.cancel(choose())
    assert [State.WAITING, State.CANCELLED, State.CANCELLED] == states(*mails)


@pytest.mark.parametrize("act", [mailqueue.cancel, mailqueue.hold, mailqueue.requeue])
def test_no_mail_is_no_mistake(act: Callable[..., list[int]]) -> None:
    assert ([], [], []) == (act([]), act(Email.objects.none()), act(ref="an order without mail"))


def test_the_database_that_a_queryset_names_is_asked() -> None:
    with pytest.raises(ConnectionDoesNotExist):
        mailqueue.cancel(Email.objects.using("elsewhere"))


@pytest.mark.parametrize("act", [mailqueue.cancel, mailqueue.hold, mailqueue.requeue])
def test_a_mail_that_is_being_sent_is_left_alone(act: Callable[..., list[int]]) -> None:
    mail = made("being sent")

    assert ([], [State.SENDING]) == (act(mail), states(mail))


@pytest.mark.parametrize("act", [mailqueue.cancel, mailqueue.hold])
@pytest.mark.parametrize(
    "situation", ["sent", "partly sent", "failed", "expired", "cancelled", "unknown, left to a person", "interrupted"]
)
def test_what_is_not_queued_can_not_be_taken_out(act: Callable[..., list[int]], situation: str) -> None:
    mail = made(situation)
    before = states(mail)

    assert ([], before) == (act(mail), states(mail))


def test_what_is_held_is_not_held_again() -> None:
    mail = made("held")

    assert [] == mailqueue.hold(mail, by="grace", note="The price is wrong.")
    assert "It is held: The backend is not configured." == mailqueue.state(mail).detail


def test_a_held_mail_is_cancelled_for_good_and_the_reason_why_it_was_held_is_gone() -> None:
    mail, waiting = made("held"), made("queued")
    stopped_at = mail.mailqueue_state.stopped_at

    assert [mail.pk, waiting.pk] == mailqueue.cancel([waiting, mail], by="grace")
    state = MailState.objects.get(email=mail)
    assert (StopReason.CANCELLED, "", "grace") == (state.reason, state.note, state.stopped_by)
    assert state.stopped_at > stopped_at
    assert [State.CANCELLED, State.CANCELLED] == states(mail, waiting)


@pytest.mark.django_db(transaction=True)
def test_held_mail_that_is_cancelled_at_the_same_moment_is_not_released(database_url: str) -> None:
    mail = made("held")
    released: list[list[int]] = []

    def release() -> None:
        released.append(orders.requeue_held([mail.pk], using="default"))
        connections.close_all()

    thread = Thread(target=release)
    with psycopg.connect(database_url, autocommit=True) as other, transaction.atomic():
        cancelled = mailqueue.cancel(mail)
        thread.start()
        wait_until(lambda: is_waited_for(connection.connection, seen_by=other))
    thread.join()

    assert ([mail.pk], [[]], [State.CANCELLED]) == (cancelled, released, states(mail))


@pytest.mark.django_db(transaction=True)
def test_held_mail_that_is_sent_after_its_release_is_not_cancelled(database_url: str) -> None:
    mail = made("held")
    cancelled: list[list[int]] = []

    def cancel() -> None:
        cancelled.append(mailqueue.cancel(mail))
        connections.close_all()

    thread = Thread(target=cancel)
    with psycopg.connect(database_url) as sender, psycopg.connect(database_url, autocommit=True) as other:
        sender.execute("SELECT FROM post_office_email WHERE id = %s FOR UPDATE", [mail.pk])
        thread.start()
        wait_until(lambda: is_waited_for(sender, seen_by=other))
        sender.execute("UPDATE post_office_email SET status = %s WHERE id = %s", [STATUS.sent, mail.pk])
    thread.join()

    assert ([[]], [State.SENT]) == (cancelled, states(mail))


@pytest.mark.django_db(transaction=True)
def test_held_mail_that_is_released_at_the_same_moment_is_cancelled_out_of_the_queue(database_url: str) -> None:
    mail = made("held")
    cancelled: list[list[int]] = []

    def cancel() -> None:
        cancelled.append(mailqueue.cancel(mail))
        connections.close_all()

    thread = Thread(target=cancel)
    with psycopg.connect(database_url, autocommit=True) as other, transaction.atomic():
        released = orders.requeue_held([mail.pk], using="default")
        thread.start()
        wait_until(lambda: is_waited_for(connection.connection, seen_by=other))
    thread.join()

    assert ([mail.pk], [[mail.pk]], [State.CANCELLED]) == (released, cancelled, states(mail))


@pytest.mark.parametrize(
    "situation", ["queued", "claimed, not started", "scheduled", "to be retried", "unknown, to be sent again"]
)
def test_a_queued_mail_is_held_with_a_reason_until_it_is_requeued(situation: str) -> None:
    mail = made(situation)

    assert [mail.pk] == mailqueue.hold(mail, by="grace", note="The price is wrong.")
    status = mailqueue.state(mail)
    assert status.state == State.HELD
    assert status.detail.startswith("It is held by grace: The price is wrong.")
    assert not Attempt.objects.open().exists()
    assert [mail.pk] == mailqueue.requeue(mail)
    assert mailqueue.state(mail).state in (State.WAITING, State.SCHEDULED)


def test_a_mail_that_is_held_by_somebody_without_a_reason_says_by_whom() -> None:
    mail = make_mail()
    mailqueue.hold(mail, by="grace")

    assert "It is held by grace." == mailqueue.state(mail).detail


def test_a_mail_that_was_held_before_its_time_still_goes_out_at_its_time() -> None:
    mail = made("scheduled")
    mailqueue.hold(mail)
    mailqueue.requeue(mail)
    status = mailqueue.state(mail)

    assert (State.SCHEDULED, mail.scheduled_time) == (status.state, status.until)


def test_a_scheduled_mail_that_is_requeued_again_goes_out_at_once() -> None:
    mail = made("scheduled")
    mailqueue.hold(mail)
    mailqueue.requeue(mail)
    mailqueue.requeue(mail)

    assert [State.WAITING] == states(mail)


@pytest.mark.parametrize(
    "situation", ["to be retried", "unknown, to be sent again", "scheduled for a time that has passed"]
)
def test_a_mail_that_was_held_before_a_retry_or_after_its_time_goes_out_at_once(situation: str) -> None:
    mail = made(situation)
    mailqueue.hold(mail)
    mailqueue.requeue(mail)
    mail.refresh_from_db()

    assert (STATUS.queued, None, 0) == (mail.status, mail.scheduled_time, mail.number_of_retries)


def test_a_scheduled_mail_that_was_cancelled_goes_out_at_once() -> None:
    mail = made("scheduled")
    mailqueue.cancel(mail)
    mailqueue.requeue(mail)

    assert [State.WAITING] == states(mail)


@pytest.mark.parametrize("status", [STATUS.queued, STATUS.requeued, STATUS.failed, STATUS.sent])
def test_a_mail_whose_time_is_over_is_not_requeued(status: int) -> None:
    mail = make_mail(status=status, expires_at=timezone.now() - timedelta(hours=1))
    other = make_mail(status=status, expires_at=timezone.now() + LATER)

    assert [other.pk] == mailqueue.requeue([mail, other])
    mail.refresh_from_db()
    assert status == mail.status


def test_a_wiped_mail_is_not_requeued() -> None:
    mail, other = make_mail(status=STATUS.sent), make_mail(status=STATUS.sent)
    MailOptions.objects.create(email=mail, is_sensitive=True, wiped_at=timezone.now())
    MailOptions.objects.create(email=other, is_sensitive=True)

    assert [other.pk] == mailqueue.requeue([mail, other])
    assert [State.SENT, State.WAITING] == states(mail, other)


@pytest.mark.django_db(transaction=True)
def test_who_shares_an_attachment_of_the_mail_keeps_nobody_waiting(database_url: str) -> None:
    mail = make_mail()
    with psycopg.connect(database_url) as somebody, transaction.atomic(), connection.cursor() as cursor:
        somebody.execute("SELECT FROM post_office_email WHERE id = %s FOR KEY SHARE", [mail.pk])
        cursor.execute("SET LOCAL lock_timeout = '1s'")

        assert [mail.pk] == mailqueue.cancel(mail)


def make_campaign(count: int) -> list[int]:
    """Queue that many mails with the ref "campaign" and return their primary keys."""
    mails = Email.objects.bulk_create(
        Email(from_email="shop@example.com", to="ann@example.com", status=STATUS.queued) for _ in range(count)
    )
    MailOptions.objects.bulk_create(MailOptions(email=mail, ref="campaign") for mail in mails)
    return [mail.pk for mail in mails]


def test_a_whole_filter_takes_few_statements() -> None:
    ids = make_campaign(2 * BATCH + 1)
    counts = []
    for act in (mailqueue.hold, mailqueue.requeue, mailqueue.cancel):
        with CaptureQueriesContext(connection) as captured:
            assert ids == act(ref="campaign")
        counts.append(len(captured))

    # To find them and for a savepoint three, and four for each batch; a requeue also tries refused senders again.
    assert [3 + 4 * 3, 3 + 4 * 3 + 1, 3 + 4 * 3] == counts
    with CaptureQueriesContext(connection) as captured:
        assert ids == list(mailqueue.state(ref="campaign"))

    assert 1 + 2 * 3 == len(captured)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("batch", [1, 10])
def test_refused_senders_are_tried_again_in_one_order(
    database_url: str, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(orders, "BATCH", batch)
    first, second = (
        RefusedFrom.objects.create(backend="default", from_email=address, refused_at=timezone.now())
        for address in ("a@example.com", "b@example.com")
    )
    mails = [make_mail(status=STATUS.failed, from_email=refusal.from_email).pk for refusal in (second, first)]
    RefusedFrom.objects.filter(pk=first.pk).update(reply="no")  # in the table, it stands behind the second now

    def requeue() -> None:
        orders.requeue(mails, using="default")
        connections.close_all()

    thread = Thread(target=requeue)
    with psycopg.connect(database_url) as holder, psycopg.connect(database_url, autocommit=True) as other:
        lock = "SELECT id FROM mailqueue_refusedfrom WHERE id = %s FOR UPDATE SKIP LOCKED"
        holder.execute(lock, [first.pk])
        thread.start()
        wait_until(lambda: is_waited_for(holder, seen_by=other))
        free = other.execute(lock, [second.pk]).fetchall()
    thread.join()

    assert ([(second.pk,)], False) == (free, RefusedFrom.objects.exists())


def test_mails_are_worked_on_in_one_order_whatever_order_they_are_given_in() -> None:
    ids = make_campaign(BATCH + 1)

    assert ids == mailqueue.cancel(Email.objects.order_by("-pk"))


def test_the_state_of_one_mail_is_a_status() -> None:
    status = mailqueue.state(made("to be retried"))

    assert "retrying" == status.state
    assert ("451 4.7.1 greylisted" in status.detail, 2) == (True, status.attempt_count)


@pytest.mark.parametrize("ask", [lambda mails: mails, lambda _: Email.objects.order_by("pk").reverse()])
def test_the_state_of_several_mails_is_a_dict_in_their_order(ask: Callable[[Any], Any]) -> None:
    mails = [made("sent"), made("queued")][::-1]

    assert [(mails[0].pk, State.WAITING), (mails[1].pk, State.SENT)] == [
        (pk, status.state) for pk, status in mailqueue.state(ask(mails)).items()
    ]


def test_the_state_of_everything_with_a_ref() -> None:
    mail, sent = with_ref("order 5"), with_ref("order 5", status=STATUS.sent)
    with_ref("order 6")

    assert {mail.pk: State.WAITING, sent.pk: State.SENT} == {
        pk: status.state for pk, status in mailqueue.state(ref="order 5").items()
    }


def test_a_mail_that_is_gone_has_no_state() -> None:
    gone, mail = make_mail(), make_mail()
    Email.objects.filter(pk=gone.pk).delete()

    assert [mail.pk] == list(mailqueue.state([gone, mail]))
    with pytest.raises(Email.DoesNotExist, match=f"Mail {gone.pk} is not in the database"):
        mailqueue.state(gone)


@pytest.mark.parametrize("act", [mailqueue.cancel, mailqueue.hold, mailqueue.requeue, mailqueue.state])
@pytest.mark.parametrize(
    ("give", "error", "words"),
    [
        (dict, TypeError, "Give mails or ref"),
        (lambda: {"mails": None, "ref": None}, TypeError, "Give mails or ref"),
        (lambda: {"mails": [], "ref": "order 5"}, TypeError, "Give mails or ref"),
        (lambda: {"mails": 17}, TypeError, r"17 is no mail: .*filter\(pk=17\)"),
        (lambda: {"mails": [17]}, TypeError, r"filter\(pk=17\)"),
        (lambda: {"mails": "order 5"}, TypeError, "'order 5' is no mail"),
        (lambda: {"mails": Email.objects}, TypeError, r"by .all\(\)"),
        (lambda: {"mails": User(username="order")}, TypeError, "as ref="),
        (lambda: {"mails": User.objects.all()}, TypeError, "is no mail"),
        (lambda: {"mails": Email()}, ValueError, "not saved"),
        (lambda: {"mails": [Email()]}, ValueError, "not saved"),
        (lambda: {"ref": ""}, ValueError, "1 to 255"),
        (lambda: {"ref": 5}, TypeError, "ref must be"),
        (lambda: {"ref": User(username="order")}, ValueError, "save this"),
    ],
)
def test_what_is_no_mail_is_refused_with_a_remedy(
    act: Callable[..., Any], give: Callable[[], dict[str, Any]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        act(**give())


def test_mails_of_two_databases_are_refused() -> None:
    here, there = make_mail(), make_mail()
    there._state.db = "elsewhere"

    with pytest.raises(ValueError, match=r"several databases \(default, elsewhere\)"):
        mailqueue.cancel([here, there])


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"by": 17}, TypeError, "by must be a text, not 17"),
        ({"by": "x" * 256}, ValueError, "at most 255 characters, not 256"),
        ({"note": None}, TypeError, "note must be a text"),
        ({"note": "a\0b"}, ValueError, "NUL"),
    ],
)
def test_a_name_or_note_that_can_not_be_stored_is_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    mail = make_mail()
    with pytest.raises(error, match=words):
        mailqueue.hold(mail, **given)

    assert [State.WAITING] == states(mail)


def test_a_mail_that_is_held_twice_keeps_the_first_reason() -> None:
    mail = make_mail()
    mailqueue.hold(mail, note="first")

    assert [] == mailqueue.hold(mail, note="second")
    assert ("first", StopReason.HELD) == (mail.mailqueue_state.note, mail.mailqueue_state.reason)
