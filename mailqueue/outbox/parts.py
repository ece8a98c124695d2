"""Messages that post_office's columns can't hold, taken apart: what differs from the columns, as JSON and back.

Nothing here is taken on trust: a message is kept in parts only if putting them together gives the same mail.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from email.message import Message
from typing import Any, TypeAlias

from django.core.mail import EmailAlternative, EmailMessage, EmailMultiAlternatives
from post_office.models import Email

from mailqueue.outbox.addresses import join_addresses, split_addresses
from mailqueue.outbox.attachments import Content
from mailqueue.outbox.entries import NotStorableError, attached, attachment_of, storable
from mailqueue.outbox.serial import serialised

Parts: TypeAlias = dict[str, Any]

ADDRESS_LISTS = ("to", "cc", "bcc", "reply_to")
SUBTYPES = ("mixed_subtype", "alternative_subtype")
"""What Django 5.2 lets a caller set; 6.1 refuses such a message."""
BOUNDARY = re.compile(rb"={15}\d+==")
FOLDED_LINES = re.compile(rb"\r?\n(?![ \t])")


def take_apart(
    message: EmailMessage, *, email: Email, headers: Mapping[str, str], built: Message
) -> tuple[Parts, list[Content]] | None:
    """Return what `email` doesn't say of the message, and its attachments; None where that can't be done.

    `headers` are all of the message's own headers, those that Django makes included.
    """
    try:
        wanted = _described(message, headers=headers)
        entries = attached(message, built=built)
    except NotStorableError:
        return None
    plain = _from_columns(email)
    held = _described(plain, headers=plain.extra_headers)
    parts = {name: value for name, value in wanted.items() if value != held.get(name)}
    if entries:
        parts["attachments"] = [entry for entry, _ in entries]
    contents = [content for _, content in entries]
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
            message.attachments = [attachment_of(entry, content) for entry, content in zip(value, data, strict=True)]
        else:
            setattr(message, name, list(value) if isinstance(value, list) else value)
    return message


def _from_columns(email: Email) -> EmailMultiAlternatives:
    headers = _as_stored(email.headers) if isinstance(email.headers, dict) else {}
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


def _as_stored(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers in the order in which the database gives them back: jsonb sorts its keys, short ones first."""
    return dict(sorted(headers.items(), key=lambda header: (len(header[0].encode()), header[0].encode())))


def take_reply_to(headers: dict[str, Any]) -> list[str]:
    """Take the header Reply-To out, as which the columns hold a message's `reply_to`, and give it as a list."""
    value = headers.get("Reply-To")
    addresses = split_addresses(value) if isinstance(value, str) else []
    if not addresses or join_addresses(addresses) != value:
        return []
    del headers["Reply-To"]
    return addresses


def _addresses(column: Any) -> list[str]:
    return split_addresses(column) if isinstance(column, str) else list(column)


def _described(message: EmailMessage, *, headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything but the attachments as JSON."""
    described: dict[str, Any] = {name: storable(getattr(message, name)) for name in ("subject", "body", "from_email")}
    described |= {name: [storable(address) for address in getattr(message, name) or ()] for name in ADDRESS_LISTS}
    described["content_subtype"] = storable(message.content_subtype)
    described["encoding"] = None if message.encoding is None else storable(message.encoding)
    described["alternatives"] = [
        _stored_alternative(*alternative) for alternative in getattr(message, "alternatives", None) or []
    ]
    described["headers"] = [[storable(name), storable(value)] for name, value in headers.items()]
    for name in SUBTYPES:
        if isinstance(subtype := getattr(message, name, None), str):
            described[name] = storable(subtype)
    return described


def _stored_alternative(content: Any, mimetype: Any) -> list[str]:
    if isinstance(content, bytes):
        return [base64.b64encode(content).decode(), storable(mimetype), "base64"]
    return [storable(content), storable(mimetype)]


def _alternative(content: str, mimetype: str, encoding: str = "") -> EmailAlternative:
    return EmailAlternative(base64.b64decode(content) if encoding else content, mimetype)


def _is_same(again: bytes, built: Message) -> bool:
    """Whether two mails are equal but for the order of their headers and the names of their boundaries."""
    return _comparable(again) == _comparable(serialised(built))


def _comparable(mail: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = BOUNDARY.sub(b"", mail).partition(b"\r\n\r\n")
    lines = FOLDED_LINES.split(head)
    return sorted(name.lower() + b":" + value for name, _, value in (line.partition(b":") for line in lines)), body
