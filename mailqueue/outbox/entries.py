"""Attachments of messages that are kept in parts: for each an entry in JSON, and a content that becomes a file."""

import base64
from collections.abc import Mapping
from email import message_from_bytes
from email.generator import BytesGenerator
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from email.policy import compat32
from email.policy import default as modern
from io import BytesIO
from typing import Any

from django.core.mail import EmailAttachment, EmailMessage
from django.utils.functional import Promise

from mailqueue.outbox.attachments import Content
from mailqueue.outbox.storable import is_storable


class NotStorableError(Exception):
    """Some value can't stand in JSON."""


class LegacyPart(MIMEBase):
    """A MIME part that is read back, of the kind that Django accepts as an attachment before version 7."""

    def __init__(self, policy: Any = compat32) -> None:
        Message.__init__(self, policy=policy)


def storable(value: Any) -> str:
    """Return a text that JSON in the database can hold, or raise NotStorableError."""
    if not isinstance(value, str | Promise):
        raise NotStorableError
    text = str(value)
    if not is_storable(text):
        raise NotStorableError
    return text


def attached(message: EmailMessage, *, built: Message) -> list[tuple[dict[str, Any], Content]]:
    """Return an entry and a content for each attachment; `built` is the message with them, as Django built it."""
    attachments = list(message.attachments or ())
    if not attachments:
        return []
    payload: Any = built.get_payload()
    return [
        _stored_attachment(attachment, built=part)
        for attachment, part in zip(attachments, payload[-len(attachments) :], strict=True)
    ]


def _stored_attachment(attachment: Any, *, built: Message) -> tuple[dict[str, Any], Content]:
    if isinstance(attachment, Message):
        return _stored_part(attachment)
    name, content, mimetype = EmailAttachment(*attachment)
    entry: dict[str, Any] = {"name": None if name is None else storable(name), "type": storable(mimetype)}
    if isinstance(content, str):
        entry["text"] = True
        data = storable(content).encode()
    elif isinstance(content, bytes | bytearray | memoryview):
        data = bytes(content)
    else:
        # A message within the message: its bytes are taken from what was built, for each build makes its own Date.
        inner: Any = built.get_payload()
        data = _flat(inner[0]) if isinstance(inner, list) and len(inner) == 1 else b""
    return entry, Content(name=_shown(entry["name"] or ""), mimetype=_shown(entry["type"]), data=data)


def _stored_part(part: Message) -> tuple[dict[str, Any], Content]:
    """Keep the head of a MIME part as text and its content as a file; a part within parts is one file altogether."""
    entry: dict[str, Any] = {"part": "modern" if isinstance(part, MIMEPart) else "legacy"}
    whole = _flat(part)
    head, _, body = whole.partition(b"\n\n")
    data = whole
    if not part.is_multipart() and head.isascii():
        entry["head"] = head.decode()
        data = _decoded(part, body)
        entry["base64"] = data != body
    name = part.get_filename() or str(part.get("Content-ID") or "").strip("<> ")
    return entry, Content(name=_shown(name), mimetype=_shown(part.get_content_type()), data=data)


def _flat(part: Message) -> bytes:
    buffer = BytesIO()
    BytesGenerator(buffer, mangle_from_=False, policy=part.policy.clone(linesep="\n")).flatten(part)
    return buffer.getvalue()


def _decoded(part: Message, body: bytes) -> bytes:
    """Return the content of a part if encoding it gives the very same text again."""
    data: Any = part.get_payload(decode=True)
    is_base64 = str(part.get("Content-Transfer-Encoding", "")).strip().lower() == "base64"
    return data if is_base64 and isinstance(data, bytes) and base64.encodebytes(data) == body else body


def _shown(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\0", "")[:255]


def attachment_of(entry: Mapping[str, Any], data: bytes) -> Any:
    """Make the attachment of an entry again."""
    if "part" not in entry:
        return EmailAttachment(entry["name"], data.decode() if entry.get("text") else data, entry["type"])
    if "head" in entry:
        data = entry["head"].encode() + b"\n\n" + (base64.encodebytes(data) if entry["base64"] else data)
    if entry["part"] == "modern":
        return message_from_bytes(data, _class=MIMEPart, policy=modern)  # type: ignore[arg-type]
    return message_from_bytes(data, _class=LegacyPart, policy=compat32)
