"""What arrives is what Django's own SMTP backend would have sent: equal after parsing, with the same envelope.

MAILQUEUE_EXAMPLES says how many messages are tried: `make test ARGS=tests/db/test_fidelity.py MAILQUEUE_EXAMPLES=2000`
tries more than is usual.
"""

import os
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage as MimeMessage
from email.message import MIMEPart
from email.mime.image import MIMEImage
from email.policy import default
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exception
from typing import Any

import django
import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, assume, given, note, settings
from pytest_django import Settings

from mailqueue.delivery.letter import UnreadableError
from mailqueue.outbox.messages import source_of
from mailqueue.outbox.simple import simple_draft
from tests.support.fidelity import Journey, Wire, frozen, parsed, readable, sent_by_django, sent_by_outbox
from tests.support.messages import builds_itself, messages, ordinary_messages

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:MIMEBase attachments are deprecated"),  # Django 6.1 still sends them
]
examples = settings(
    max_examples=int(os.environ.get("MAILQUEUE_EXAMPLES", "200")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True, scope="module")
def media() -> Iterator[None]:
    with TemporaryDirectory() as folder, override_settings(MEDIA_ROOT=Path(folder)):
        yield


def describe(message: EmailMessage, journey: object) -> None:
    for name, value in vars(message).items():
        note(f"{type(message).__name__}.{name} = {value!r}")
    if isinstance(journey, Exception):
        note("".join(format_exception(journey)))


@examples
@given(message=messages())
def test_what_goes_over_the_wire_is_what_django_would_have_sent(message: EmailMessage) -> None:
    before = frozen(message)
    journey = sent_by_outbox(message)
    after = frozen(message)
    djangos = sent_by_django(message)
    describe(message, journey)

    assert before == after
    if not isinstance(djangos, Wire) or not isinstance(journey, Journey):
        assert type(djangos) is type(journey)
        return
    ours = journey.wire
    assert (djangos.reverse_path, djangos.forward_paths) == (ours.reverse_path, ours.forward_paths)
    assert parsed(djangos.content) == parsed(ours.content)
    if builds_itself(message):
        assert djangos.content == ours.content


def test_the_messages_that_are_tried_are_built_or_not_as_in_life() -> None:
    ways: Counter[bool] = Counter()

    @settings(max_examples=200, database=None, suppress_health_check=list(HealthCheck))
    @given(message=messages())
    def count(message: EmailMessage) -> None:
        ways[simple_draft(message) is not None] += 1

    count()
    assert 30 <= ways[True] <= 170, ways


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
@pytest.mark.parametrize("headers", [{}, {"Precedence": "bulk"}], ids=["not built", "built"])
def test_the_date_is_written_as_django_writes_it(
    settings: Settings, is_local: bool, zone: str, headers: dict[str, str]
) -> None:
    settings.EMAIL_USE_LOCALTIME = is_local
    settings.TIME_ZONE = zone
    given = message(headers=headers)
    assert (simple_draft(given) is None) == bool(headers)
    with timezone.override("Asia/Kolkata"):
        journey, djangos = sent_by_outbox(given), sent_by_django(given)
    assert isinstance(journey, Journey)
    assert isinstance(djangos, Wire)

    assert date_line(djangos.content) == date_line(journey.wire.content)


def date_line(content: bytes) -> bytes:
    return next(line for line in content.splitlines() if line.startswith(b"Date: "))


@pytest.mark.parametrize("charset", ["iso-8859-1", "UTF-8", "koi8-r"])
def test_a_default_charset_of_the_projects_is_kept(settings: Settings, charset: str) -> None:
    settings.DEFAULT_CHARSET = charset
    given = message(subject="Grüße" if charset != "koi8-r" else "Привет", body="été" if charset[0] == "i" else "Мир")
    journey, djangos = sent_by_outbox(given), sent_by_django(given)
    assert isinstance(journey, Journey)
    assert isinstance(djangos, Wire)

    assert parsed(djangos.content) == parsed(journey.wire.content)


@pytest.mark.parametrize("name", ["reply_to", "attachments", "alternatives"])
@pytest.mark.parametrize("headers", [{}, {"Precedence": "bulk"}, {"Date": ""}], ids=["not built", "built", "parts"])
def test_none_in_place_of_a_list_is_taken_as_django_takes_it(name: str, headers: dict[str, str]) -> None:
    given = message(headers=headers)
    setattr(given, name, None)
    journey, djangos = sent_by_outbox(given), sent_by_django(given)
    assert isinstance(journey, Journey)
    assert isinstance(djangos, Wire)

    assert parsed(djangos.content) == parsed(journey.wire.content)


@pytest.mark.parametrize("length", [55, 60, 61, 70, 75, 76, 77, 78, 100, 500, 1000])
@pytest.mark.parametrize("value", ["", " ", "x", "x" * 900, "ü" * 300])
def test_a_long_name_of_a_header_is_taken_or_refused_as_by_django(length: int, value: str) -> None:
    given = message(headers={"X-" + "a" * (length - 2): value})
    journey, djangos = sent_by_outbox(given), sent_by_django(given)

    if isinstance(djangos, Wire) and isinstance(journey, Journey):
        assert parsed(djangos.content) == parsed(journey.wire.content)
    else:
        assert type(djangos) is type(journey)


@examples
@given(message=ordinary_messages())
def test_a_backend_that_reads_the_parts_finds_those_that_the_caller_gave(message: EmailMessage) -> None:
    wanted = readable(message)
    journey = sent_by_outbox(message)
    describe(message, journey)
    assume(isinstance(journey, Journey))
    # The few that can't be taken apart are kept as bytes. Such a backend is refused those.
    if is_kept_whole(journey):
        with pytest.raises(UnreadableError):
            readable(journey.message)
        return
    found = readable(journey.message)
    made = {"date", "message-id"} - {name for name, _ in wanted["headers"]}
    found["headers"] = [(name, value) for name, value in found["headers"] if name not in made]

    assert wanted == found


def is_kept_whole(journey: Journey) -> bool:
    source = source_of(journey.row)
    return source is not None and source.message is not None


def message(**fields: Any) -> EmailMultiAlternatives:
    given = {
        "subject": "Hi",
        "body": "Hello\n",
        "from_email": "shop@example.com",
        "to": ["jane@example.com"],
        **fields,
    }
    return EmailMultiAlternatives(**given)


def arrived(given: EmailMessage) -> MimeMessage:
    journey = sent_by_outbox(given)
    assert isinstance(journey, Journey)
    return message_from_bytes(journey.wire.content, policy=default)


def test_calendar_and_amp_arrive_beside_html_in_the_callers_order() -> None:
    given = message()
    given.attach_alternative("<html ⚡4email></html>", "text/x-amp-html")
    given.attach_alternative("<p>Hello</p>", "text/html")
    given.attach_alternative("BEGIN:VCALENDAR\nEND:VCALENDAR\n", "text/calendar")
    found = arrived(given)

    assert ("multipart/alternative", ["text/plain", "text/x-amp-html", "text/html", "text/calendar"]) == (
        found.get_content_type(),
        [part.get_content_type() for part in found.iter_parts()],
    )
    assert ["Hello", "<html ⚡4email></html>", "<p>Hello</p>"] == [
        part.get_content().strip() for part in list(found.iter_parts())[:3]
    ]


def test_declared_types_and_charsets_arrive() -> None:
    given = message(body="Привет", attachments=[("a.dat", b"\x00", "application/x-thing; v=1")])
    given.attach("a.txt", "Мир", "text/x-log")
    given.encoding = "koi8-r"
    body, thing, log = list(arrived(given).iter_parts())

    assert ("koi8-r", "Привет") == (body.get_content_charset(), body.get_content().strip())
    assert ("application/x-thing", "1", b"\x00") == (
        thing.get_content_type(),
        thing.get_param("v"),
        thing.get_content(),
    )
    assert ("text/x-log", "koi8-r", "Мир") == (
        log.get_content_type(),
        log.get_content_charset(),
        log.get_content().strip(),
    )


def page_with_logo() -> EmailMultiAlternatives:
    """A mail with an image that its HTML shows, as the running Django lets one make it."""
    given = message(body='<img src="cid:logo">')
    given.content_subtype = "html"
    if django.VERSION < (6, 0):
        given.mixed_subtype = "related"
        image = MIMEImage(b"\x89PNG", "png")
        image.add_header("Content-ID", "<logo>")
        given.attach(image)
        return given
    page = MIMEPart()
    page.set_content(given.body, subtype="html")
    page.add_related(b"\x89PNG", "image", "png", cid="<logo>")
    given.body = ""
    given.attach(page)
    return given


def test_an_inline_image_stays_with_its_page_in_multipart_related() -> None:
    found = arrived(page_with_logo())
    related = next(part for part in found.walk() if part.get_content_type() == "multipart/related")
    page, image = related.iter_parts()

    assert ("text/html", "image/png", "<logo>", b"\x89PNG") == (
        page.get_content_type(),
        image.get_content_type(),
        image["Content-ID"],
        image.get_content(),
    )


def test_the_callers_headers_are_not_changed() -> None:
    headers = {"X-Shop": "1", "message-id": "<1@shop>", "Reply-To": "a@example.com"}
    given = message(headers=headers, reply_to=["b@example.com"])
    sent_by_outbox(given)

    assert {"X-Shop": "1", "message-id": "<1@shop>", "Reply-To": "a@example.com"} == headers
    assert given.extra_headers is headers


@pytest.mark.parametrize(
    "parts", [{}, {"attachments": [("a.pdf", b"%PDF", "application/pdf; v=1")]}], ids=["row", "parts"]
)
def test_an_address_that_needs_smtputf8_is_queued_and_goes_as_it_is(parts: dict[str, Any]) -> None:
    journey = sent_by_outbox(message(to=['"Müller, J" <jürgen@bücher.example>'], **parts))
    assert isinstance(journey, Journey)
    head = journey.wire.content.partition(b"\r\n\r\n")[0].decode()

    assert ["<jürgen@xn--bcher-kva.example>"] == journey.wire.forward_paths
    assert "<jürgen@" in head
