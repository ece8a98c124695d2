"""`mailqueue.send`: what is written for one mail, when, and what is refused."""

import inspect
import sys
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from post_office import mail as post_office_mail
from post_office.models import PRIORITY, STATUS, Email
from pytest_django import Settings

import mailqueue
from mailqueue.delivery.backends import canonical
from mailqueue.models import MailKey, MailOptions, MessageSource
from mailqueue.outbox.messages import recipients_of
from tests.support.outbox import queueing
from tests.support.sending import JANE, SHOP, loaded, on_the_wire, queue

__all__ = ["queueing"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queueing")]

TOMORROW = datetime(2999, 1, 1, tzinfo=UTC)


class RefusedError(Exception):
    """Raised by a caller in the middle of a transaction."""


def database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def written() -> list[Any]:
    """Return the tables of mail that hold anything."""
    return [table for table in (Email, MailOptions, MessageSource, MailKey) if table.objects.exists()]


def test_a_mail_is_a_queued_row_with_what_was_given() -> None:
    mail = queue(
        cc=["cc@example.com"],
        bcc="bcc@example.com",
        subject="Hi",
        message="Hello",
        html_message="<p>Hello</p>",
        headers={"X-Shop": "1"},
        scheduled_time=TOMORROW,
        expires_at=TOMORROW + timedelta(hours=1),
        backend=canonical(""),
        log_level=2,
    )
    row = Email.objects.get()

    assert row.pk == mail.pk
    for found in (row, mail):
        assert ([JANE], ["cc@example.com"], ["bcc@example.com"], SHOP) == (
            found.to,
            found.cc,
            found.bcc,
            found.from_email,
        )
        assert ("Hi", "Hello", "<p>Hello</p>", "1") == (
            found.subject,
            found.message,
            found.html_message,
            found.headers["X-Shop"],
        )
        assert (TOMORROW, TOMORROW + timedelta(hours=1)) == (found.scheduled_time, found.expires_at)
        assert (STATUS.queued, PRIORITY.medium, canonical("")) == (found.status, found.priority, found.backend_alias)
        assert row.created == found.created


def test_the_arguments_are_post_offices_without_commit_and_with_our_own() -> None:
    theirs = dict(inspect.signature(post_office_mail.send).parameters)
    ours = dict(inspect.signature(mailqueue.send).parameters)
    own = {"key", "ref", "sensitive", "expires_in", "unknown_outcome"}

    assert set(theirs) - {"commit"} | own == set(ours)
    # Those before `commit` may be given by position, and stand where they stand in post_office.
    positional = [name for name, parameter in ours.items() if parameter.kind is not parameter.KEYWORD_ONLY]
    assert list(theirs)[: list(theirs).index("commit")] == positional


def test_a_plain_mail_costs_one_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        queue(subject="Hi", message="Hello")

    assert [Email] == written()


def test_a_rolled_back_mail_never_was() -> None:
    with pytest.raises(RefusedError), transaction.atomic():
        queue(subject="Hi", ref="order:1", key="order-1")
        raise RefusedError

    assert [] == written()


def test_nothing_is_half_written() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mailqueue_mailoptions ADD CONSTRAINT none CHECK (ref = '') NOT VALID")
    with pytest.raises(IntegrityError):
        queue(subject="Hi", ref="order:1", key="order-1")

    assert [] == written()


def test_post_offices_signal_tells_of_the_mail() -> None:
    with mailqueue.collect() as mails:
        mail = queue(subject="Hi")

    assert [mail] == mails


@pytest.mark.parametrize("priority", ["now", PRIORITY.now])
def test_priority_now_is_the_top_lane_and_not_a_send_inside_the_transaction(priority: Any) -> None:
    mail = queue(subject="Hi", priority=priority)

    assert (PRIORITY.now, STATUS.queued) == (mail.priority, mail.status)


def test_a_default_priority_of_now_is_the_top_lane_too(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "DEFAULT_PRIORITY": "now"}
    mail = queue(subject="Hi")

    assert (PRIORITY.now, STATUS.queued) == (mail.priority, mail.status)


def test_message_id_and_date_are_fixed(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "MESSAGE_ID_FQDN": "shop.example"}
    mail = queue(subject="Hi", message="Hello")
    first, second = on_the_wire(mail), on_the_wire(mail)

    assert (mail.message_id, mail.headers["Date"]) == (first["Message-ID"], first["Date"])
    assert (first["Message-ID"], first["Date"]) == (second["Message-ID"], second["Date"])
    assert mail.message_id.endswith("@shop.example>")


def test_an_own_message_id_is_kept() -> None:
    mail = queue(subject="Hi", headers={"message-id": "<1@shop>"})

    assert ("<1@shop>", ["<1@shop>"]) == (mail.message_id, on_the_wire(mail).get_all("Message-ID"))


def test_a_name_with_a_comma_stays_one_recipient() -> None:
    addresses = ['"Müller, A" <a@example.com>', JANE]
    mail = queue(recipients=addresses, subject="Hi")

    assert (addresses, addresses) == (mail.to, recipients_of(loaded(mail)))
    assert [("Müller, A", "a@example.com"), ("", JANE)] == [
        (address.display_name, address.addr_spec) for address in on_the_wire(mail)["To"].addresses
    ]


def test_what_post_office_has_no_column_for_arrives_too() -> None:
    mail = queue(subject="long " * 250, message="Hello")

    assert ("long " * 250).strip() == on_the_wire(mail)["Subject"].strip()


def test_options_are_kept_only_when_something_was_asked_for() -> None:
    plain = queue(subject="Hi")
    asked = queue(subject="Hi", ref="order:1", sensitive=True, unknown_outcome="hold")

    assert [(asked.pk, "order:1", True, "hold")] == list(
        MailOptions.objects.values_list("email_id", "ref", "is_sensitive", "unknown_outcome")
    )
    assert plain.pk != asked.pk


def test_a_model_instance_as_ref_is_kept_by_label_and_key() -> None:
    order = queue(subject="stands for an order")
    queue(subject="Hi", ref=order)

    assert f"post_office.email:{order.pk}" == MailOptions.objects.get().ref


@pytest.mark.parametrize("lifetime", [600, 600.0, timedelta(minutes=10)])
def test_expires_in_counts_from_now_by_the_databases_clock(lifetime: Any) -> None:
    before = database_now()
    mail = queue(subject="Hi", expires_in=lifetime)

    assert before <= mail.expires_at - timedelta(minutes=10) <= database_now()
    assert Email.objects.get().expires_at == mail.expires_at


NAIVE = datetime(2999, 1, 1)  # noqa: DTZ001 - that is what is wrong with it
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no recipient": ({"recipients": []}, ValueError, "needs a recipient"),
    "a bad recipient": ({"recipients": "jane"}, ValidationError, "recipients: jane is not a valid"),
    "a bad copy": ({"cc": ["a@b.de", "x y"]}, ValidationError, "cc: x y"),
    "a bad blind copy": ({"bcc": ""}, ValidationError, "bcc: "),
    "two in one text": ({"recipients": "a@example.com, b@example.com"}, ValidationError, "recipients: a@"),
    "words after the address": ({"cc": "Jane <jane@example.com> or so"}, ValidationError, "cc: Jane"),
    "a line break in a blind copy": (
        {"bcc": '"Jane\nBcc" <jane@example.com>'},
        ValueError,
        "(?i)newline|non-printable",
    ),
    "a comma without quotes": ({"recipients": "Doe, Jane <jane@example.com>"}, ValidationError, "recipients: Doe"),
    "a name that looks valid": ({"recipients": '"a <b@c.de>" <none>'}, ValidationError, "recipients: "),
    "recipients of no kind": ({"recipients": 5}, TypeError, "recipients must be"),
    "a bad sender": ({"sender": "shop"}, ValidationError, "sender: shop"),
    "a line break in the subject": ({"subject": "Hi\nBcc: all@example.com"}, ValueError, "(?i)newline|linefeed"),
    "a line break in a header": ({"headers": {"X-A": "1\r\nBcc: a@b.de"}}, ValueError, "(?i)newline|linefeed"),
    "a line break in a name": ({"recipients": "Jane\nBcc <jane@example.com>"}, ValueError, "newline|non-printable"),
    "headers of no kind": ({"headers": ["X-A: 1"]}, TypeError, "headers must be a dict"),
    "an unknown priority": ({"priority": "urgent"}, ValueError, "priority"),
    "the name of a method": ({"priority": "count"}, ValueError, "priority"),
    "a priority out of range": ({"priority": 7}, ValueError, "priority must be one of low, medium"),
    "an unknown backend": ({"backend": "nowhere"}, ValueError, "backend 'nowhere' is not configured"),
    "a naive time": ({"scheduled_time": NAIVE}, ValueError, "scheduled_time .* has no time zone"),
    "a naive end": ({"expires_at": NAIVE}, ValueError, "expires_at .* has no time zone"),
    "a time as text": ({"scheduled_time": "2999-01-01"}, TypeError, "scheduled_time must be a datetime"),
    "an end before the time": (
        {"scheduled_time": TOMORROW, "expires_at": TOMORROW - timedelta(days=1)},
        ValidationError,
        "must not be later",
    ),
    "an end in seconds before the time": (
        {"scheduled_time": TOMORROW, "expires_in": 60},
        ValidationError,
        "must not be later",
    ),
    "two ends": ({"expires_at": TOMORROW, "expires_in": 60}, ValueError, "not both"),
    "an end that is over": ({"expires_in": 0}, ValueError, "greater than 0"),
    "an end of no kind": ({"expires_in": "60"}, TypeError, "expires_in must be"),
    "no number at all": ({"expires_in": float("nan")}, ValueError, "expires_in nan"),
    "an end after all days": ({"expires_in": timedelta.max}, ValueError, "expires_in .* last day"),
    "an endless end": ({"expires_in": float("inf")}, ValueError, "expires_in inf"),
    "an unknown outcome of no kind": ({"unknown_outcome": "wait"}, ValueError, "unknown_outcome must be"),
    "a flag of no kind": ({"sensitive": "yes"}, TypeError, "sensitive must be True or False"),
    "a ref of no kind": ({"ref": 5}, TypeError, "ref must be a text or a model instance"),
    "an empty ref": ({"ref": ""}, ValueError, "1 to 255 characters"),
    "an unsaved ref": ({"ref": Email()}, ValueError, "save this post_office.Email first"),
    "a key of no kind": ({"key": 5}, TypeError, "key must be a text"),
    "an empty key": ({"key": ""}, ValueError, "key must not be empty"),
    "a subject of no kind": ({"subject": 5}, TypeError, "subject must be a text"),
    "commit": ({"commit": False}, TypeError, "commit"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_at_the_call_and_nothing_is_written(name: str) -> None:
    arguments, error, text = WRONG[name]
    with transaction.atomic():
        with pytest.raises(error, match=text):
            queue(**{"subject": "Hi", "message": "Hello", **arguments})

        assert [] == written()


def test_naive_times_are_fine_where_the_project_has_no_time_zones(settings: Settings) -> None:
    settings.USE_TZ = False
    mail = queue(subject="Hi", scheduled_time=NAIVE, expires_at=NAIVE + timedelta(hours=1))

    assert (NAIVE, NAIVE + timedelta(hours=1)) == (mail.scheduled_time, mail.expires_at)


def test_the_sender_is_djangos_default_where_none_is_given(settings: Settings) -> None:
    settings.DEFAULT_FROM_EMAIL = "Shop, Ltd. <default@example.com>".replace("Shop, Ltd.", '"Shop, Ltd."')
    mail = queue(sender=None, subject="Hi")

    assert ('"Shop, Ltd." <default@example.com>', "default@example.com") == (
        mail.from_email,
        on_the_wire(mail)["From"].addresses[0].addr_spec,
    )


def test_what_the_caller_gave_is_not_changed() -> None:
    headers, recipients = {"X-A": "1"}, [JANE]
    queue(recipients=recipients, subject="Hi", headers=headers)

    assert ({"X-A": "1"}, [JANE]) == (headers, recipients)


def test_post_offices_own_api_works_beside_ours() -> None:
    ours = queue(subject="ours", message="x")
    theirs = post_office_mail.send(JANE, SHOP, subject="theirs", message="x", scheduled_time=timezone.now())
    many = post_office_mail.send_many([{"recipients": JANE, "sender": SHOP, "subject": "many"}])

    assert [ours.pk, theirs.pk, *(mail.pk for mail in many)] == list(
        Email.objects.filter(status=STATUS.queued).order_by("id").values_list("pk", flat=True)
    )
    assert ["ours", "theirs", "many"] == [on_the_wire(mail)["Subject"] for mail in (ours, theirs, *many)]


def test_a_debugger_may_look_at_every_step() -> None:
    def look(frame: FrameType, _event: str, _argument: Any) -> Any:
        _ = frame.f_locals
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        mailqueue.send(JANE, SHOP, subject="Hello", message="text")
    finally:
        sys.settrace(before)

    assert Email.objects.count() == 1
