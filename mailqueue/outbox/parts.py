"""Messages that post_office's columns can't hold, taken apart: what differs from the columns, as JSON and back.

Nothing here is taken on trust: a message is kept in parts only if putting them together gives the same mail.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from email import message_from_bytes
from email.generator import BytesGenerator
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from email.policy import compat32
from email.policy import default as modern
from io import BytesIO
from typing import Any, TypeAlias

from django.core.mail import EmailAlternative, EmailAttachment, EmailMessage, EmailMultiAlternatives
from django.utils.functional import Promise
from post_office.models import Email

from mailqueue.outbox.addresses import join_addresses, split_addresses
from mailqueue.outbox.attachments import Content
from mailqueue.outbox.serial import serialised

Parts: TypeAlias = dict[str, Any]

ADDRESS_LISTS = ("to", "cc", "bcc", "reply_to")
SUBTYPES = ("mixed_subtype", "alternative_subtype")
"""What Django 5.2 lets a caller set; 6.1 refuses such a message."""
BOUNDARY = re.compile(rb"={15}\d+==")
FOLDED_LINES = re.compile(rb"\r?\n(?![ \t])")


class _NotStorableError(Exception):
    """Some value can't stand in JSON."""


class LegacyPart(MIMEBase):
    """A MIME part that is read back, of the kind that Django accepts as an attachment before version 7."""

    def __init__(self, policy: Any = compat32) -> None:
        Message.__init__(self, policy=policy)


def take_apart(
    message: EmailMessage, *, email: Email, headers: Mapping[str, str], built: Message
) -> tuple[Parts, list[Content]] | None:
    """Return what `email` doesn't say of the message, and its attachments; None where that can't be done.

    `headers` are all of the message's own headers, those that Django makes included.
    """
    try:
        wanted = _described(message, headers=headers)
        attached = _attached(message, built=built)
    except _NotStorableError:
        return None
    plain = _from_columns(email)
    held = _described(plain, headers=plain.extra_headers)
    parts = {name: value for name, value in wanted.items() if value != held.get(name)}
    if attached:
        parts["attachments"] = [entry for entry, _ in attached]
    contents = [content for _, content in attached]
    again = put_together(email, parts, [bytes(content.data) for content in contents])
    return (parts, contents) if _is_same(serialised(again), built) else None


def put_together(email: Email, parts: Mapping[str, Any], data: Sequence[bytes]) -> EmailMessage:
    """Make the message of a row again. `data` are the contents of its attachments, in order."""
    message = _from_columns(email)
    for name, value in parts.items():
        if name == "headers":
            message.extra_headers = dict(value)
        elif name == "alternatives":
            message.alternatives = [_alternative(*entry) for entry in value]
        elif name == "attachments":
            message.attachments = [_attachment(entry, content) for entry, content in zip(value, data, strict=True)]
        else:
            setattr(message, name, list(value) if isinstance(value, list) else value)
    return message


def _from_columns(email: Email) -> EmailMultiAlternatives:
    headers = dict(email.headers) if isinstance(email.headers, dict) else {}
    if email.message_id:
        headers["Message-ID"] = email.message_id
    message = EmailMultiAlternatives(
        subject=email.subject,
        body=email.message or email.html_message,
        from_email=email.from_email,
        headers=headers,
        reply_to=take_reply_to(headers),
        to=_addresses(email.to),
        cc=_addresses(email.cc),
        bcc=_addresses(email.bcc),
    )
    if email.html_message and email.message:
        message.attach_alternative(email.html_message, "text/html")
    elif email.html_message:
        message.content_subtype = "html"
    return message


def take_reply_to(headers: dict[str, Any]) -> list[str]:
    """Take the header Reply-To out, as which the columns hold a message's `reply_to`, and give it as a list."""
    value = headers.get("Reply-To")
    addresses = split_addresses(value) if isinstance(value, str) else []
    if join_addresses(addresses) != value:
        return []
    del headers["Reply-To"]
    return addresses


def _addresses(column: Any) -> list[str]:
    return split_addresses(column) if isinstance(column, str) else list(column)


def _described(message: EmailMessage, *, headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything but the attachments as JSON."""
    described: dict[str, Any] = {name: _text(getattr(message, name)) for name in ("subject", "body", "from_email")}
    described |= {name: [_text(address) for address in getattr(message, name)] for name in ADDRESS_LISTS}
    described["content_subtype"] = _text(message.content_subtype)
    described["encoding"] = None if message.encoding is None else _text(message.encoding)
    described["alternatives"] = [
        _stored_alternative(*alternative) for alternative in getattr(message, "alternatives", None) or []
    ]
    described["headers"] = [[_text(name), _text(value)] for name, value in headers.items()]
    for name in SUBTYPES:
        if isinstance(subtype := getattr(message, name, None), str):
            described[name] = _text(subtype)
    return described


def _text(value: Any) -> str:
    if not isinstance(value, str | Promise):
        raise _NotStorableError
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _NotStorableError from None
    if "\0" in text:
        raise _NotStorableError
    return text


def _stored_alternative(content: Any, mimetype: Any) -> list[str]:
    if isinstance(content, bytes):
        return [base64.b64encode(content).decode(), _text(mimetype), "base64"]
    return [_text(content), _text(mimetype)]


def _alternative(content: str, mimetype: str, encoding: str = "") -> EmailAlternative:
    return EmailAlternative(base64.b64decode(content) if encoding else content, mimetype)


def _attached(message: EmailMessage, *, built: Message) -> list[tuple[dict[str, Any], Content]]:
    attachments = list(message.attachments)
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
    entry: dict[str, Any] = {"name": None if name is None else _text(name), "type": _text(mimetype)}
    if isinstance(content, str):
        entry["text"] = True
        data = _text(content).encode()
    elif isinstance(content, bytes | bytearray | memoryview):
        data = bytes(content)
    else:
        # A message within the message: its bytes are taken from what was built, for each build makes its own Date.
        inner: Any = built.get_payload()
        data = _flat(inner[0]) if isinstance(inner, list) and len(inner) == 1 else b""
    return entry, Content(name=entry["name"] or "", mimetype=entry["type"], data=data)


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


def _attachment(entry: Mapping[str, Any], data: bytes) -> Any:
    if "part" not in entry:
        return EmailAttachment(entry["name"], data.decode() if entry.get("text") else data, entry["type"])
    if "head" in entry:
        data = entry["head"].encode() + b"\n\n" + (base64.encodebytes(data) if entry["base64"] else data)
    if entry["part"] == "modern":
        return message_from_bytes(data, _class=MIMEPart, policy=modern)  # type: ignore[arg-type]
    return message_from_bytes(data, _class=LegacyPart, policy=compat32)


def _is_same(again: bytes, built: Message) -> bool:
    """Whether two mails are equal but for the order of their headers and the names of their boundaries."""
    return _comparable(again) == _comparable(serialised(built))


def _comparable(mail: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = BOUNDARY.sub(b"", mail).partition(b"\r\n\r\n")
    lines = FOLDED_LINES.split(head)
    return sorted(name.lower() + b":" + value for name, _, value in (line.partition(b":") for line in lines)), body
