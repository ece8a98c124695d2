"""How one mail is written: with which statement, which signals, and what the object says afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import connection, transaction
from django.db.backends.postgresql.base import Cursor, ServerBindingCursor
from django.db.models import Value
from django.db.models.expressions import DatabaseDefault
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import PRIORITY, STATUS, Email
from pytest_django import Settings

import mailqueue
from mailqueue.outbox import drafts
from mailqueue.queue import enqueue
from project.shop.models import Item, Order
from tests.support.outbox import queueing
from tests.support.sending import JANE, SHOP, queue

__all__ = ["queueing"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queueing")]


@contextmanager
def receiving(signal: Any, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver, weak=False, dispatch_uid="test")
    try:
        yield
    finally:
        signal.disconnect(dispatch_uid="test")


def message(**fields: Any) -> EmailMultiAlternatives:
    made = EmailMultiAlternatives(**{"subject": "Hi", "body": "x", "from_email": SHOP, "to": [JANE], **fields})
    made.attach_alternative("<p>x</p>", "text/html")
    return made


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("write", [lambda: message().send(), queue], ids=["Django's API", "mailqueue.send"])
def test_inside_the_callers_transaction_a_mail_is_one_insert_and_nothing_else(write: Callable[[], Any]) -> None:
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        Order.objects.create(customer_name="Jane", email=JANE, item=Item.TEA)
        before = len(captured)
        write()
        after = len(captured)

    (statement,) = [query["sql"].split() for query in captured.captured_queries[before:after]]
    assert ["INSERT", "INTO", "post_office_email"] == statement[:3]
    assert not any("NOTIFY" in query["sql"].upper() for query in captured.captured_queries[:after])


def test_a_mail_of_several_recipients_with_everything_is_one_insert_too(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        message(cc=["a@example.com"], bcc=["b@example.com"], reply_to=[SHOP], headers={"X-Shop": "1"}).send()


def test_receivers_of_djangos_signals_hear_of_a_mail_before_and_after_it_is_written() -> None:
    heard: list[tuple[str, dict[str, Any]]] = []

    def before(**given: Any) -> None:
        heard.append(("before", {**given, "pk": given["instance"].pk}))

    def after(**given: Any) -> None:
        heard.append(("after", {**given, "pk": given["instance"].pk}))

    with receiving(pre_save, before), receiving(post_save, after):
        mail = queue()
    common = {"sender": Email, "instance": mail, "raw": True, "using": "default", "update_fields": None}

    assert ["before", "after"] == [name for name, _ in heard]
    assert {**common, "signal": pre_save, "pk": None} == heard[0][1]
    assert {**common, "signal": post_save, "pk": mail.pk, "created": True} == heard[1][1]


def test_what_a_receiver_changes_before_is_written() -> None:
    def change(*, instance: Email, **_: Any) -> None:
        instance.subject = "changed"
        instance.to = f"{JANE}, copy@example.com"
        instance.number_of_retries = 3

    with receiving(pre_save, change):
        message().send()

    assert [("changed", [JANE, "copy@example.com"], 3)] == list(
        Email.objects.values_list("subject", "to", "number_of_retries")
    )


def test_the_object_says_what_django_says_of_one_that_is_saved(django_assert_num_queries: Any) -> None:
    mail = queue()
    row = Email.objects.get()

    with django_assert_num_queries(0):
        assert (row.pk, row.created, row.last_updated) == (mail.pk, mail.created, mail.last_updated)
    assert (False, "default") == (mail._state.adding, mail._state.db)
    mail.subject = "changed"
    mail.save()
    assert ["changed"] == list(Email.objects.values_list("subject", flat=True))


def test_the_times_are_naive_where_the_project_has_no_time_zones(settings: Settings) -> None:
    settings.USE_TZ = False
    mail = queue()

    assert mail.created.tzinfo is None
    assert Email.objects.get().created == mail.created


def test_every_column_of_one_mail_and_of_many_is_what_djangos_own_way_of_writing_gives() -> None:
    headers = {"X-A": 'ä\\ " %s $1', "Message-ID": "<1.2@shop.example>"}
    given: dict[str, Any] = {"recipients": JANE, "sender": SHOP, "headers": headers, "message": "%s %% {} \\N"}
    single = queue(**given)
    many = mailqueue.send_many([given, given])
    columns = [field.attname for field in Email._meta.concrete_fields if field.name not in ("id", "last_updated")]
    found = [
        {name: value for name, value in row.items() if name not in ("created", "headers")}
        for row in Email.objects.values(*columns)
    ]
    saved = Email(**found[0])
    saved.save()

    assert [found[0]] * 3 == found
    assert found[0] == Email.objects.filter(pk=saved.pk).values(*found[0]).get()
    assert {'ä\\ " %s $1'} == {row.headers["X-A"] for row in Email.objects.exclude(pk=saved.pk)}
    assert {"object"} == kinds_of_headers(single, *many)


def kinds_of_headers(*mails: Email | None) -> set[str]:
    """Say of what kind the JSON of headers is for the database."""
    with connection.cursor() as cursor:
        numbers = [mail.pk for mail in mails if mail]
        cursor.execute("SELECT DISTINCT jsonb_typeof(headers) FROM post_office_email WHERE id = ANY(%s)", [numbers])
        return {kind for (kind,) in cursor.fetchall()}


def test_a_column_whose_value_the_database_makes_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE post_office_email ALTER COLUMN number_of_retries SET DEFAULT 7")
    field: Any = Email._meta.get_field("number_of_retries")
    monkeypatch.setattr(field, "_get_default", lambda: DatabaseDefault(Value(7)))  # Django makes it once, and keeps it
    monkeypatch.setattr(field, "db_default", Value(7))
    monkeypatch.setattr(enqueue, "_columns", enqueue._columns.__wrapped__)
    monkeypatch.setattr(drafts, "_defaults", drafts._defaults.__wrapped__)
    queue()
    mailqueue.send_many([{"recipients": JANE}, {"recipients": JANE}])

    assert [7, 7, 7] == list(Email.objects.values_list("number_of_retries", flat=True))


def test_a_default_that_is_made_for_each_row_is_made_for_each_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    field = Email._meta.get_field("context")
    monkeypatch.setattr(field, "default", dict)
    monkeypatch.setattr(field, "_get_default", dict)
    monkeypatch.setattr(drafts, "_defaults", drafts._defaults.__wrapped__)
    first, second = drafts.queued_mail(), drafts.queued_mail(subject="Hi")

    assert ({}, {}, "Hi", STATUS.queued) == (first.context, second.context, second.subject, second.status)
    assert first.context is not second.context


def test_who_asks_the_database_while_rows_are_written_is_refused_and_does_not_wait_for_ever() -> None:
    def mails() -> Iterator[Email]:
        yield drafts.queued_mail(subject="first")
        yield drafts.queued_mail(subject=Email.objects.count())

    with pytest.raises(RuntimeError, match="can't be asked"), transaction.atomic():
        enqueue.insert_mails(mails(), count=2, using="default")

    assert not Email.objects.exists()


def test_more_mails_than_announced_are_refused_rather_than_lost() -> None:
    with pytest.raises(ValueError, match="more than the 1 mails"), transaction.atomic():
        enqueue.insert_mails([drafts.queued_mail(), drafts.queued_mail()], count=1, using="default")


@pytest.mark.parametrize("is_watched", [False, True])
def test_the_object_of_a_new_mail_is_as_django_makes_it(is_watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "is_watched", lambda: is_watched)
    fixed = {"status": STATUS.queued, "priority": PRIORITY.medium}
    made, djangos = drafts.queued_mail(subject="Hi"), Email(subject="Hi", **fixed)

    assert vars(djangos).keys() == vars(made).keys()
    assert {**vars(djangos), "_state": None} == {**vars(made), "_state": None}
    assert vars(djangos._state) == vars(made._state)
    assert {} == made._state.fields_cache


@pytest.mark.parametrize("cursor_factory", [Cursor, ServerBindingCursor])
def test_values_are_written_as_they_are_whether_they_go_with_the_statement_or_beside_it(
    cursor_factory: type[psycopg.Cursor], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.ensure_connection()
    monkeypatch.setattr(connection.connection, "cursor_factory", cursor_factory)
    odd = "100 %s 'quoted' \\ \\' $1 ${x} naïve 中文"
    due_at = timezone.now() + timedelta(days=1)
    mail = queue(message=odd, headers={"X-Odd": odd}, scheduled_time=due_at)
    written = Email.objects.get(pk=mail.pk)

    assert (odd, odd) == (written.message, written.headers["X-Odd"])
    assert (due_at, mail.created, mail.message_id) == (written.scheduled_time, written.created, written.message_id)
