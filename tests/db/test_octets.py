"""Usual mails are sent without building a message, and nobody can tell: the same envelope, the same octets."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from post_office.models import STATUS, Attachment, Email, EmailTemplate
from pytest_django import Settings

import mailqueue
from mailqueue import EmailBackend
from mailqueue.delivery.letter import Letter
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.delivery.wire import SealedLetter, seal
from mailqueue.outbox.identity import fix_identity
from mailqueue.outbox.messages import letter_of, load, load_rows, recipients_of
from mailqueue.queue.mails import PlainMail
from mailqueue.testing import SmtpServer
from tests.support.letters import OPEN
from tests.support.messages import messages
from tests.support.outbox import queueing

__all__ = ["queueing"]
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:MIMEBase attachments are deprecated"),  # Django 6.1 still sends them
]

JANE = "jane@example.com"
SHOP = "Our Shop <shop@example.com>"
BACKEND = SmtpBackend(alias="test", host="localhost", port=25)
BOUNDARY = re.compile(rb"={15}\d{19}==")
LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
examples = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True, scope="module")
def media() -> Iterator[None]:
    with TemporaryDirectory() as folder, override_settings(MEDIA_ROOT=Path(folder)):
        yield


class _RolledBackError(Exception):
    """Ends an example."""


def row(**fields: Any) -> Email:
    """Write a row as other programs do, and give it its identity as the sender does."""
    plain = {"from_email": SHOP, "to": [JANE], "subject": "Your order", "message": "Thanks\n", "status": STATUS.queued}
    (made,) = Email.objects.bulk_create([Email(**plain | fields)])  # which asks no validator
    fix_identity([made], using="default")
    return made


def letter(mail: Email, *, read: Callable[..., Any] = load) -> Letter:
    found = read([mail.pk], using="default")[mail.pk]
    return letter_of(found, recipients=recipients_of(found))


def sealed(given: Letter) -> SealedLetter | str:
    """Seal a letter, or say which error that comes to; boundaries have no names."""
    try:
        made = seal(given, BACKEND)
    except Exception as error:  # noqa: BLE001 - to be compared
        return repr(error)
    return replace(made, content=BOUNDARY.sub(b"", made.content))


def built(given: Letter) -> SealedLetter | str:
    return sealed(Letter(given.envelope_from, given.recipients, given.build))


def is_written(given: Letter) -> bool:
    return given.write() is not None


USUAL: dict[str, dict[str, Any]] = {
    "a text": {},
    "a text and HTML": {"html_message": "<p>Thanks</p>"},
    "HTML only": {"message": "", "html_message": "<p>Thanks</p>"},
    "nothing": {"message": "", "subject": "."},
    "umlauts": {"subject": "Schöne Grüße", "message": "Grüße\n", "html_message": "<p>Grüße \U0001f600</p>"},
    "long lines": {"message": "A long line. " * 100, "html_message": "<p>Ein Gespräch. </p>" * 100},
    "several recipients": {"to": [JANE, "Ann <ann@example.com>"], "cc": ['"Doe, Joe" <joe@example.com>']},
    "only blind copies": {"to": [], "bcc": [JANE, "ann@example.com"]},
    "headers": {
        "headers": {"X-Order": "1", "List-Unsubscribe": "<https://example.com/u>", "Reply-To": "a@example.com"}
    },
    "a Reply-To of two": {"headers": {"Reply-To": "a@example.com, Bob <b@example.com>"}},
    "its own Message-ID": {"headers": {"Message-ID": "<own@example.com>", "X-Order": "1"}},
    "its own Date": {"headers": {"Date": "Sat, 21 Nov 2026 09:30:00 +0100", "X-Order": "1"}},
    "an end": {"expires_at": LONG_AGO, "headers": {"X-Order": "1"}},
    "a From without a name": {"from_email": "shop@example.com"},
    "a context without a template": {"context": {"name": "Ann"}},
}
UNUSUAL: dict[str, dict[str, Any]] = {
    "a header that is a number": {"headers": {"X-Order": 1}},
    "headers that are no object": {"headers": ["X-Order"]},
    "a Sender": {"headers": {"Sender": "shop@example.com"}},
    "another From": {"headers": {"From": "boss@example.com"}},
    "a To of the headers": {"headers": {"To": "everybody@example.com"}},
    "a Reply-To that is none": {"headers": {"Reply-To": ","}},
    "a line break": {"subject": "Your order\nBcc: eve@example.com"},
    "an end that is named twice": {"expires_at": LONG_AGO, "headers": {"expires": "never"}},
    "no From": {"from_email": ""},
    "many in the header": {"to": [f"customer-{number}@example.com" for number in range(200)]},
}
PROBLEMATIC: dict[str, dict[str, Any]] = {
    "no recipient": {"to": []},
    "a recipient that is none": {"to": ["jane@"]},
    "a recipient in UTF-8": {"to": ["jörg@example.com", JANE]},
    "a host in UTF-8": {"to": ["Jörg <joerg@exämple.com>"]},
    "a From that is none": {"from_email": "The Shop"},
    "a From in UTF-8": {"from_email": "Büro <büro@example.com>"},
    "a Reply-To in UTF-8": {"headers": {"Reply-To": "büro@example.com"}},
    "a stranger's bytes": {"message": "\x0b\x85\u2028\r\n.\r\nFrom me\r", "html_message": "\x7f\ufeff"},
}


@pytest.mark.parametrize("read", [load, load_rows])
@pytest.mark.parametrize("name", USUAL)
def test_a_usual_row_goes_out_as_it_would_if_it_were_built(name: str, read: Callable[..., Any]) -> None:
    given = letter(row(**USUAL[name]), read=read)

    assert is_written(given)
    assert built(given) == sealed(given)


@pytest.mark.parametrize("read", [load, load_rows])
@pytest.mark.parametrize("name", [*UNUSUAL, *PROBLEMATIC])
def test_any_other_row_goes_out_or_fails_as_it_would_if_it_were_built(name: str, read: Callable[..., Any]) -> None:
    given = letter(row(**(UNUSUAL | PROBLEMATIC)[name]), read=read)

    assert name in PROBLEMATIC or not is_written(given)
    assert built(given) == sealed(given)


def test_a_usual_letter_is_sealed_without_a_message() -> None:
    def build() -> EmailMessage:
        raise AssertionError

    given = letter(row(html_message="<p>Thanks</p>"))

    assert built(given) == sealed(replace(given, build=build))


@examples
@given(message=messages())
@pytest.mark.usefixtures("queueing")
def test_a_queued_message_goes_out_as_it_would_if_it_were_built(message: EmailMessage) -> None:
    with suppress(_RolledBackError), transaction.atomic():
        with suppress(Exception), transaction.atomic():  # what Django refuses
            EmailBackend().send_messages([message])
        for mail in Email.objects.all():
            given = letter(mail)
            assert built(given) == sealed(given)
        raise _RolledBackError


def test_of_the_messages_that_are_tried_many_are_written() -> None:
    ways: Counter[bool] = Counter()

    @settings(max_examples=200, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(message=messages())
    def count(message: EmailMessage) -> None:
        with suppress(_RolledBackError), transaction.atomic():
            with suppress(Exception), transaction.atomic():
                EmailBackend().send_messages([message])
            for mail in Email.objects.all():
                ways[is_written(letter(mail))] += 1
            raise _RolledBackError

    count()

    assert ways[True] >= 20, ways


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=100)


@examples
@given(
    subject=texts.map(lambda text: text[:900]),
    message=texts,
    html=texts,
    headers=st.none() | st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z-]{0,20}", fullmatch=True), texts, max_size=3),
    to=st.lists(st.sampled_from([JANE, "Ann <ann@example.com>", "Jörg <joerg@example.com>", "x"]), max_size=3),
    expires_at=st.none() | st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_any_row_goes_out_as_it_would_if_it_were_built(
    subject: str, message: str, html: str, headers: Any, to: list[str], expires_at: datetime | None
) -> None:
    with suppress(_RolledBackError), transaction.atomic():
        given = letter(
            row(subject=subject, message=message, html_message=html, headers=headers, to=to, expires_at=expires_at)
        )
        assert built(given) == sealed(given)
        raise _RolledBackError


def test_a_mail_with_an_attachment_is_built() -> None:
    mail = row()
    attachment = Attachment.objects.create(name="a.txt", file=ContentFile(b"x", name="a.txt"))
    attachment.emails.add(mail)

    assert not is_written(letter(mail))


def test_a_mail_that_is_rendered_on_delivery_is_built() -> None:
    template = EmailTemplate.objects.create(name="welcome", subject="Hi {{ name }}", content="Hello {{ name }}")

    assert not is_written(letter(row(template=template, context={"name": "Ann"})))


def test_a_mail_that_has_been_rendered_is_written() -> None:
    template = EmailTemplate.objects.create(name="welcome", subject="Hi {{ name }}", content="Hello {{ name }}")
    mail = mailqueue.send(JANE, SHOP, template=template, context={"name": "Ann"})
    assert mail is not None
    given = letter(mail)

    assert is_written(given)
    assert built(given) == sealed(given)


def test_a_mail_whose_options_are_kept_beside_it_is_written() -> None:
    mail = mailqueue.send(JANE, SHOP, subject="Your code", message="123", sensitive=True)
    assert mail is not None

    assert is_written(letter(mail))


def test_a_mail_to_the_rest_of_its_recipients_is_built() -> None:
    mail = row(to=[JANE, "ann@example.com"])

    assert not is_written(letter_of(load([mail.pk], using="default")[mail.pk], recipients=[JANE]))


@pytest.mark.usefixtures("queueing")
def test_a_mail_that_has_a_source_is_built() -> None:
    message = EmailMultiAlternatives("Hi", "Hello", SHOP, [JANE])
    message.attach_alternative("{}", "application/json")
    message.send()

    assert not is_written(letter(Email.objects.get()))


def test_post_offices_override_of_recipients_has_its_way(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "OVERRIDE_RECIPIENTS": ["test@example.com"]}
    given = letter(row())
    found = seal(given, BACKEND)

    assert (False, {"test@example.com": "<test@example.com>"}) == (is_written(given), found.forward_paths)
    assert b"\r\nTo: test@example.com\r\n" in found.content


def test_usual_mails_are_read_in_one_statement_without_the_orm() -> None:
    mails = [row() for _ in range(20)]
    with CaptureQueriesContext(
        connection,
    ) as statements:
        found = load([mail.pk for mail in mails], using="default")

    assert 1 == len(statements)
    assert {PlainMail} == {type(mail) for mail in found.values()}
    assert {mail.pk for mail in mails} == set(found)


def test_what_is_not_all_in_its_row_is_read_as_a_row() -> None:
    usual, odd = row(), mailqueue.send(JANE, SHOP, subject="Your code", message="123", sensitive=True)
    assert odd is not None
    found = load([usual.pk, odd.pk], using="default")

    assert {usual.pk: PlainMail, odd.pk: Email} == {pk: type(mail) for pk, mail in found.items()}
    assert {} == load([], using="default")


def test_a_second_call_with_a_key_gets_the_row_of_the_first() -> None:
    first = mailqueue.send(JANE, SHOP, subject="Your order", message="Thanks", key="order-1")
    again = mailqueue.send(JANE, SHOP, subject="Your order", message="Thanks", key="order-1")

    assert isinstance(again, Email)
    assert first == again


def test_the_identity_of_a_row_of_others_is_fixed_without_the_orm_too() -> None:
    made = Email.objects.create(from_email=SHOP, to=[JANE], status=STATUS.queued, subject="Hi")
    plain = load([made.pk], using="default")[made.pk]
    fix_identity([plain], using="default")
    made.refresh_from_db()

    assert isinstance(plain, PlainMail)
    assert (made.message_id, made.headers) == (plain.message_id, plain.headers)


@pytest.fixture
def carry() -> Iterator[Callable[..., bytes]]:
    """Sends a row to a server with these extensions, and gives the content that arrives."""
    with ExitStack() as stack:

        def carry(given: Letter, *, extensions: list[str]) -> bytes:
            server = stack.enter_context(SmtpServer(extensions=extensions))
            carrier = SmtpCarrier(SmtpBackend(alias="test", host=server.host, port=server.port))
            stack.callback(carrier.close)
            carrier.deliver(given, OPEN)
            return BOUNDARY.sub(b"", server.messages[0].content)

        yield carry


@pytest.mark.parametrize("extensions", [["8BITMIME"], []], ids=["eight bits", "seven bits"])
@pytest.mark.parametrize("name", USUAL)
def test_a_usual_row_arrives_as_it_would_if_it_were_built(
    name: str, extensions: list[str], carry: Callable[..., bytes]
) -> None:
    given = letter(row(**USUAL[name]))
    arrived = carry(given, extensions=extensions)

    assert carry(Letter(given.envelope_from, given.recipients, given.build), extensions=extensions) == arrived
    assert extensions or arrived.isascii()
