"""`mailqueue.EmailBackend` at the call: what it returns, what it refuses, and what it leaves when it fails."""

import re
import resource
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.policy import SMTP
from pathlib import Path
from typing import Any

import django
import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail import EmailAlternative, EmailMessage, EmailMultiAlternatives
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models.signals import pre_save
from django.utils.functional import lazystr
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from post_office import mail as post_office_mail
from post_office.models import STATUS, Email
from post_office.signals import email_queued
from pytest_django import Settings

from mailqueue import EmailBackend, MessageTooLargeError
from mailqueue.outbox import notice
from mailqueue.outbox.envelope import check_content
from mailqueue.outbox.notice import PriorityNowWarning
from mailqueue.outbox.serial import build, serialised
from tests.support.odd_messages import JANE, USUAL, made_of, names_a_mailbox_in_utf8, odd_fields
from tests.support.outbox import queueing
from tests.support.smtp_edge import sent_by_django

__all__ = ["queueing"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queueing")]

HAS_MAILERS = django.VERSION >= (6, 1)
IDENTITY = {"Message-ID": "<1@example.com>", "Date": "Sat, 21 Nov 2026 08:00:00 +0000"}
many = hypothesis_settings(max_examples=300, suppress_health_check=list(HealthCheck))


class ReceiverError(Exception):
    """Raised by a receiver of a signal that is not ours."""


class _RolledBackError(Exception):
    """Ends an example."""


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def message(**fields: Any) -> EmailMultiAlternatives:
    return made_of(USUAL | fields)


def queued(messages: list[EmailMessage]) -> int | type[Exception]:
    """Return what our backend returns, or the class of what it raises, and hold that it wrote that many."""
    outcome: int | type[Exception] = 0
    with suppress(_RolledBackError), transaction.atomic():
        try:
            outcome = EmailBackend().send_messages(messages)
        except Exception as error:  # noqa: BLE001 - the classes are what is compared
            outcome = type(error)
        written = outcome if isinstance(outcome, int) else 0
        assert written == Email.objects.count()
        raise _RolledBackError
    return outcome


def never() -> bytes:
    raise AssertionError("a message that is surely fine was serialised")


# What Django's SMTP backend refuses is refused


@many
@given(given=odd_fields())
def test_what_djangos_smtp_backend_refuses_is_refused_alike_and_what_it_takes_is_taken(given: dict[str, Any]) -> None:
    # Those are for the server to judge, which Django does not ask.
    assume(not names_a_mailbox_in_utf8(given))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated kinds of attachments

        theirs, ours = sent_by_django([made_of(given)]), queued([made_of(given)])
        # Django sends what has a form feed in a header, and what follows is another header, or text; and a NUL in an
        # address, which the database can't hold.
        is_theirs_nonsense = theirs != 1 or names_nul(given) or is_torn(made_of(given))
        assert theirs == ours or (ours in (ValueError, UnicodeEncodeError) and is_theirs_nonsense)


def names_nul(given: dict[str, Any]) -> bool:
    people = [given["from_email"], *given["to"], *given["cc"], *given["bcc"], *given["reply_to"]]
    return any("\x00" in str(address) for address in people)


def is_torn(message: EmailMessage) -> bool:
    """Whether Django leaves a line break in a header, or a name that is none: it arrives as several, or as text."""
    built: Any = message.message(**({"policy": SMTP} if django.VERSION >= (6, 0) else {}))
    headers = [(str(name), str(value)) for part in built.walk() for name, value in part.items()]
    return any(
        f"{value}.".splitlines() != [f"{value}."] or re.fullmatch("[!-~]+", name) is None for name, value in headers
    )


REFUSED = {
    "a line break in the subject": {"subject": "Hi\nBcc: all@example.com"},
    "a line break in a header": {"extra_headers": {"X-Shop": "1\r\nBcc: all@example.com"}},
    "a line break in an address": {"bcc": ["jane@example.com\nRCPT TO:<all@example.com>"]},
    "two addresses in one": {"bcc": ["a@example.com, b@example.com"]},
    "a bare comma in a name": {"bcc": ["Doe, Jane <jane@example.com>"]},
    "a sender of two": {"from_email": "a@example.com, b@example.com", "extra_headers": {"From": "shop@example.com"}},
    "a group": {"bcc": ["team: a@example.com, b@example.com;"]},
    "half a character in the subject": {"subject": "\ud800"},
    "half a character in the text": {"body": "\ud800"},
    "half a character in an address": {"bcc": ["\ud800@example.com"]},
    "a domain that can't be": {"bcc": [f"jane@{'ü' * 64}.com"]},
    "no charset at all": {"encoding": "nope"},
    # Django builds this message; it is Python that can't write it down.
    "a report that is no message": {"alternatives": [EmailAlternative("x", "message/delivery-status")]},
    "a list of recipients that is a text": {"to": JANE},
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_impossible_message_is_refused_with_djangos_exception_and_nothing_is_written(name: str) -> None:
    fields = REFUSED[name]
    refusal = sent_by_django([message(**fields)])

    assert isinstance(refusal, type)
    assert refusal is queued([message(**fields)])


def test_what_only_the_writing_down_of_the_message_shows_is_refused_too() -> None:
    header = {"Message-ID": "<grüße@example.com>"} if django.VERSION >= (6, 0) else {"X-Grüße": "1"}

    assert (UnicodeEncodeError,) * 2 == (
        sent_by_django([message(extra_headers=header)]),
        queued([message(extra_headers=header)]),
    )


TAKEN = {
    "a name with a comma": {"to": ['"Doe, Jane" <jane@example.com>']},
    "a local mailbox": {"from_email": "webmaster", "to": ["root"]},
    "a domain with umlauts": {"to": ["jane@exämple.com"]},
    "a domain that only a server can judge": {"to": ["jane@[127.0.0.1]", "jane@ex_ample.com"]},
    "a long subject": {"subject": "long " * 400},
    "a lazy subject and recipient": {"subject": lazystr("Hi"), "to": [lazystr(JANE)]},
    "a recipient named twice": {"to": [JANE, JANE], "cc": [JANE]},
    "an empty recipient among others": {"to": ["", None, JANE]},
}


@pytest.mark.parametrize("name", TAKEN)
def test_an_unusual_message_is_taken_as_django_takes_it(name: str) -> None:
    fields = TAKEN[name]

    assert (1, 1) == (sent_by_django([message(**fields)]), queued([message(**fields)]))


@pytest.mark.parametrize("mailbox", ["dörte@example.com", "Dörte <dörte@exämple.com>", "世界@example.com"])
@pytest.mark.parametrize("field", ["to", "bcc", "from_email"])
def test_an_address_with_umlauts_before_the_at_sign_is_left_to_the_server(mailbox: str, field: str) -> None:
    fields = {field: mailbox if field == "from_email" else [mailbox]}

    assert queued([message(**fields)]) == 1


def test_a_long_one_is_left_to_the_server_too() -> None:
    # Django 5.2 would write it in lines, and refuse that.
    assert queued([message(bcc=[f"{'ü' * 40}@example.com"])]) == 1


IMPOSSIBLE = ["dörte@exa mple.com", "dör\nte@example.com", "dö te <a@example.com>, b", f"ü@{'ü' * 64}.com", "ü@a..ü"]


@pytest.mark.parametrize("mailbox", IMPOSSIBLE)
def test_umlauts_before_the_at_sign_excuse_nothing_else(mailbox: str) -> None:
    assert ValueError in queued([message(bcc=[mailbox])]).__mro__  # type: ignore[union-attr]


@pytest.mark.parametrize("field", [{"to": ["=?utf-8?q?=FC?=ü"]}, {"subject": "=?utf-8?q?=FC?=ü"}])
def test_what_looks_encoded_is_serialised_to_be_sure(field: dict[str, Any]) -> None:
    serialised_count = 0

    def serialise() -> bytes:
        nonlocal serialised_count
        serialised_count += 1
        return b""

    check_content(message(**field), serialise=serialise)

    assert 1 == serialised_count


def test_a_message_that_is_surely_fine_is_not_serialised() -> None:
    for fields in (
        {},
        {"subject": "Grüße, 世界", "to": ["Dörte <d@example.com>"], "extra_headers": {"X-Shop": "ü", **IDENTITY}},
        {"attachments": [("Grüße.pdf", b"%PDF" * 100_000, "application/pdf"), (None, "x", "text/plain")]},
        {"alternatives": [EmailAlternative("<p>x</p>", "text/html")]},
    ):
        check_content(message(**fields), serialise=never)


@many
@given(given=odd_fields())
def test_what_is_not_serialised_can_be(given: dict[str, Any]) -> None:
    made = made_of(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made.recipients()
            built = build(made)
        except Exception:  # noqa: BLE001 - refused before, by building it
            return
        with suppress(AssertionError):
            check_content(made, serialise=never)
            serialised(built)


# What comes back


def test_it_returns_the_number_of_messages_and_leaves_out_those_without_recipients() -> None:
    assert EmailBackend().send_messages([message(), message(to=[]), message(to=[], bcc=[JANE])]) == 2
    assert Email.objects.count() == 2


def test_a_message_without_recipients_may_hold_anything() -> None:
    bad = message(to=[None, ""], subject="a\nb")

    assert (0, 0, 0) == (bad.send(), EmailBackend().send_messages([bad]), Email.objects.count())


def test_of_several_messages_all_are_written_or_none_whichever_is_bad() -> None:
    assert queued([message(), message(bcc=["a, b"]), message()]) is ValueError


@pytest.mark.django_db(transaction=True)
def test_of_several_messages_none_stays_when_one_can_not_be_written() -> None:
    with refused_by_the_database("the second"), pytest.raises(DatabaseError):
        EmailBackend().send_messages([with_file(subject="the first"), with_file(subject="the second")])

    assert not Email.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_mail_whose_attachments_can_not_be_written_is_not_written() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE post_office_attachment_emails ADD CONSTRAINT refused CHECK (false) NOT VALID")
    try:
        with pytest.raises(DatabaseError):
            with_file().send()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE post_office_attachment_emails DROP CONSTRAINT refused")

    assert not Email.objects.exists()


@contextmanager
def refused_by_the_database(subject: str) -> Iterator[None]:
    """Let the database refuse mail of this subject during the block."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE post_office_email ADD CONSTRAINT refused CHECK (subject <> '{subject}')")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE post_office_email DROP CONSTRAINT refused")


def with_file(**fields: Any) -> EmailMultiAlternatives:
    return message(attachments=[("a.pdf", b"%PDF", "application/pdf")], **fields)


# fail_silently


def silent() -> EmailBackend:
    return EmailBackend(fail_silently=True)


def test_silently_a_bad_message_is_0() -> None:
    class Broken(EmailMessage):
        def recipients(self) -> list[str]:
            raise ReceiverError

    assert [0, 0, 0, 0] == [
        silent().send_messages([message(subject="a\nb")]),
        silent().send_messages([message(bcc=["a, b"])]),
        silent().send_messages([message(), message(to=None)]),
        silent().send_messages([Broken("Hi", "Hello", "shop@example.com", [JANE])]),
    ]
    assert not Email.objects.exists()


def test_silently_a_transaction_that_waits_for_its_rollback_is_0() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)

        assert (0, 0) == (silent().send_messages([message()]), silent().send_messages([with_file()]))


def test_silently_a_transaction_that_the_server_has_aborted_is_0() -> None:
    with suppress(DatabaseError), transaction.atomic():
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")

        assert (0, 0) == (silent().send_messages([message()]), silent().send_messages([with_file()]))
        assert not connection.needs_rollback


@pytest.mark.django_db(transaction=True)
def test_silently_a_row_that_the_database_refuses_is_0_and_the_transaction_goes_on() -> None:
    with refused_by_the_database("bad"), transaction.atomic():
        assert silent().send_messages([message(subject="bad")]) == 0
        assert silent().send_messages([message(), with_file(subject="bad")]) == 0
        assert silent().send_messages([message(subject="good")]) == 1

    assert ["good"] == list(Email.objects.values_list("subject", flat=True))


@pytest.mark.django_db(transaction=True)
def test_silently_a_database_that_is_gone_is_0() -> None:
    with connection.cursor() as cursor, suppress(OperationalError):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert silent().send_messages([message()]) == 0
    connection.close()
    with suppress(InterfaceError, OperationalError), transaction.atomic():
        connection.connection.close()

        assert (0, 0) == (silent().send_messages([message()]), silent().send_messages([with_file()]))


@pytest.mark.django_db(transaction=True)
def test_silently_a_full_disk_is_0_and_the_transaction_goes_on(media: Path) -> None:
    with transaction.atomic():
        with full_disk():
            assert silent().send_messages([with_file()]) == 0
        assert silent().send_messages([message()]) == 1

    assert (1, 0) == (Email.objects.count(), Email.objects.filter(attachments__isnull=False).count())
    assert [] == [path for path in media.rglob("*") if path.is_file() and path.stat().st_size]


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow during the block."""
    given = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, given[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, given)


def test_a_person_who_interrupts_is_heard_silently_or_not() -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    with receiving(pre_save, interrupted), pytest.raises(KeyboardInterrupt):
        silent().send_messages([message()])


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS is Django 6.1's")
def test_silently_may_be_said_in_mailers(settings: Settings) -> None:
    settings.MAILERS = {
        **settings.MAILERS,
        "quiet": {"BACKEND": "mailqueue.EmailBackend", "OPTIONS": {"fail_silently": True}},
    }

    assert (0, 1) == (message(subject="a\nb").send(using="quiet"), message().send(using="quiet"))


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS is Django 6.1's")
def test_an_option_that_the_backend_does_not_have_is_refused_when_it_is_made(settings: Settings) -> None:
    settings.MAILERS = {
        **settings.MAILERS,
        "wrong": {"BACKEND": "mailqueue.EmailBackend", "OPTIONS": {"hots": "example.com"}},
    }

    with pytest.raises(mail.InvalidMailer, match="hots"):
        message().send(using="wrong")


# Receivers of others


@contextmanager
def receiving(signal: Any, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver, weak=False, dispatch_uid="test")
    try:
        yield
    finally:
        signal.disconnect(dispatch_uid="test")


def fail(**_: Any) -> None:
    raise ReceiverError


def break_transaction(**_: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1/0")


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_raises_after_the_commit_is_told_of_and_the_mail_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with receiving(email_queued, fail):
        assert message().send() == 1
    with receiving(email_queued, break_transaction):
        assert message().send() == 1

    assert (2, ["receiver.failed"] * 2) == (Email.objects.count(), caplog.messages)


def test_a_receiver_that_raises_within_a_transaction_leaves_it_and_the_mail(caplog: pytest.LogCaptureFixture) -> None:
    with receiving(email_queued, fail), transaction.atomic():
        assert (1, 2) == (message().send(), EmailBackend().send_messages([message(), message()]))

    assert (3, ["receiver.failed"] * 2) == (Email.objects.count(), caplog.messages)


def test_a_receiver_that_breaks_the_transaction_is_heard_for_the_mail_goes_with_it() -> None:
    with receiving(email_queued, break_transaction):
        with suppress(DatabaseError), transaction.atomic(), pytest.raises(DatabaseError, match="division by zero"):
            message().send()
        with transaction.atomic():
            assert silent().send_messages([message()]) == 0

    assert not Email.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_log_that_is_mailed_does_not_tell_of_its_own_mail(caplog: pytest.LogCaptureFixture) -> None:
    def mailed(record: Any) -> bool:
        message(subject=record.getMessage()).send()
        return True

    notice.logger.addFilter(mailed)
    try:
        with receiving(email_queued, fail):
            assert message().send() == 1
    finally:
        notice.logger.removeFilter(mailed)

    assert (["receiver.failed"], 2) == (caplog.messages, Email.objects.count())


@pytest.mark.django_db(transaction=True)
def test_who_commits_by_hand_can_queue_too() -> None:
    transaction.set_autocommit(False)
    try:
        assert message().send() == 1
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)

    assert Email.objects.count() == 1


# How large a message may be


def limit(settings: Settings, size: int) -> None:
    settings.MAILQUEUE = {**settings.MAILQUEUE, "MAX_MESSAGE_BYTES": size}


LARGE = {
    "text": {"body": "Hello\n" * 2000},
    "umlauts": {"body": "ü" * 3000},
    "a long line": {"body": "x" * 3000},
    "html": {"alternatives": [EmailAlternative("<p>x</p>\n" * 2000, "text/html")]},
    "a picture": {"attachments": [("a.png", b"\x89PNG" * 150_000, "image/png")]},
    "an attached mail": {"attachments": [("a.eml", b"Subject: x\n\n" + b"x\n" * 3000, "message/rfc822")]},
    "many headers": {"extra_headers": {**IDENTITY, **{f"X-{n}": "ü" * 40 for n in range(50)}}},
    "many recipients": {"to": [f"jane{n}@example.com" for n in range(300)]},
    "an own encoding": {"encoding": "utf-16", "body": "Hello" * 1000},
}


@pytest.mark.parametrize("name", LARGE)
def test_a_message_is_refused_from_the_first_byte_over_the_limit(name: str, settings: Settings) -> None:
    fields = {"extra_headers": IDENTITY, **LARGE[name]}
    size = len(serialised(message(**fields)))

    limit(settings, size)
    assert message(**fields).send() == 1
    limit(settings, size - 1)
    with pytest.raises(MessageTooLargeError, match=rf"{size:,} .* {size - 1:,} .*MAX_MESSAGE_BYTES") as raised:
        message(**fields).send()
    assert (size, size - 1, 1) == (raised.value.size, raised.value.limit, Email.objects.count())


def test_a_message_that_its_caller_builds_is_measured_as_it_is_kept(settings: Settings) -> None:
    signatures = []

    class Signed(EmailMessage):
        def message(self, **options: Any) -> Any:
            made = super().message(**options)
            made["X-Signature"] = "x" * 5000
            signatures.append("x")
            return made

    Signed("Hi", "Hello", "shop@example.com", [JANE]).send()
    assert signatures == ["x"]
    limit(settings, 5000)
    with pytest.raises(MessageTooLargeError):
        Signed("Hi", "Hello", "shop@example.com", [JANE]).send()


def test_a_message_of_the_common_shape_is_measured_too(settings: Settings) -> None:
    limit(settings, 5000)
    with pytest.raises(MessageTooLargeError):
        message(body="x" * 5000).send()
    assert message(body="x" * 3000).send() == 1


@many
@given(given=odd_fields(), share=st.floats(min_value=0.5, max_value=1))
def test_nothing_that_is_larger_than_the_limit_is_let_through(given: dict[str, Any], share: float) -> None:
    given = given | {"extra_headers": IDENTITY}
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        try:
            size = len(serialised(made_of(given)))
        except Exception:  # noqa: BLE001 - refused for what it is
            return
        patch.setattr("mailqueue.outbox.size.configuration", lambda: Limit(int(size * share) - 1))

        assert queued([made_of(given)]) != 1


class Limit:
    """The settings, as far as they are about the size."""

    def __init__(self, size: int) -> None:
        self.MAX_MESSAGE_BYTES = size


# post_office's "now"


def test_post_offices_priority_now_is_warned_of_at_the_line_that_asks_for_it(settings: Settings) -> None:
    with pytest.warns(PriorityNowWarning, match="inside the call and the transaction") as warned:
        post_office_mail.send(JANE, "shop@example.com", subject="Hi", message="x", priority="now")

    assert [__file__] == [warning.filename for warning in warned]


def test_a_warning_that_is_an_error_comes_before_anything_is_written_or_sent() -> None:
    with pytest.raises(PriorityNowWarning):
        post_office_mail.send(JANE, "shop@example.com", subject="Hi", message="x", priority="now")

    assert not Email.objects.exists()


def test_mail_that_only_waits_in_the_top_lane_is_not_warned_of(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "DEFAULT_PRIORITY": "now"}
    message().send()
    row = Email.objects.get()
    row.status = None
    row.save()
    post_office_mail.send(JANE, "shop@example.com", subject="Hi", message="x", priority="high")
    row.pk, row.status = None, None
    row._state.adding = True
    row.save_base(raw=True)  # as loaddata does

    assert Email.objects.filter(status=STATUS.queued).count() == 1


# Django's ways to mail


@contextmanager
def deprecated() -> Iterator[None]:
    """Django 6.1 warns of what MAILERS takes the place of; it works as it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def subjects() -> list[str]:
    return list(Email.objects.order_by("pk").values_list("subject", flat=True))


def test_send_mail_and_send_mass_mail() -> None:
    rows = [("one", "x", None, [JANE]), ("two", "x", "shop@example.com", [JANE]), ("nobody", "x", None, [])]

    assert (1, 2) == (mail.send_mail("mail", "x", None, [JANE]), mail.send_mass_mail(rows))
    assert ["mail", "one", "two"] == subjects()


def test_mail_to_admins_and_managers(settings: Settings) -> None:
    people = ["a@example.com", "b@example.com"]
    settings.ADMINS = people if django.VERSION >= (6, 0) else [("A", people[0]), ("B", people[1])]
    settings.MANAGERS = settings.ADMINS[:1]
    mail.mail_admins("admins", "x", html_message="<p>x</p>")
    mail.mail_managers("managers", "x")

    assert [("[Django] admins", people), ("[Django] managers", people[:1])] == list(
        Email.objects.order_by("pk").values_list("subject", "to")
    )


def test_mail_to_a_user() -> None:
    User(email=JANE).email_user("welcome", "x", from_email="shop@example.com")

    assert ["welcome"] == subjects()


def test_a_connection_is_used_again_and_again_opened_closed_or_neither() -> None:
    with deprecated():
        used = mail.get_connection()
    assert isinstance(used, EmailBackend)
    assert (1, 2) == (
        used.send_messages([message(subject="1")]),
        used.send_messages([message(subject="2"), message(subject="3")]),
    )
    with used as opened:
        assert opened.send_messages([message(subject="4")]) == 1
    used.open()
    assert used.send_messages([message(subject="5")]) == 1
    used.close()
    used.close()

    assert ["1", "2", "3", "4", "5"] == subjects()


def test_a_connection_may_be_given_and_be_silent() -> None:
    with deprecated():
        quiet = mail.get_connection(fail_silently=True)
        sent = mail.send_mail("given", "x", None, [JANE], connection=quiet)
        refused = mail.send_mail("a\nb", "x", None, [JANE], connection=quiet)
        said = mail.send_mail("a\nb", "x", None, [JANE], fail_silently=True)
        attached = EmailMessage("attached", "x", None, [JANE], connection=quiet).send()

    assert (1, 0, 0, 1) == (sent, refused, said, attached)
    assert ["given", "attached"] == subjects()


def test_credentials_that_a_caller_gives_mean_nothing_to_a_queue() -> None:
    with deprecated():
        assert mail.send_mail("mail", "x", None, [JANE], auth_user="shop", auth_password="x") == 1


@pytest.mark.skipif(HAS_MAILERS, reason="with MAILERS, a backend is chosen by its alias")
def test_the_backend_may_be_named_by_its_path() -> None:
    used = mail.get_connection("mailqueue.EmailBackend")

    assert (1, ["named"]) == (mail.send_mail("named", "x", None, [JANE], connection=used), subjects())


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS is Django 6.1's")
def test_any_alias_of_mailers_may_be_the_outbox(settings: Settings) -> None:
    settings.MAILERS = {**settings.MAILERS, "queue": {"BACKEND": "mailqueue.EmailBackend"}}
    settings.ADMINS = ["a@example.com"]
    assert (1, 1, 1) == (
        message(subject="message").send(using="queue"),
        mail.send_mail("mail", "x", None, [JANE], using="queue"),
        mail.send_mass_mail([("mass", "x", None, [JANE])], using="queue"),
    )
    mail.mail_admins("admins", "x", using="queue")
    mail.mailers["queue"].send_messages([message(subject="mailer")])

    assert ["message", "mail", "mass", "[Django] admins", "mailer"] == subjects()
    assert {""} == set(Email.objects.values_list("backend_alias", flat=True))
