"""`mailqueue.send_many`, and what Django's send_mass_mail gains by it: many mails with few statements."""

import gc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage, send_mass_mail
from django.db import DatabaseError, connection, transaction
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext
from django.utils.functional import lazy
from django.utils.safestring import mark_safe
from post_office.models import STATUS, Attachment, Email
from psycopg.pq import TransactionStatus
from pytest_django import Settings

import mailqueue
from mailqueue import EmailBackend
from mailqueue.models import MailKey, MailOptions, MessageSource
from mailqueue.outbox.quick import Defaults, quick_draft
from mailqueue.queue import enqueue
from tests.support.outbox import queueing
from tests.support.sending import JANE, SHOP, on_the_wire

__all__ = ["queueing"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queueing")]


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def item(number: int, **more: Any) -> dict[str, Any]:
    address = f"jane{number}@example.com"
    return {"recipients": address, "sender": SHOP, "subject": f"mail {number}", "message": "x", **more}


def statements_for(arguments: list[dict[str, Any]]) -> int:
    with CaptureQueriesContext(connection) as captured:
        mailqueue.send_many(arguments)
    return len(captured)


def test_every_mail_stands_in_a_row_of_its_own_and_comes_back_in_order() -> None:
    mails = mailqueue.send_many(item(number) for number in range(50))
    rows = Email.objects.order_by("id")

    assert [f"mail {number}" for number in range(50)] == [mail.subject for mail in mails if mail]
    assert [(mail.pk, mail.subject, mail.to) for mail in mails if mail] == [
        (row.pk, row.subject, row.to) for row in rows
    ]
    assert {(STATUS.queued, SHOP)} == {(row.status, row.from_email) for row in rows}


def test_each_mail_keeps_what_only_it_was_given() -> None:
    at = datetime(2999, 1, 1, tzinfo=UTC)
    given: list[dict[str, Any]] = [
        item(0),
        item(1, scheduled_time=at, expires_at=at, priority="high", headers={"X-A": "ä"}),
        item(2, html_message="<p>'\\ \" </p>", cc='"Doe, Jane" <jane@example.com>'),
        item(3, ref="order:3", expires_in=60),
        item(4, subject="long " * 250),
        item(5, sensitive=True),
    ]
    mails = mailqueue.send_many(given)
    by_query = {row.pk: row for row in Email.objects.all()}

    for mail in mails:
        assert mail is not None
        row = by_query[mail.pk]
        for name in ("subject", "message", "html_message", "headers", "message_id", "scheduled_time", "expires_at"):
            assert getattr(row, name) == getattr(mail, name)
        for name in ("priority", "backend_alias", "created", "last_updated", "number_of_retries", "context"):
            assert getattr(row, name) == getattr(mail, name)
    ids = [mail.pk for mail in mails if mail]
    assert [(ids[3], "order:3", False), (ids[5], "", True)] == list(
        MailOptions.objects.order_by("email_id").values_list("email_id", "ref", "is_sensitive")
    )
    assert [ids[4]] == list(MessageSource.objects.values_list("email_id", flat=True))
    assert ['"Doe, Jane" <jane@example.com>'] == [mail.cc for mail in mails if mail][2]


def test_the_number_of_statements_does_not_grow_with_the_number_of_mails() -> None:
    plain = [statements_for([item(number) for number in range(count)]) for count in (20, 1000)]
    attachments = {"terms.pdf": b"%PDF terms"}
    rich = [
        statements_for([item(n, ref=f"order:{n}", key=f"{count}-{n}", attachments=attachments) for n in range(count)])
        for count in (20, 1000)
    ]

    assert [4, 4] == plain  # savepoint, ids, COPY, release
    assert rich[0] >= rich[1]


@pytest.fixture
def compositions(monkeypatch: pytest.MonkeyPatch) -> list[TransactionStatus]:
    """What the connection was doing whenever a mail was made."""
    seen: list[TransactionStatus] = []

    def watched(given: Any, defaults: Defaults) -> Any:
        seen.append(connection.connection.info.transaction_status)
        return quick_draft(given, defaults)

    # Every mail is looked at so before all else.
    monkeypatch.setattr("mailqueue.outbox.send.quick_draft", watched)
    return seen


def test_mails_of_plain_values_are_written_while_the_next_are_made(compositions: list[TransactionStatus]) -> None:
    headers = {"X-A": "1"}
    mailqueue.send_many([item(0), item(1, headers=headers, cc=[JANE], priority="high"), item(2, scheduled_time=None)])

    assert [TransactionStatus.ACTIVE] * 3 == compositions
    assert ["mail 0", "mail 1", "mail 2"] == list(Email.objects.order_by("id").values_list("subject", flat=True))


def asking(text: str) -> Any:
    """Return a lazy text that asks the database."""
    return lazy(lambda: "" if Email.objects.exists() else text, str)()


ASKING: dict[str, Callable[[], dict[str, Any]]] = {
    "a lazy subject": lambda: {"subject": asking("mail 1")},
    "lazy recipients": lambda: {"recipients": [asking(JANE)]},
    "recipients from the database": lambda: {
        "recipients": get_user_model().objects.values_list("email", flat=True),
    },
    "a lazy header": lambda: {"headers": {"X-A": asking("1")}},
    "a template with a lazy value": lambda: {"message": "{{ name }}", "context": {"name": asking("Jane")}},
    "expires_in": lambda: {"expires_in": 60},
}


@pytest.mark.parametrize("name", ASKING)
def test_mails_whose_making_may_ask_the_database_are_all_made_before(
    compositions: list[TransactionStatus], name: str
) -> None:
    get_user_model().objects.create(username="jane", email=JANE)
    mailqueue.send_many([item(0), item(1, **ASKING[name]()), item(2)])

    assert TransactionStatus.ACTIVE not in compositions
    assert 3 == Email.objects.count()


def test_html_that_django_rendered_is_a_plain_value(compositions: list[TransactionStatus]) -> None:
    mails = mailqueue.send_many([item(n, html_message=mark_safe(f"<p>{n}</p>")) for n in range(2)])  # noqa: S308 - a number

    assert [TransactionStatus.ACTIVE] * 2 == compositions
    assert ["<p>0</p>", "<p>1</p>"] == [mail.html_message for mail in mails if mail]


def test_a_lazy_setting_is_read_before_anything_is_written(
    compositions: list[TransactionStatus], settings: Settings
) -> None:
    settings.DEFAULT_FROM_EMAIL = asking(SHOP)
    mailqueue.send_many([item(0, sender=None), item(1, sender=None)])

    assert TransactionStatus.ACTIVE in compositions
    assert {SHOP} == set(Email.objects.values_list("from_email", flat=True))


@pytest.mark.parametrize("is_enabled", [True, False])
def test_no_garbage_is_collected_while_rows_are_written(is_enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(
        "mailqueue.outbox.send.quick_draft", lambda *given: seen.append(gc.isenabled()) or quick_draft(*given)
    )
    (gc.enable if is_enabled else gc.disable)()
    try:
        mailqueue.send_many([item(0), item(1)])
        after = gc.isenabled()
    finally:
        gc.enable()

    assert ([False, False], is_enabled) == (seen, after)


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_says_which_item_it_is_about_however_many_there_are(count: int) -> None:
    with pytest.raises(ValueError, match="item 0: Invalid priority"):
        mailqueue.send_many([item(n, priority="bogus") for n in range(count)])


class TestPieces:
    """Of many mails, each statement writes a part."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(enqueue, "ROWS_PER_COPY", 2)

    @pytest.mark.parametrize("count", [2, 3, 4, 5])
    def test_all_are_written_in_order(self, count: int) -> None:
        mails = mailqueue.send_many([item(number) for number in range(count)])
        subjects = [f"mail {number}" for number in range(count)]

        assert subjects == list(Email.objects.order_by("id").values_list("subject", flat=True))
        assert list(Email.objects.order_by("id")) == mails

    @pytest.mark.parametrize("position", range(5))
    def test_nothing_is_kept_where_one_is_refused(self, position: int) -> None:
        items = [item(number, recipients="nonsense") if number == position else item(number) for number in range(5)]
        with pytest.raises(ValidationError, match=f"item {position}: "):
            mailqueue.send_many(items)

        assert not Email.objects.exists()


def test_where_somebody_watches_how_mails_are_made_they_are_all_made_before(
    compositions: list[TransactionStatus],
) -> None:
    def ask(**_: Any) -> None:
        Email.objects.count()

    post_init.connect(ask, sender=Email, weak=False, dispatch_uid="test")
    try:
        mailqueue.send_many([item(0), item(1)])
    finally:
        post_init.disconnect(sender=Email, dispatch_uid="test")

    assert TransactionStatus.ACTIVE not in compositions


@pytest.mark.django_db(transaction=True)
def test_an_item_that_is_refused_while_others_are_written_leaves_the_connection_and_the_transaction_in_use() -> None:
    with transaction.atomic():
        users = get_user_model().objects
        users.create(username="jane")
        with pytest.raises(ValidationError, match="item 2: recipients: nonsense"):
            mailqueue.send_many([item(0), item(1), item(2, recipients="nonsense"), item(3)])
        mailqueue.send_many([item(4), item(5)])

    assert ["mail 4", "mail 5"] == list(Email.objects.order_by("id").values_list("subject", flat=True))
    assert users.exists()


def test_text_that_means_something_to_postgres_is_written_as_it_is() -> None:
    odd = "'; DROP TABLE x; -- \\ \\N \\u0041\t\r\n\\.\n%s %(a)s $1 \"{}[] \u2028 \U0001f600"
    mailqueue.send_many([item(number, message=odd) for number in range(2)])

    assert [odd, odd] == list(Email.objects.values_list("message", flat=True))


def test_the_times_are_the_databases() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (before,) = cursor.fetchone()
        mails = mailqueue.send_many([item(0), item(1)])
        cursor.execute("SELECT clock_timestamp()")
        (after,) = cursor.fetchone()

    for mail in mails:
        assert mail is not None
        assert before <= mail.created == mail.last_updated <= after


def test_the_same_attachment_is_stored_once(media: Path) -> None:
    attachments = {"terms.pdf": b"%PDF terms"}
    mails = mailqueue.send_many([item(number, attachments=dict(attachments)) for number in range(20)])

    assert (1, 1) == (Attachment.objects.count(), len([path for path in media.rglob("*") if path.is_file()]))
    assert all(
        ["terms.pdf"] == [part.get_filename() for part in on_the_wire(mail).iter_attachments()]
        for mail in mails
        if mail
    )


def test_each_mail_gets_its_own_attachment() -> None:
    mails = mailqueue.send_many(
        [item(number, attachments={"a.txt": str(number).encode()} if number % 2 else None) for number in range(6)]
    )
    contents = [[part.get_content() for part in on_the_wire(mail).iter_attachments()] for mail in mails if mail]

    assert [[], ["1"], [], ["3"], [], ["5"]] == [[text.strip() for text in texts] for texts in contents]


def test_of_several_items_with_one_key_the_first_is_queued() -> None:
    first, second, third = mailqueue.send_many(
        [item(1, key="order-1"), item(2, key="order-1"), item(3, key="order-3")]
    )

    assert (first, ["mail 1", "mail 3"]) == (
        second,
        list(Email.objects.order_by("id").values_list("subject", flat=True)),
    )
    assert first is not None
    assert third is not None
    assert {first.pk, third.pk} == set(MailKey.objects.values_list("email_id", flat=True))


def test_an_item_whose_key_was_taken_before_gives_the_first_mail() -> None:
    earlier = mailqueue.send(**item(1, key="order-1"))
    again, new = mailqueue.send_many([item(2, key="order-1"), item(3)])

    assert (earlier, ["mail 1", "mail 3"]) == (
        again,
        list(Email.objects.order_by("id").values_list("subject", flat=True)),
    )
    assert new is not None


def test_when_every_key_was_taken_nothing_is_written_and_nobody_told() -> None:
    mailqueue.send_many([item(1, key="a"), item(2, key="b")])
    with mailqueue.collect() as mails:
        again = mailqueue.send_many([item(2, key="b"), item(1, key="a")])

    assert ([], ["mail 2", "mail 1"], 2) == (mails, [mail.subject for mail in again if mail], Email.objects.count())


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "an address": ({"recipients": "nobody"}, ValidationError, "item 1: recipients: nobody is not"),
    "a priority": ({"priority": 9}, ValueError, "item 1: priority must be"),
    "a line break": ({"subject": "a\nb"}, ValueError, "(?i)item 1: .*(newline|linefeed)"),
    "an unknown argument": ({"receiver": JANE}, TypeError, "item 1: .*receiver"),
    "a missing file": ({"attachments": {"a.pdf": "/nowhere/a.pdf"}}, FileNotFoundError, "item 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_names_the_item_and_nothing_is_written(name: str) -> None:
    arguments, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        mailqueue.send_many([item(0), item(1, **arguments), item(2)])

    assert not Email.objects.exists()


def test_all_are_written_or_none() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE post_office_email ADD CONSTRAINT no_five CHECK (subject <> 'mail 5') NOT VALID")
    with transaction.atomic():
        with pytest.raises(DatabaseError):
            mailqueue.send_many([item(number) for number in range(8)])

        assert not Email.objects.exists()


def test_no_items_are_no_mails(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert [] == mailqueue.send_many([])


def test_many_messages_of_djangos_api_take_few_statements_too() -> None:
    messages = [(f"mail {number}", "Hello", SHOP, [f"jane{number}@example.com"]) for number in range(200)]
    with CaptureQueriesContext(connection) as captured:
        assert 200 == send_mass_mail(messages)

    assert 4 == len(captured)
    assert [f"mail {number}" for number in range(200)] == list(
        Email.objects.order_by("id").values_list("subject", flat=True)
    )


def test_the_rows_that_a_backend_gives_out_are_complete() -> None:
    with mailqueue.collect() as mails:
        EmailBackend().send_messages([EmailMessage("Hi", "x", SHOP, ['"A, B" <a@b.de>', JANE]) for _ in range(2)])

    assert [(row.pk, row.created) for row in Email.objects.order_by("id")] == [
        (mail.pk, mail.created) for mail in mails
    ]
    assert [['"A, B" <a@b.de>', JANE]] * 2 == [mail.to for mail in mails]
    mails[0].subject = "changed"
    mails[0].save()
    assert {"changed", "Hi"} == set(Email.objects.values_list("subject", flat=True))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{"to": JANE}], "item 0: send\\(\\) has no argument 'to'"),
        ([item(0), "jane"], "item 1: the arguments of a mail are a dict, not str"),
        (item(0), "takes an iterable of dicts, not one dict"),
    ],
)
def test_what_is_no_list_of_arguments_is_refused_in_words_of_the_api(given: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        mailqueue.send_many(given)

    assert not Email.objects.exists()
