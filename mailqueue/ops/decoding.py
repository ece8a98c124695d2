"""A built message, read for people: whatever it claims of itself, as much as can be told of it.

Everything is read by the policy that takes headers as they stand (compat32): the newer one parses what it is asked
for, and Python's parser raises all sorts for what it can't parse. No text that is returned holds half a character.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

SUBTYPES = ("plain", "html")


@dataclass(frozen=True, slots=True)
class Image:
    """An image within a mail."""

    mimetype: str
    """As the mail says: it may be anything."""
    data: bytes


@dataclass(slots=True)
class Decoded:
    """What stands below the head of a message."""

    texts: dict[str, str] = field(default_factory=dict)
    """By subtype."""
    images: dict[str, Image] = field(default_factory=dict)
    """By Content-ID."""
    attachment_count: int = 0
    problem: str = ""
    """Why a text stands here with marks for what could not be decoded."""


def head_of(content: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return the subject of a message, and all its headers in their order; what can't be decoded, as it stands."""
    headers = [(_whole(name), _decoded(str(value))) for name, value in BytesHeaderParser().parsebytes(content).items()]
    try:
        subject = str(BytesHeaderParser(policy=policy.default).parsebytes(content).get("Subject", ""))
    except Exception:  # noqa: BLE001  (Python's parser raises all sorts for what it can't parse)
        subject = next(text for name, text in headers if name.lower() == "subject")
    return _whole(subject), headers


def decoded(content: bytes) -> Decoded:
    """Read the parts of a message."""
    message = message_from_bytes(content)
    found = Decoded(images=dict(_images(message)))
    found.attachment_count = sum(part.get_content_disposition() == "attachment" for part in message.walk())
    for subtype in SUBTYPES:
        for part in _bodies(message, subtype):
            found.texts[subtype], problem = _text(part)
            found.problem = found.problem or problem
            break
    return found


def _bodies(part: Message, subtype: str) -> Iterator[Message]:
    """Give the parts that may be meant as the text of a message, in order: what `EmailMessage.get_body` looks at."""
    if part.get_content_disposition() == "attachment":
        return
    if part.get_content_type() == f"text/{subtype}":
        yield part
    elif part.get_content_maintype() == "multipart" and part.is_multipart():
        # What is related to a text is no text of the mail.
        for inner in _roots(part) if part.get_content_subtype() == "related" else _parts_of(part):
            yield from _bodies(inner, subtype)


def _roots(part: Message) -> list[Message]:
    """Return the part that the others are related to: the one that is named, or the first (RFC 2387, section 3.2)."""
    start, parts = part.get_param("start"), _parts_of(part)
    return [inner for inner in parts if start and inner.get("Content-ID") == start] or parts[:1]


def _parts_of(part: Message) -> list[Message]:
    parts: Any = part.get_payload()
    return list(parts)


def _text(part: Message) -> tuple[str, str]:
    """Return the text of a part, and why it could not be decoded as the part says."""
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    try:
        return _whole(data.decode(part.get_content_charset("ascii"), "replace")), ""
    except (LookupError, ValueError) as error:  # a character set that nobody knows, or that is none
        return data.decode(errors="replace"), f"{type(error).__name__}: {error}"


def _images(message: Message) -> Iterator[tuple[str, Image]]:
    for part in message.walk():
        content_id = str(part.get("Content-ID", "")).strip().strip("<>")
        if content_id and part.get_content_maintype() == "image":
            data = part.get_payload(decode=True)
            yield content_id, Image(part.get_content_type(), data if isinstance(data, bytes) else b"")


def _decoded(value: str) -> str:
    text = " ".join(value.split())
    try:
        return _whole(str(make_header(decode_header(text))))
    except (LookupError, ValueError, MessageError):  # an encoding that nobody knows, or what is none of it
        return _whole(text)


def _whole(text: str) -> str:
    """Return a text without halves of characters, which no page can hold."""
    return text.encode(errors="replace").decode()
