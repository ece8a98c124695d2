"""Messages that post_office's columns can't hold: kept in parts that a backend can read, and put together again."""

from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage as MimeMessage
from email.message import Message, MIMEPart
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from post_office.models import Attachment, Email
from pytest_django import Settings

from mailqueue.models import MessageSource
from mailqueue.outbox.messages import letter_of, load, recipients_of
from tests.support.outbox import queueing

__all__ = ["queueing"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queueing")]

JANE = "jane@example.com"
CALENDAR = ("BEGIN:VCALENDAR\r\nEND:VCALENDAR", "text/calendar; method=REQUEST")
LOGO = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


def message(**fields: Any) -> EmailMultiAlternatives:
    given = {"subject": "Hi", "body": "Hello", "from_email": "shop@example.com", "to": [JANE], **fields}
    return EmailMultiAlternatives(**given)


def inline_image() -> Any:
    if django.VERSION >= (6, 0):
        part = MIMEPart()
        part.set_content(LOGO, "image", "png", disposition="inline", cid="<logo@shop>", filename="logo.png")
        return part
    from email.mime.image import MIMEImage

    image = MIMEImage(LOGO, "png")
    image.add_header("Content-ID", "<logo@shop>")
    image.add_header("Content-Disposition", "inline", filename="logo.png")
    return image


def attached_mail() -> Message:
    inner = MimeMessage()
    inner["Subject"] = "Inner"
    inner.set_content("Inner text")
    return inner if django.VERSION >= (6, 0) else message_from_bytes(inner.as_bytes())


class TaggedMessage(EmailMultiAlternatives):
    """A class that adds attributes and leaves the building to Django."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        self.tags = fields.pop("tags", [])
        super().__init__(*args, **fields)


def encoded(encoding: str) -> EmailMultiAlternatives:
    made = message(body="Grüße", subject="Grüße")
    made.encoding = encoding
    return made


IN_PARTS: dict[str, Callable[[], EmailMessage]] = {
    "a calendar": lambda: message(alternatives=[("<p>Hello</p>", "text/html"), CALENDAR]),
    "an alternative of bytes": lambda: message(alternatives=[(b"\x00\xff", "application/x-thing")]),
    "an encoding": lambda: encoded("iso-8859-1"),
    "a long subject": lambda: message(subject="long " * 300),
    "an inline image": lambda: message(
        alternatives=[("<img src='cid:logo@shop'>", "text/html")], attachments=[inline_image()]
    ),
    "two equal images": lambda: message(attachments=[inline_image(), inline_image()]),
    "an image and a file": lambda: message(
        attachments=[("b.pdf", b"%PDF", "application/pdf"), inline_image(), ("a.txt", "Grüße", "text/plain")]
    ),
    "a file without a name": lambda: message(attachments=[(None, b"x", "application/x-thing")]),
    "a type with parameters": lambda: message(attachments=[("a", b"x", "application/x-thing; v=1")]),
    "a mail as bytes": lambda: message(attachments=[("m.eml", b"Subject: x\n\nbody\n", "message/rfc822")]),
    "addresses that no list survives": lambda: message(to=["Jane <jane@example.com", JANE]),
}
IF_BUILT = {"addresses that no list survives": django.VERSION < (6, 0), "a type with parameters": True}


def attributes(made: EmailMessage) -> dict[str, Any]:
    names = ("subject", "body", "content_subtype", "encoding", "from_email", "to", "cc", "bcc", "reply_to")
    return {name: getattr(made, name) for name in names}


def comparable(attachment: Any) -> Any:
    return attachment.as_bytes() if isinstance(attachment, Message) else tuple(attachment)


def queued(original: EmailMessage) -> Any:
    """Queue a message and give it as a backend would get it."""
    original.send()
    row = Email.objects.get()
    return letter_of(load([row.pk], using="default")[row.pk], recipients=[JANE]).build()


@pytest.mark.parametrize("name", [name for name in IN_PARTS if IF_BUILT.get(name, True)])
def test_a_backend_can_read_every_part_of_a_message_that_post_office_cannot_hold(name: str) -> None:
    original = IN_PARTS[name]()
    arrived = queued(original)

    assert MessageSource.objects.get().message is None
    assert attributes(original) == attributes(arrived)
    assert list(original.alternatives) == list(arrived.alternatives)
    assert [comparable(a) for a in original.attachments] == [comparable(a) for a in arrived.attachments]
    assert original.extra_headers.items() <= arrived.extra_headers.items()


def test_contents_of_parts_are_files_that_people_can_open() -> None:
    queued(message(attachments=[inline_image()]))
    stored = Attachment.objects.get()

    with stored.file.open() as file:
        assert ("logo.png", "image/png", LOGO) == (stored.name, stored.mimetype, file.read())


def test_a_mail_within_the_mail_keeps_its_identity() -> None:
    inner = EmailMessage("Inner", "Inner text", "shop@example.com", [JANE])
    arrived = queued(message(attachments=[("m.eml", inner, "message/rfc822")]))
    builds = [part.as_bytes() for _ in range(2) for part in arrived.message().walk() if part.get("Subject") == "Inner"]

    assert MessageSource.objects.get().message is None
    assert builds[0] == builds[1]


def test_an_attached_message_object_is_kept_in_parts_too() -> None:
    arrived = queued(message(attachments=[("m.eml", attached_mail(), "message/rfc822")]))

    assert MessageSource.objects.get().message is None
    assert b"Subject: Inner" in arrived.attachments[0].content


def test_a_class_that_leaves_the_building_to_django_is_no_reason_for_a_row_more() -> None:
    original = TaggedMessage("Hi", "Hello", "shop@example.com", [JANE])
    original.tags = type("UNSET", (), {})
    queued(original)

    assert not MessageSource.objects.exists()


def test_attributes_for_a_mail_service_are_set_again() -> None:
    arrived = queued(TaggedMessage("Hi", "Hello", "shop@example.com", [JANE], tags=["order"]))

    assert ["order"] == arrived.tags


def test_an_attribute_that_can_not_be_stored_is_refused_and_nothing_is_written() -> None:
    with pytest.raises(TypeError, match="tags"):
        TaggedMessage("Hi", "Hello", "shop@example.com", [JANE], tags={"order"}).send()

    assert not Email.objects.exists()


def test_what_json_can_not_hold_is_kept_as_bytes() -> None:
    original = message(body="a\0b", attachments=[inline_image()])
    original.send()

    assert MessageSource.objects.get().message is not None


def test_the_override_replaces_the_recipients_of_parts_as_post_office_does(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "OVERRIDE_RECIPIENTS": ["test@example.com"]}
    arrived = queued(message(alternatives=[CALENDAR], cc=["cc@example.com"]))

    assert ["test@example.com", "cc@example.com"] == arrived.recipients()


def test_a_pair_of_name_and_address_is_taken_where_django_takes_it() -> None:
    original = message(bcc=[("Jane", "jane.doe@example.com")])
    if django.VERSION >= (6, 0):
        with pytest.raises(ValueError, match="Invalid address"):
            original.send()
        return
    original.send()
    row = Email.objects.get()

    assert [JANE, "Jane <jane.doe@example.com>"] == recipients_of(load([row.pk], using="default")[row.pk])


def test_what_we_made_is_in_the_mail_and_not_among_the_callers_headers() -> None:
    arrived = queued(message(headers={"X-Shop": "7"}))
    builds = [arrived.message() for _ in range(2)]

    assert {"X-Shop": "7"} == arrived.extra_headers
    assert Email.objects.get().message_id == builds[0]["Message-ID"] == builds[1]["Message-ID"]
    assert Email.objects.get().headers["Date"] == builds[0]["Date"]


@pytest.mark.parametrize("own", [{"Message-ID": "<7@shop>"}, {"Date": "Sat, 21 Nov 2026 08:00:00 +0000"}])
def test_a_message_id_or_date_of_the_callers_stays_among_his_headers(own: dict[str, str]) -> None:
    arrived = queued(message(headers=own))

    assert own.items() <= arrived.extra_headers.items()


def test_what_a_services_template_is_to_give_stays_unset() -> None:
    original: Any = message()
    original.subject = original.body = original.from_email = None
    original.template_id = "welcome"
    arrived = queued(original)

    assert (None, None, None, "welcome") == (
        arrived.subject,
        arrived.body,
        arrived.from_email,
        arrived.template_id,
    )
