"""Keys of `mailqueue.send`: a mail with the same key is queued once, whoever calls, and when."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from django.db import connection, transaction
from post_office.models import Email

import mailqueue
from mailqueue.conf import Configuration
from mailqueue.models import MailKey
from mailqueue.queue import keys as keys_module
from mailqueue.queue.keys import forget_old_keys, take_keys
from mailqueue.sender import reaper as reaper_module
from mailqueue.sender.journal import Journal
from mailqueue.sender.options import Options
from mailqueue.sender.reaper import Reaper
from tests.support.locks import is_waited_for
from tests.support.mails import SENDER, turn
from tests.support.outbox import queueing
from tests.support.sending import JANE, SHOP, queue
from tests.support.waiting import wait_until

__all__ = ["queueing"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("queueing")]

Session: TypeAlias = Callable[[Callable[[], Any]], Future[Any]]


class RefusedError(Exception):
    """Raised by a caller in the middle of a transaction."""


@pytest.fixture
def other_session() -> Iterator[Session]:
    """Run calls in a thread, with a connection of its own."""

    def run(act: Callable[[], Any]) -> Any:
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as executor:
        yield lambda act: executor.submit(run, act)


@pytest.fixture
def waiting_call(other_session: Session) -> Session:
    """Start a call in another session, and go on when it waits for the transaction that is open here."""

    def start(act: Callable[[], Any]) -> Future[Any]:
        call = other_session(act)
        wait_until(
            lambda: is_waited_for(connection.connection), what="the second call to wait for the first transaction"
        )
        return call

    return start


def age_keys(days: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE mailqueue_mailkey SET created_at = created_at - %s * interval '1 day'", [days])


def test_a_second_mail_with_the_key_is_the_first_one() -> None:
    first = queue(subject="first", recipients=['"Doe, Jane" <jane@example.com>'], key="order-1")
    with mailqueue.collect() as mails:
        second = queue(subject="second", key="order-1")

    assert (first.pk, "first", ['"Doe, Jane" <jane@example.com>']) == (second.pk, second.subject, second.to)
    assert (1, []) == (Email.objects.count(), mails)


def test_other_keys_and_no_keys_are_other_mails() -> None:
    assert 4 == len({queue(subject="Hi", key=key).pk for key in ("order-1", "order-2", None, None)})


def test_only_the_hash_of_a_key_is_kept() -> None:
    queue(subject="Hi", key="order of jane@example.com" * 1000)
    digest = hashlib.sha256(("order of jane@example.com" * 1000).encode()).hexdigest()

    assert [digest] == list(MailKey.objects.values_list("digest", flat=True))


def test_in_one_transaction_the_key_counts_at_once() -> None:
    with transaction.atomic():
        first, second = queue(subject="first", key="order-1"), queue(subject="second", key="order-1")

    assert (first.pk, 1) == (second.pk, Email.objects.count())


def test_a_key_whose_transaction_was_rolled_back_was_never_taken() -> None:
    with pytest.raises(RefusedError), transaction.atomic():
        queue(subject="first", key="order-1")
        raise RefusedError

    assert "second" == queue(subject="second", key="order-1").subject


def test_a_second_call_waits_for_the_first_transaction_and_returns_its_mail(waiting_call: Session) -> None:
    with transaction.atomic():
        first = queue(subject="first", key="order-1")
        call = waiting_call(lambda: queue(subject="second", key="order-1"))
    second = call.result(timeout=20)

    assert (first.pk, "first", 1) == (second.pk, second.subject, Email.objects.count())


def test_a_second_call_queues_its_own_mail_when_the_first_transaction_is_rolled_back(waiting_call: Session) -> None:
    with pytest.raises(RefusedError), transaction.atomic():
        queue(subject="first", key="order-1")
        call = waiting_call(lambda: queue(subject="second", key="order-1"))
        raise RefusedError
    second = call.result(timeout=20)

    assert [(second.pk, "second")] == list(Email.objects.values_list("pk", "subject"))
    assert second == queue(subject="third", key="order-1")


def test_a_bulk_takes_its_keys_in_one_order_so_that_two_of_them_cannot_deadlock(waiting_call: Session) -> None:
    low, high = sorted(("order-1", "order-2"), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    arguments = [{"recipients": JANE, "sender": SHOP, "subject": "bulk", "key": key} for key in (high, low)]
    with transaction.atomic():
        first = queue(subject="first", key=low)
        call = waiting_call(lambda: mailqueue.send_many(arguments))
        # Whoever waits for the low key must not hold the high one.
        second = queue(subject="second", key=high)

    assert [second, first] == call.result(timeout=20)


def test_a_key_outlives_its_mail() -> None:
    queue(subject="Hi", key="order-1").delete()

    assert mailqueue.send(JANE, SHOP, subject="Hi", key="order-1") is None
    assert not Email.objects.exists()


def test_a_key_ends_with_its_days_whether_it_was_forgotten_or_not(settings: Any) -> None:
    settings.MAILQUEUE = {"KEY_RETENTION_DAYS": 2}
    first = queue(subject="first", key="order-1")
    age_keys(1.9)
    assert first == queue(subject="second", key="order-1")
    age_keys(0.2)
    third = queue(subject="third", key="order-1")

    assert (third, third, 2) == (queue(subject="x", key="order-1"), MailKey.objects.get().email, Email.objects.count())


def test_of_two_calls_with_a_key_that_has_ended_one_queues_a_mail(waiting_call: Session) -> None:
    queue(subject="first", key="order-1")
    age_keys(31)
    with transaction.atomic():
        second = queue(subject="second", key="order-1")
        call = waiting_call(lambda: queue(subject="third", key="order-1"))

    assert second == call.result(timeout=20)


class Interrupted:
    """A cursor that lets something else happen right before a statement, once."""

    def __init__(self, cursor: Any, *, before: str, act: Callable[[], Any]) -> None:
        self._cursor = cursor
        self._before = before
        self._acts = [act]

    def execute(self, statement: str, parameters: Any) -> None:
        if statement == self._before and self._acts:
            self._acts.pop()()
        self._cursor.execute(statement, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def test_a_key_that_another_transaction_renews_in_between_is_the_others(other_session: Session) -> None:
    queue(subject="first", key="order-1")
    age_keys(31)
    others: list[Email] = []

    def renew() -> None:
        others.append(other_session(lambda: queue(subject="second", key="order-1")).result(timeout=20))

    digest = MailKey.objects.get().digest
    with turn() as cursor:
        interrupted = Interrupted(cursor, before=keys_module.RENEW, act=renew)
        held = take_keys(interrupted, [digest], retention_days=30)

    assert {digest: others[0].pk} == held


def test_a_key_that_is_forgotten_in_between_is_taken(other_session: Session) -> None:
    queue(subject="first", key="order-1")
    digest = MailKey.objects.get().digest

    def forget() -> None:
        other_session(lambda: MailKey.objects.all().delete()).result(timeout=20)

    with turn() as cursor:
        interrupted = Interrupted(cursor, before=keys_module.READ, act=forget)
        held = take_keys(interrupted, [digest], retention_days=30)

    assert ({}, None) == (held, MailKey.objects.get().email_id)


def test_old_keys_are_forgotten_a_few_at_a_time_and_new_ones_never() -> None:
    for number in range(5):
        queue(subject="Hi", key=f"old-{number}")
    age_keys(40)
    queue(subject="Hi", key="new")

    with turn() as cursor:
        counts = [forget_old_keys(cursor, retention_days=30, limit=2) for _ in range(4)]

    assert ([2, 2, 1, 0], 1) == (counts, MailKey.objects.count())


def test_a_key_that_is_being_renewed_is_not_waited_for_when_old_ones_are_forgotten(other_session: Session) -> None:
    queue(subject="Hi", key="order-1")
    age_keys(40)

    def forget() -> int:
        with turn() as cursor:
            return forget_old_keys(cursor, retention_days=30, limit=10)

    with transaction.atomic():
        queue(subject="again", key="order-1")
        count = other_session(forget).result(timeout=20)

    assert (0, 1) == (count, MailKey.objects.count())


def test_a_key_that_is_forgotten_while_somebody_asks_for_it_is_taken_anew(waiting_call: Session) -> None:
    queue(subject="first", key="order-1")
    age_keys(40)
    with transaction.atomic():
        MailKey.objects.all().delete()
        call = waiting_call(lambda: queue(subject="second", key="order-1"))

    assert ("second", 2) == (call.result(timeout=20).subject, Email.objects.count())


def test_senders_forget_old_keys_once_an_hour_and_go_on_while_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper_module, "KEYS_AT_ONCE", 2)
    journal = Journal(tmp_path, sender=SENDER)
    options = Options(concurrency=1, using="default", sender=SENDER)
    reaper = Reaper(tmp_path, journal=journal, options=options, configuration=Configuration())
    for number in range(3):
        queue(subject="Hi", key=f"old-{number}")
    age_keys(40)
    counts = []
    for _ in range(3):
        reaper.due_at = 0
        reaper.reap_if_due()
        counts.append(MailKey.objects.count())
        if not counts[-1]:
            queue(subject="Hi", key="old-3")
            age_keys(40)
    journal.close(is_settled=True)

    assert [1, 0, 1] == counts
