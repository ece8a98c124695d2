"""`mailqueue.EmailBackend`: what is written, when, and what a rollback leaves."""

import email.policy
import gc
from email.message import EmailMessage as MimeMessage
from email.message import MIMEPart
from pathlib import Path
from typing import Any

import django
import psycopg
import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives, send_mail
from django.db import DatabaseError, connection, transaction
from post_office import mail as post_office_mail
from post_office.models import PRIORITY, STATUS, Attachment, Email
from pytest_django import Settings

import mailqueue
from mailqueue import EmailBackend
from mailqueue.delivery.backends import canonical, carrier_for
from mailqueue.delivery.letter import UnreadableError
from mailqueue.delivery.wire import seal
from mailqueue.models import MessageSource
from mailqueue.outbox import notice as notice_module
from mailqueue.outbox.files import remove_on_rollback
from mailqueue.outbox.identity import fix_identity
from mailqueue.outbox.messages import letter_of, load, recipients_of
from mailqueue.outbox.serial import build
from tests.support.outbox import queueing
from tests.support.waiting import wait_until

__all__ = ["queueing"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queueing")]

JANE = "jane@example.com"


class RefusedError(Exception):
    """Raised by a caller in the middle of a transaction."""


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def files(media: Path) -> list[Path]:
    return [path for path in media.rglob("*") if path.is_file()]


def message(**fields: Any) -> EmailMultiAlternatives:
    given = {"subject": "Hi", "body": "Hello", "from_email": "shop@example.com", "to": [JANE], **fields}
    return EmailMultiAlternatives(**given)


def sent_on(email_row: Email) -> MimeMessage:
    """Return what would go over the wire for a row, parsed."""
    loaded = load([email_row.pk], using="default")[email_row.pk]
    content = build(letter_of(loaded, recipients=[JANE]).build()).as_bytes()
    return email.message_from_bytes(content, policy=email.policy.default)


def parts_of(mime: Any) -> list[tuple[str, str | None, bytes]]:
    return [
        (part.get_content_type(), part.get_filename(), part.get_payload(decode=True))
        for part in mime.walk()
        if not part.is_multipart()
    ]


def assert_arrives_as_django_sends_it(original: EmailMessage) -> Email:
    """Hold what arrives against what Django builds, but for the order of headers and the boundaries."""
    expected = email.message_from_bytes(build(original).as_bytes(), policy=email.policy.default)
    original.send()
    row = Email.objects.get()
    found = sent_on(row)
    changing = {"message-id", "date", "content-type"}

    def headers(mime: Any) -> dict[str, str]:
        return {name.lower(): str(value) for name, value in mime.items() if name.lower() not in changing}

    assert headers(expected) == headers(found)
    assert parts_of(expected) == parts_of(found)
    assert expected.get_content_type() == found.get_content_type()
    assert list(original.recipients()) == recipients_of(load([row.pk], using="default")[row.pk])
    return row


def test_a_mail_is_a_queued_row_in_the_callers_transaction() -> None:
    assert send_mail("Hi", "Hello", "shop@example.com", [JANE], html_message="<p>Hello</p>") == 1
    row = Email.objects.get()
    assert ("Hi", "Hello", "<p>Hello</p>", STATUS.queued, [JANE], "", PRIORITY.medium) == (
        row.subject,
        row.message,
        row.html_message,
        row.status,
        row.to,
        row.backend_alias,
        row.priority,
    )


def test_a_rolled_back_mail_never_was() -> None:
    with pytest.raises(RefusedError), transaction.atomic():
        send_mail("Hi", "Hello", "shop@example.com", [JANE])
        raise RefusedError

    assert not Email.objects.exists()


def test_one_mail_of_the_common_shape_costs_one_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        message().send()


def test_text_from_a_caller_is_never_run_as_a_template() -> None:
    text = "{{ secret }} {% nonsense %}"
    message(subject=text, body=text).send()
    row = Email.objects.get()

    assert (text, text, text) == (row.subject, row.message, sent_on(row)["Subject"])


def test_message_id_and_date_are_fixed_when_the_mail_is_queued() -> None:
    message().send()
    row = Email.objects.get()
    first, second = sent_on(row), sent_on(row)

    assert (row.message_id, row.headers["Date"]) == (first["Message-ID"], first["Date"])
    assert (first["Message-ID"], first["Date"]) == (second["Message-ID"], second["Date"])


def test_an_own_message_id_and_date_are_kept() -> None:
    headers = {"message-id": "<1@shop>", "DATE": "Sat, 21 Nov 2026 08:00:00 +0000"}
    original = message(headers=headers)
    original.send()
    found = sent_on(Email.objects.get())

    assert (["<1@shop>"], [headers["DATE"]]) == (found.get_all("Message-ID"), found.get_all("Date"))
    assert {"message-id": "<1@shop>", "DATE": headers["DATE"]} == original.extra_headers


def mime_part() -> MIMEPart | Any:
    if django.VERSION < (6, 0):
        from email.mime.application import MIMEApplication

        return MIMEApplication(b"\x00\x01")
    part = MIMEPart()
    part.set_content(b"\x00\x01", "application", "octet-stream")
    return part


def with_alternatives(*alternatives: tuple[str, str]) -> EmailMultiAlternatives:
    made = message()
    for content, mimetype in alternatives:
        made.attach_alternative(content, mimetype)
    return made


def html_only() -> EmailMultiAlternatives:
    made = message(body="<p>Grüße</p>")
    made.content_subtype = "html"
    return made


class SignedMessage(EmailMessage):
    """Builds its own bytes."""

    def message(self, **_: Any) -> Any:
        made = super().message(**_)
        made["X-Signature"] = "abc"
        return made


PLAIN = {
    "text": message,
    "utf-8": lambda: message(subject="Grüße, 世界", body="Grüße\n世界\n"),
    "html too": lambda: with_alternatives(("<p>Hello</p>", "text/html")),
    "html only": html_only,
    "copies": lambda: message(cc=["cc@example.com"], bcc=["bcc@example.com"], reply_to=["r@example.com"]),
    "a name with a comma": lambda: message(to=['"Müller, A" <a@example.com>', JANE]),
    "headers": lambda: message(headers={"X-Shop": "1", "From": "Shop <other@example.com>"}),
    "attachments of one name": lambda: message(
        attachments=[("a.pdf", b"%PDF-1", "application/pdf"), ("a.pdf", b"%PDF-2", "application/pdf")]
    ),
    "a text attachment": lambda: message(attachments=[("notes.txt", "Grüße\r\n", "text/plain")]),
    "bytes as text": lambda: message(attachments=[("a.bin", b"\xff\xfe", "text/plain")]),
    "a long file name": lambda: message(attachments=[("../../" + "x" * 200 + ".p-d-f", b"x", "image/png")]),
}
ODD = {
    "a calendar": lambda: with_alternatives(("<p>Hello</p>", "text/html"), ("BEGIN:VCALENDAR", "text/calendar")),
    "a long subject": lambda: message(subject="long " * 250),
    "a part": lambda: message(attachments=[mime_part()]),
    "an attached mail": lambda: message(attachments=[("m.eml", b"Subject: x\n\nbody", "message/rfc822")]),
    "a class of its own": lambda: SignedMessage("Hi", "Hello", "shop@example.com", [JANE]),
    "html without text": lambda: EmailMultiAlternatives(
        "Hi", "", "shop@example.com", [JANE], alternatives=[("<p>x</p>", "text/html")]
    ),
    "no file name": lambda: message(attachments=[(None, b"x", "application/x-thing")]),
    "parameters": lambda: message(attachments=[("a", b"x", "application/x-thing; v=1")]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_post_office_can_hold_stands_in_its_fields_and_arrives_unchanged(name: str) -> None:
    assert_arrives_as_django_sends_it(PLAIN[name]())

    assert not MessageSource.objects.exists()


@pytest.mark.parametrize("name", ODD)
def test_what_post_office_cannot_hold_arrives_unchanged_too(name: str) -> None:
    assert_arrives_as_django_sends_it(ODD[name]())

    assert MessageSource.objects.count() == 1


def test_a_kept_message_goes_over_the_wire_byte_for_byte() -> None:
    original = SignedMessage("Hi", "Hello", "shop@example.com", [JANE], headers={"Message-ID": "<1@x>", "Date": "x"})
    original.send()
    row = load(Email.objects.values_list("pk", flat=True), using="default").popitem()[1]

    sealed = seal(letter_of(row, recipients=[JANE]), carrier_for(canonical(""))._backend)
    assert sealed.content.removesuffix(b"\r\n") == bytes(row.mailqueue_source.message).removesuffix(b"\r\n")


def test_what_django_refuses_is_refused_with_the_same_exception_and_nothing_is_written() -> None:
    with pytest.raises(ValueError, match=r"newline|linefeed"):
        message(subject="Hi\nBcc: all@example.com").send()

    assert not Email.objects.exists()


def test_of_several_messages_all_are_written_or_none() -> None:
    with pytest.raises(ValueError, match=r"newline|linefeed"):
        EmailBackend().send_messages([message(), message(subject="a\nb")])

    assert not Email.objects.exists()


def test_a_refusal_does_not_break_the_callers_transaction() -> None:
    with transaction.atomic():
        with pytest.raises(ValueError, match=r"newline|linefeed"):
            message(subject="a\nb").send()
        message().send()

    assert Email.objects.count() == 1


@pytest.fixture
def refusing() -> None:
    """Let the database refuse every mail, until the test is rolled back."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE post_office_email ADD CONSTRAINT refused CHECK (false) NOT VALID")


def test_fail_silently_swallows_and_leaves_the_transaction_usable(refusing: None) -> None:
    with transaction.atomic():
        assert EmailBackend(fail_silently=True).send_messages([message()]) == 0
        assert not Email.objects.exists()


def test_without_fail_silently_a_database_error_is_raised_and_the_transaction_can_only_be_rolled_back(
    refusing: None,
) -> None:
    with transaction.atomic():
        with pytest.raises(DatabaseError):
            EmailBackend().send_messages([message()])

        assert connection.needs_rollback
        transaction.set_rollback(True)


def test_a_message_without_recipients_leaves_nothing() -> None:
    assert (0, 0) == (EmailBackend().send_messages([message(to=[])]), EmailBackend().send_messages([]))
    assert not Email.objects.exists()


def test_priority_now_means_the_top_lane_and_not_a_send_inside_the_transaction(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "DEFAULT_PRIORITY": "now"}
    message().send()

    assert [(PRIORITY.now, STATUS.queued)] == list(Email.objects.values_list("priority", "status"))


def test_text_that_the_database_would_refuse_is_kept_and_shown_harmlessly() -> None:
    message(body="a\0b").send()
    row = Email.objects.get()

    assert ("a\N{REPLACEMENT CHARACTER}b", "a\0b") == (row.message, sent_on(row).get_content().strip())


def test_the_rows_that_are_given_back_read_their_times_from_the_database() -> None:
    with mailqueue.collect() as mails:
        message(to=['"Doe, Jane" <jane@example.com>', "b@example.com"]).send()

    assert (Email.objects.get().created, ['"Doe, Jane" <jane@example.com>', "b@example.com"]) == (
        mails[0].created,
        mails[0].to,
    )


def test_collect_gives_what_is_written_inside_the_block_by_any_api() -> None:
    message(subject="before").send()
    with mailqueue.collect() as outer:
        message(subject="one").send()
        with mailqueue.collect() as inner:
            post_office_mail.send(JANE, "shop@example.com", subject="two", message="x")
    message(subject="after").send()

    assert (["one", "two"], ["two"]) == ([mail.subject for mail in outer], [mail.subject for mail in inner])


def test_a_name_that_mailqueue_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = mailqueue.nonsense


def with_file() -> EmailMultiAlternatives:
    return message(attachments=[("a.pdf", b"%PDF", "application/pdf")])


@pytest.mark.django_db(transaction=True)
def test_an_attachment_is_kept_when_the_transaction_commits(media: Path) -> None:
    with_file().send()

    assert ([b"%PDF"], 1) == ([path.read_bytes() for path in files(media)], Attachment.objects.count())


@pytest.mark.django_db(transaction=True)
def test_no_file_stays_after_a_rollback(media: Path) -> None:
    with pytest.raises(RefusedError), transaction.atomic():
        with_file().send()
        assert len(files(media)) == 1
        raise RefusedError

    assert [] == files(media)


@pytest.mark.django_db(transaction=True)
def test_a_savepoint_takes_its_files_with_it_and_leaves_those_of_others(media: Path) -> None:
    with transaction.atomic():
        with_file().send()
        with pytest.raises(RefusedError), transaction.atomic():
            with_file().send()
            raise RefusedError

    assert (1, 1) == (len(files(media)), Attachment.objects.count())


@pytest.mark.django_db(transaction=True)
def test_a_callable_that_raises_on_commit_costs_no_file_of_a_committed_mail(media: Path) -> None:
    def explode() -> None:
        raise RefusedError

    with pytest.raises(RefusedError), transaction.atomic():
        transaction.on_commit(explode)
        with_file().send()

    assert (1, 1) == (len(files(media)), Attachment.objects.count())


@pytest.mark.django_db(transaction=True)
def test_a_rollback_takes_its_file_though_another_callable_was_registered_before_it(media: Path) -> None:
    with transaction.atomic():
        transaction.on_commit(lambda: None)
        with pytest.raises(RefusedError), transaction.atomic():
            with_file().send()
            raise RefusedError

        assert [] == files(media)
        with_file().send()
        with pytest.raises(RefusedError), transaction.atomic():
            with_file().send()
            raise RefusedError

    assert (1, 1) == (len(files(media)), Attachment.objects.count())


@pytest.mark.django_db(transaction=True)
def test_a_callable_that_raises_on_commit_costs_no_file_even_when_its_error_is_kept_for_long(media: Path) -> None:
    def explode() -> None:
        raise RefusedError

    with pytest.raises(RefusedError) as kept, transaction.atomic():
        transaction.on_commit(explode)
        with_file().send()
        with_file().send()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Email.objects.count()
        kept.value.__traceback__ = None
        del kept
        gc.collect()
        raise ZeroDivisionError

    assert (1, 1) == (len(files(media)), Attachment.objects.count())


def test_callables_of_others_keep_their_places_and_their_names(
    django_capture_on_commit_callbacks: Any, media: Path
) -> None:
    ran: list[str] = []

    def earlier() -> None:
        ran.append("earlier")

    transaction.on_commit(earlier)
    with django_capture_on_commit_callbacks(execute=True):
        transaction.on_commit(lambda: ran.append("later"))
        with_file().send()

    assert (["later"], "earlier") == (ran, connection.run_on_commit[0][1].__name__)


@pytest.mark.django_db(transaction=True)
def test_when_nobody_knows_whether_the_commit_came_through_the_file_stays(media: Path) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        with_file().send()
        connection.connection.close()
        Email.objects.count()

    assert len(files(media)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_storage_that_cannot_delete_is_told_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Storage:
        def delete(self, name: str) -> None:
            raise OSError(name)

    with pytest.raises(RefusedError), transaction.atomic():
        remove_on_rollback(Storage(), "a.pdf", using="default")
        raise RefusedError

    assert ["attachment.left"] == caplog.messages


def test_a_row_of_others_gets_its_identity_once() -> None:
    row = Email.objects.create(from_email="a@example.com", to=[JANE], status=STATUS.queued)
    fix_identity([row], using="default")
    again = Email.objects.get()
    fix_identity([again], using="default")
    found = sent_on(again)

    assert (row.message_id, row.headers["Date"]) == (again.message_id, again.headers["Date"])
    assert (row.message_id, row.headers["Date"]) == (found["Message-ID"], found["Date"])


@pytest.mark.parametrize("headers", [{"Message-ID": "<own@x>"}, {"date": "Sat, 21 Nov 2026 08:00:00 +0000"}])
def test_what_a_row_of_others_says_of_its_identity_is_respected(headers: dict[str, str]) -> None:
    row = Email.objects.create(from_email="a@example.com", to=[JANE], status=STATUS.queued, headers=headers)
    fix_identity([row], using="default")
    found = sent_on(row)

    assert (1, 1) == (len(found.get_all("Message-ID")), len(found.get_all("Date")))
    assert set(headers.items()) <= {*found.items(), ("date", found["Date"])}


def test_a_row_of_others_whose_headers_are_no_object_is_not_overwritten_and_fails() -> None:
    row = Email.objects.create(from_email="a@example.com", to=[JANE], status=STATUS.queued, headers=["junk"])
    fix_identity([row], using="default")
    row.refresh_from_db()

    assert ["junk"] == row.headers
    with pytest.raises(ValueError, match="headers must be a JSON object"):
        sent_on(row)


def test_post_offices_override_of_recipients_is_followed(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "OVERRIDE_RECIPIENTS": ["test@example.com"]}
    message().send()
    row = load(Email.objects.values_list("pk", flat=True), using="default").popitem()[1]

    assert ["test@example.com"] == recipients_of(row)


def test_the_override_reaches_kept_messages_too(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "OVERRIDE_RECIPIENTS": ["test@example.com"]}
    ODD["a class of its own"]().send()
    row = load(Email.objects.values_list("pk", flat=True), using="default").popitem()[1]

    assert ["test@example.com"] == recipients_of(row)


def test_a_backend_that_looks_at_the_parts_of_a_kept_message_is_refused_them() -> None:
    ODD["a class of its own"]().send()
    row = load(Email.objects.values_list("pk", flat=True), using="default").popitem()[1]
    kept = letter_of(row, recipients=[JANE]).build()

    with pytest.raises(UnreadableError, match="its body can't be read"):
        _ = getattr(kept, "body", None)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = kept.nonsense
    assert [JANE] == kept.recipients()


@pytest.mark.django_db(transaction=True)
def test_senders_are_woken_after_the_commit_and_not_for_every_mail(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(notice_module, "_paces", {})
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute(f"LISTEN {notice_module.CHANNEL}")
        with transaction.atomic():
            message().send()
            message().send()
            before = list(listener.notifies(timeout=0.1))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, 'no more')", [notice_module.CHANNEL])
        found: list[str] = []

        def has_heard_all() -> bool:
            found.extend(notification.payload for notification in listener.notifies(timeout=0.1))
            return "no more" in found

        wait_until(has_heard_all, what="a notification that comes after all others")

    assert ([], ["", "no more"]) == (before, found)


def test_a_wake_up_that_fails_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice_module, "_paces", {})

    class Connections:
        def __getitem__(self, alias: str) -> Any:
            raise DatabaseError

    monkeypatch.setattr(notice_module, "connections", Connections())

    notice_module.wake("default")
