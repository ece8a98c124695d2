"""`mailqueue.send`: attachments, given as post_office takes them."""

from contextlib import ExitStack
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.files.base import ContentFile, File
from django.db import transaction
from post_office import mail as post_office_mail
from post_office.models import Attachment, Email, EmailTemplate
from pytest_django import Settings

import mailqueue
from mailqueue.outbox import attachment_dicts
from mailqueue.outbox.attachment_dicts import AttachmentDicts
from mailqueue.outbox.messages import letter_of, recipients_of
from mailqueue.outbox.serial import serialised
from mailqueue.outbox.size import MessageTooLargeError
from tests.support.outbox import queueing
from tests.support.sending import JANE, SHOP, loaded, on_the_wire, queue

__all__ = ["queueing"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queueing")]

# post_office makes such parts of the kind that Django 6.1 will drop.
PARTS_OF_POST_OFFICE = pytest.mark.filterwarnings("ignore:MIMEBase attachments are deprecated")
PNG = b"\x89PNG\r\n\x1a\n\x00\xff" * 20


class RefusedError(Exception):
    """Raised by a caller in the middle of a transaction."""


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


def files(media: Path) -> list[Path]:
    return [path for path in media.rglob("*") if path.is_file()]


def attached(mail: Email) -> list[tuple[str | None, str, bytes]]:
    return [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in on_the_wire(mail).iter_attachments()
    ]


def test_paths_files_and_dicts_are_attached_as_post_office_does(tmp_path: Path) -> None:
    path = tmp_path / "bill.pdf"
    path.write_bytes(b"%PDF")

    def given() -> dict[str, Any]:
        return {
            "bill.pdf": str(path),
            "notes.txt": ContentFile("Grüße\n"),
            "logo.png": ContentFile(PNG),
            "data": {"file": ContentFile(b"{}"), "mimetype": "application/json"},
            "binary.txt": ContentFile(b"\xff\xfe"),
        }

    ours = queue(subject="Hi", attachments=given())
    theirs = post_office_mail.send(JANE, SHOP, subject="Hi", attachments=given())

    assert attached(theirs) == attached(ours)
    assert 5 == len(attached(ours))


def test_bytes_pathlib_paths_and_any_open_file_are_attached_too(tmp_path: Path) -> None:
    path = tmp_path / "bill.pdf"
    path.write_bytes(b"%PDF")
    with path.open("rb") as opened:
        opened.read(2)
        mail = queue(
            subject="Hi",
            attachments={"a.pdf": path, "b.pdf": b"%PDF", "c.pdf": opened, "d.pdf": File(BytesIO(b"%PDF"))},
        )
        assert (False, 2) == (opened.closed, opened.tell())

    assert [(f"{name}.pdf", "application/pdf", b"%PDF") for name in "abcd"] == attached(mail)


def test_a_large_file_is_not_read_into_memory_to_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media: Path
) -> None:
    monkeypatch.setattr(attachment_dicts, "SPOOL_BYTES", 10)
    path = tmp_path / "large.bin"
    path.write_bytes(PNG)
    with ExitStack() as stack:
        (content,) = AttachmentDicts(until=stack).contents_of({"large.bin": str(path)})
        assert isinstance(content.data, File)
    mails = mailqueue.send_many(
        [{"recipients": JANE, "sender": SHOP, "attachments": {"large.bin": str(path)}} for _ in range(3)]
    )

    assert (3, 1) == (len(mails), len(files(media)))
    assert [("large.bin", "application/octet-stream", PNG)] == attached(mails[2] or Email())


class Stream(BytesIO):
    """What can be read only once, like a response."""

    def seekable(self) -> bool:
        return False


