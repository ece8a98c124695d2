"""Reads a kept mail for people. Whatever bytes it is given, it answers with text and never raises."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.header import Header, decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import PurePosixPath

from project.dev.maildir import ENVELOPE_FROM, ENVELOPE_TO

UNREADABLE = (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What the standard library's parser raises for mail that is broken in one way or another."""
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
CID_LINK = re.compile(r"""(?<=["'(=])cid:([^"'()\s>]+)""", re.IGNORECASE)
LARGEST_INLINE_IMAGE = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of the list."""

    subject: str
    sender: str
    recipients: str


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    content_type: str
    content_id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ReadMail:
    """One mail, taken apart."""

    headers: list[tuple[str, str]]
    texts: list[str]
    html: str | None
    attachments: list[Attachment]
    is_broken: bool = False

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def summarize(head: bytes) -> Summary:
    try:
        headers = _headers_of(BytesHeaderParser().parsebytes(head))
    except UNREADABLE:
        return Summary("(can't be read)", "", "")

    def all_of(name: str) -> str:
        return ", ".join(value for key, value in headers if key.lower() == name.lower())

    return Summary(
        subject=all_of("Subject"),
        sender=all_of("From") or all_of(ENVELOPE_FROM),
        recipients=all_of(ENVELOPE_TO).replace("<", "").replace(">", ""),
    )


def read(source: bytes) -> ReadMail:
    try:
        return _read(message_from_bytes(source))
    except UNREADABLE:
        return ReadMail(headers=[], texts=[], html=None, attachments=[], is_broken=True)


def html_with_images(mail: ReadMail) -> str:
    """The mail's HTML with its own images (cid: links) put in place as data, for nothing else may be loaded."""
    images = {
        attachment.content_id: attachment
        for attachment in mail.attachments
        if attachment.content_type.startswith("image/") and len(attachment.content) <= LARGEST_INLINE_IMAGE
    }

    def replace(link: re.Match[str]) -> str:
        image = images.get(link[1])
        if image is None:
            return link[0]
        return f"data:{image.content_type};base64,{base64.b64encode(image.content).decode('ascii')}"

    return CID_LINK.sub(replace, mail.html or "")


def readable(value: str | Header) -> str:
    """A header's value with its encoded words (RFC 2047) decoded, as far as that goes."""
    try:
        chunks = decode_header(value)
    except UNREADABLE:
        return _clean(" ".join(str(value).split()))
    texts = (_decode(chunk, charset=charset) if isinstance(chunk, bytes) else chunk for chunk, charset in chunks)
    return _clean(" ".join("".join(texts).split()))


def _read(message: "Message[str, str]") -> ReadMail:
    texts: list[str] = []
    html: str | None = None
    attachments: list[Attachment] = []
    for part in _leaves(message):
        is_attached = part.get_content_disposition() == "attachment" or part.get_filename() is not None
        kind = part.get_content_type()
        if kind == "text/plain" and not is_attached:
            texts.append(_text_of(part))
        elif kind == "text/html" and not is_attached and html is None:
            html = _text_of(part)
        else:
            attachments.append(_attachment(part, number=len(attachments) + 1))
    return ReadMail(_headers_of(message), texts, html, attachments)


def _leaves(message: "Message[str, str]") -> Iterator["Message[str, str]"]:
    """The parts that hold something; a mail inside the mail stays whole."""
    if message.get_content_maintype() != "multipart" or not message.is_multipart():
        yield message
        return
    for part in message.get_payload():
        if isinstance(part, Message):
            yield from _leaves(part)


def _headers_of(message: "Message[str, str]") -> list[tuple[str, str]]:
    return [(_clean(name), readable(value)) for name, value in message.items()]


def _attachment(part: "Message[str, str]", *, number: int) -> Attachment:
    return Attachment(
        filename=safe_filename(readable(part.get_filename() or ""), number=number),
        content_type=_clean(part.get_content_type()),
        content_id=str(part.get("Content-ID", "")).strip().strip("<>"),
        content=_content_of(part),
    )


def safe_filename(name: str, *, number: int) -> str:
    """The last part of `name` without what no file name should hold; a name of our own where nothing remains."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r'[<>:"|?*\n\t]', "_", last).strip(". ")[:150] or f"attachment-{number}"


def _content_of(part: "Message[str, str]") -> bytes:
    if part.is_multipart():
        return b"".join(inner.as_bytes() for inner in part.get_payload() if isinstance(inner, Message))
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text_of(part: "Message[str, str]") -> str:
    return _clean(_decode(_content_of(part), charset=part.get_content_charset()).replace("\r\n", "\n"))


def _decode(content: bytes, *, charset: str | None) -> str:
    try:
        return content.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")


def _clean(text: str) -> str:
    """Only what can be shown: no control characters, no halves of surrogate pairs."""
    return CONTROL_CHARACTERS.sub("\ufffd", text.encode("utf-8", "replace").decode("utf-8"))