def test_streams_text_files_and_stored_files_are_attached_too(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Grüße\n", encoding="utf-8")
    stored = queue(subject="Hi", attachments={"a.pdf": b"%PDF"}).attachments.get().file
    with (tmp_path / "notes.txt").open(encoding="utf-8") as text:
        mail = queue(
            subject="Hi", attachments={"a.bin": Stream(b"abc"), "b.txt": text, "c.pdf": stored, "d.txt": StringIO("ä")}
        )

    assert [b"abc", "Grüße".encode(), b"%PDF", "ä".encode()] == [
        content.replace(b"\r\n", b"\n").removesuffix(b"\n") for _, _, content in attached(mail)
    ]


@pytest.mark.parametrize("attachment", [PNG * 10, ContentFile(PNG * 10), BytesIO(PNG * 10), Stream(PNG * 10)])
def test_a_mail_that_is_too_large_with_its_attachment_is_refused(
    settings: Settings, media: Path, attachment: Any
) -> None:
    settings.MAILQUEUE = {"MAX_MESSAGE_BYTES": 2_000}
    queue(subject="Hi", attachments={"a.png": PNG * 2})
    Email.objects.all().delete()
    with pytest.raises(MessageTooLargeError, match="at most 2,000 are allowed"):
        queue(subject="Hi", attachments={"a.png": attachment})

    assert (False, 1) == (Email.objects.exists(), len(files(media)))


def test_a_text_that_is_too_large_is_refused(settings: Settings) -> None:
    settings.MAILQUEUE = {"MAX_MESSAGE_BYTES": 2_000}
    with pytest.raises(MessageTooLargeError, match="at most 2,000 are allowed"):
        queue(subject="Hi", message="x" * 2_001)

    assert not Email.objects.exists()


SIZED: dict[str, dict[str, Any]] = {
    "umlauts": {"message": "ü" * 4_900},
    "a long line of umlauts": {"message": "ü" * 4_900, "html_message": "ü" * 4_900},
    "an own header": {"message": "x", "headers": {"X-A": "x" * 900}},
    "many copies": {"message": "x", "cc": [f"a{number}@example.com" for number in range(300)]},
    "an expiry": {"message": "x", "expires_in": 3_600},
    "a picture": {"attachments": {"a.png": PNG * 1_000}},
    "an opened picture": {"attachments": {"a.png": ContentFile(PNG * 1_000)}},
    "nothing in a file": {"attachments": {"a.png": b"", "b.txt": b""}},
    "57 bytes": {"attachments": {"a.png": b"x" * 57, "b.png": b"x" * 58, "c.png": b"x" * 56}},
    "a text": {"message": "x", "attachments": {"a.txt": "ü\n".encode() * 4_000}},
    "a text with long lines": {"message": "x", "attachments": {"a.txt": "ü".encode() * 4_000}},
    "what is called a text": {"message": "x", "attachments": {"a.txt": b"\xff\xfe" * 4_000}},
    "a mail": {"attachments": {"a": {"file": b"Subject: x\n\n" + b"x\n" * 4_000, "mimetype": "message/rfc822"}}},
    "headers": {"attachments": {"a.png": {"file": PNG * 1_000, "headers": {"X-A": "x" * 500}}}},
}


@PARTS_OF_POST_OFFICE
@pytest.mark.parametrize("name", SIZED)
def test_a_mail_is_refused_from_the_first_byte_over_the_limit(name: str, settings: Settings) -> None:
    given = {"headers": {}, **SIZED[name]}
    given["headers"] = {"Message-ID": "<1@example.com>", **given["headers"]}
    size = wire_size(queue(subject="Hi", **given))
    Email.objects.all().delete()

    settings.MAILQUEUE = {"MAX_MESSAGE_BYTES": size}
    assert size == wire_size(queue(subject="Hi", **given))
    settings.MAILQUEUE = {"MAX_MESSAGE_BYTES": size - 1}
    with pytest.raises(MessageTooLargeError) as raised:
        queue(subject="Hi", **given)
    assert (size, size - 1, 1) == (raised.value.size, raised.value.limit, Email.objects.count())


def wire_size(mail: Email) -> int:
    row = loaded(mail)
    return len(serialised(letter_of(row, recipients=recipients_of(row)).build()))


def test_a_large_picture_is_measured_without_being_read(settings: Settings, tmp_path: Path) -> None:
    settings.MAILQUEUE = {"MAX_MESSAGE_BYTES": 3_000_000}
    path = tmp_path / "a.bin"
    with path.open("wb") as file:
        file.truncate(2_150_000)
    read: list[int] = []

    class Watched(File):  # type: ignore[type-arg]
        def read(self, size: int = -1) -> bytes:
            read.append(size)
            return bytes(self.file.read(size))

    with path.open("rb") as file:
        queue(subject="Hi", attachments={"a.bin": Watched(file)})

    assert -1 not in read
    assert read


@PARTS_OF_POST_OFFICE
def test_headers_of_an_attachment_arrive_and_its_bytes_survive() -> None:
    headers = {"Content-ID": "<logo>", "Content-Disposition": 'inline; filename="logo.png"'}
    mail = queue(
        subject="Hi",
        html_message='<img src="cid:logo">',
        attachments={"logo.png": {"file": ContentFile(PNG), "mimetype": "image/png", "headers": headers}},
    )
    (part,) = [part for part in on_the_wire(mail).walk() if part.get_content_type() == "image/png"]

    assert ("<logo>", "logo.png", PNG) == (part["Content-ID"], part.get_filename(), part.get_payload(decode=True))


@PARTS_OF_POST_OFFICE
def test_headers_without_a_type_get_the_type_of_the_name() -> None:
    mail = queue(subject="Hi", attachments={"logo.png": {"file": PNG, "headers": {"X-A": "1"}}})

    assert ["image/png"] == [part.get_content_type() for part in on_the_wire(mail).walk() if part["X-A"]]


@PARTS_OF_POST_OFFICE
def test_a_file_that_is_given_encoded_is_sent_as_it_is() -> None:
    headers = {"Content-Transfer-Encoding": "base64"}
    mail = queue(subject="Hi", attachments={"a.png": {"file": ContentFile(b"UE5H\n"), "headers": headers}})

    assert [b"PNG"] == [
        part.get_payload(decode=True) for part in on_the_wire(mail).walk() if part.get_content_maintype() == "image"
    ]


def test_a_message_that_the_columns_cannot_hold_keeps_its_attachments() -> None:
    mail = queue(
        subject="long " * 250,
        message="Hello",
        attachments={
            "a.txt": b"text",
            "logo.png": {"file": PNG, "mimetype": "image/png", "headers": {"Content-ID": "<logo>"}},
        },
    )
    found = [(part.get_content_type(), part["Content-ID"]) for part in on_the_wire(mail).walk()]

    assert [("text/plain", None), ("text/plain", None), ("image/png", "<logo>")] == found[1:]
    assert PNG == [part.get_payload(decode=True) for part in on_the_wire(mail).walk()][-1]


def test_a_template_that_is_rendered_on_delivery_keeps_its_attachments() -> None:
    template = EmailTemplate.objects.create(name="bill", subject="Bill", content="See the attachment.")
    mail = queue(template=template, render_on_delivery=True, attachments={"bill.pdf": b"%PDF"})

    assert [("bill.pdf", "application/pdf", b"%PDF")] == attached(mail)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "a list": (["a.pdf"], TypeError, "attachments must be a dict"),
    "a path that is not there": ({"a.pdf": "/nowhere/a.pdf"}, FileNotFoundError, "nowhere"),
    "nothing": ({"a.pdf": None}, TypeError, "'a.pdf' must be a path, a file or bytes"),
    "a dict without a file": ({"a.pdf": {"mimetype": "application/pdf"}}, TypeError, "must be a path"),
    "no name": ({"": b"x"}, ValueError, "1 to 255 characters"),
    "a long name": ({"x" * 256: b"x"}, ValueError, "1 to 255 characters"),
    "a line break in the name": ({"a\nb.pdf": b"x"}, ValueError, "line break"),
    "a line break in the type": ({"a": {"file": b"x", "mimetype": "a/b\nX-C: d"}}, ValueError, "line break"),
    "no type": ({"a.pdf": {"file": b"x", "mimetype": "pdf"}}, ValueError, "'a.pdf' of type 'pdf' can't be sent"),
    **{
        f"headers and the type {mimetype}": (
            {"a.b": {"file": b"x", "mimetype": mimetype, "headers": {"X-A": "1"}}},
            ValueError,
            "'a.b' has headers, so its type must be like 'image/png'",
        )
        for mimetype in ("a/b/c", "text/plain; charset=utf-8", 'a/x; a="b/c"', "text/", "pdf")
    },
    "a header with a space": ({"a": {"file": b"x", "headers": {"X Y": "1"}}}, ValueError, "'X Y', a header of 'a'"),
    "a header with a colon": ({"a": {"file": b"x", "headers": {"X:Y": "1"}}}, ValueError, "'X:Y', a header of 'a'"),
    "a header without a name": ({"a": {"file": b"x", "headers": {"": "1"}}}, ValueError, "'', a header of 'a'"),
    "a report with headers": (
        {"a": {"file": b"x", "mimetype": "message/delivery-status", "headers": {"X-A": "1"}}},
        ValueError,
        "'a' of type 'message/delivery-status' can't be sent",
    ),
    "headers of no kind": ({"a.pdf": {"file": b"x", "headers": "X-A: 1"}}, TypeError, "headers of 'a.pdf'"),
    "a line break in a header": ({"a": {"file": b"x", "headers": {"X-A": "1\nX-B: 2"}}}, ValueError, "line break"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_at_the_call_and_nothing_is_written(name: str, media: Path) -> None:
    attachments, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        queue(subject="Hi", attachments=attachments)

    assert (False, []) == (Email.objects.exists(), files(media))


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="Django 6.0 can send it")
def test_a_report_that_django_builds_but_cannot_send_is_refused_at_the_call() -> None:
    with pytest.raises(ValueError, match="'a' of type 'message/delivery-status' can't be sent"):
        queue(subject="Hi", attachments={"a": {"file": b"Status: 5.1.1\n", "mimetype": "message/delivery-status"}})


def test_a_text_that_the_default_charset_has_no_letters_for_is_refused_at_the_call(settings: Settings) -> None:
    settings.DEFAULT_CHARSET = "iso-8859-1"
    queue(subject="Hi", attachments={"a.txt": "Grüße".encode()})
    try:
        mail = queue(subject="Hi", attachments={"a.txt": b"x" * 2_000 + "世界".encode()})
    except ValueError as error:
        assert "'a.txt' can't be sent" in str(error)  # noqa: PT017
    else:
        assert on_the_wire(mail)


KINDS = ["", "a/b/c", "text/plain", "text/csv; charset=latin-1", "image/png", "message/rfc822", "multipart/mixed"]
KINDS += ["message/delivery-status", "message/partial", 'application/x; a="b/c"', "text/", "x", "text/calendar; m=R"]
HEADERS = [None, {"Content-ID": "<x>"}, {"": "x"}, {"X Y": "z"}, {"Content-Type": "image/gif"}, {"Content-ID": "ü"}]
HEADERS += [{"Content-Disposition": "inline"}, {"Content-Transfer-Encoding": "7bit"}, {"X-A": ""}, {"X" * 80: ""}]
HEADERS += [{"content-id": "<x>", "Content-ID": "<y>"}, {"X-A": "x" * 2_000}, {"X-A": "a\x85b"}]


@PARTS_OF_POST_OFFICE
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_what_is_taken_can_be_sent(kind: str, header: dict[str, str] | None) -> None:
    for data in (
        b"",
        b"x",
        b"\xff\xfe\0",
        "ü\r\nx\n".encode(),
        b"Subject: a\n\nb",
        b"Subject: \xff\nX:",
        b"x" * 1_200,
    ):
        try:
            mail = queue(subject="Hi", attachments={"a.png": {"file": data, "mimetype": kind, "headers": header}})
        except ValueError as error:
            assert "'a.png'" in str(error)  # noqa: PT017
        else:
            assert on_the_wire(mail)


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 5.2 takes every type")
def test_a_type_that_django_refuses_is_refused_at_the_call() -> None:
    with pytest.raises(ValueError, match="message/partial"):
        queue(subject="Hi", attachments={"a": {"file": b"x", "mimetype": "message/partial"}})


@pytest.mark.django_db(transaction=True)
def test_a_rollback_leaves_no_file(media: Path) -> None:
    with pytest.raises(RefusedError), transaction.atomic():
        queue(subject="Hi", attachments={"a.pdf": b"%PDF"})
        assert 1 == len(files(media))
        raise RefusedError

    assert ([], False) == (files(media), Attachment.objects.exists())


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_its_key_keeps_from_being_queued_stores_nothing(media: Path) -> None:
    for content in (b"first", b"second"):
        queue(subject="Hi", key="order-1", attachments={"a.pdf": content})

    assert [b"first"] == [path.read_bytes() for path in files(media)]
