"""What Django's own SMTP backend makes of a message, what the outbox makes of it, and how the two are compared."""

import re
import smtplib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import default
from operator import itemgetter
from typing import Any
from unittest.mock import patch

import time_machine
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.db import transaction
from django.utils.functional import Promise
from post_office.models import Email

from mailqueue import EmailBackend
from mailqueue.delivery.wire import seal
from mailqueue.outbox.messages import letter_of, load, recipients_of

QUEUED = "2026-11-21T08:00:00Z"
DELIVERED = "2027-01-02T03:04:05Z"
"""Two moments, for no Date and no Message-ID is to be made anew at delivery."""


class RolledBackError(Exception):
    """Ends an example."""


@dataclass(frozen=True)
class Wire:
    """What goes over the wire: paths as SMTP says them, and the message."""

    reverse_path: str
    forward_paths: list[str]
    content: bytes


@dataclass(frozen=True)
class Journey:
    """A message's way through the outbox: the row it became, and how that reads and is sent afterwards."""

    row: Email
    message: EmailMessage
    wire: Wire


MARK = b".mailqueue@"
"""By which a Message-ID of ours is known: the one difference to Django's."""
BOUNDARY = re.compile(r';\s+boundary="[^"]*"')


def smtp_backend() -> SmtpBackend:
    return SmtpBackend(alias="test", host="localhost", port=25)


def sent_by_django(message: EmailMessage) -> Wire | Exception | None:
    """Return what Django's SMTP backend sends, or what it raises; None where it sends nothing."""
    backend = smtp_backend()
    backend.connection = edge = _Edge()
    with _moment(QUEUED):
        try:
            backend.send_messages([message])
        except Exception as error:  # noqa: BLE001 - to be compared
            return error
    return edge.sent


def sent_by_outbox(message: EmailMessage) -> Journey | Exception | None:
    """Queue a message, load it again and seal it; leave nothing behind. What a delivery raises is not caught."""
    journey: Journey | Exception | None = None
    with suppress(RolledBackError), transaction.atomic():
        journey = _through_the_outbox(message)
        raise RolledBackError
    return journey


def _through_the_outbox(message: EmailMessage) -> Journey | Exception | None:
    with _moment(QUEUED):
        try:
            count = EmailBackend().send_messages([message])
        except Exception as error:  # noqa: BLE001 - as above
            assert not Email.objects.exists()
            return error
    written = list(Email.objects.values_list("pk", flat=True))
    assert count == len(written)
    if not written:
        return None
    row = load(written, using="default")[written[0]]
    letter = letter_of(row, recipients=recipients_of(row))
    with _moment(DELIVERED):
        sealed = seal(letter, smtp_backend())
        wire = Wire(sealed.reverse_path, _each_once(sealed.forward_paths.values()), sealed.content)
        return Journey(row, letter.build(), wire)


def _each_once(paths: Iterable[str]) -> list[str]:
    """Whoever is named twice gets the mail once, however often the server is told."""
    return list(dict.fromkeys(paths))


class _Edge:
    """Stands where smtplib's connection would, and keeps what it is given."""

    sent: Wire | None = None

    def sendmail(self, from_addr: str, to_addrs: list[str], msg: bytes) -> None:
        paths = _each_once(map(smtplib.quoteaddr, to_addrs))
        # smtplib ends the last line.
        self.sent = Wire(smtplib.quoteaddr(from_addr), paths, msg if msg.endswith(b"\r\n") else msg + b"\r\n")


@contextmanager
def _moment(at: str) -> Iterator[None]:
    """Stop the clock, and let the Message-IDs that Python makes in this moment be all the same."""
    with time_machine.travel(at, tick=False), patch("random.getrandbits", lambda bits: bits):
        yield


def parsed(content: bytes) -> dict[str, Any]:
    """Parse a message into plain data: everything but boundaries and the order of different headers."""
    return tree(message_from_bytes(content.replace(MARK, b"@"), policy=default))


def tree(part: Any) -> dict[str, Any]:
    """Turn a MIME part into plain data."""
    headers = [(name.lower(), _value(name, value)) for name, value in part.raw_items()]
    return {
        "type": part.get_content_type(),
        "parameters": _parameters(part),
        # Only headers of one name have an order that means something (RFC 5322, section 3.6), and jsonb keeps none.
        "headers": sorted((header for header in headers if header[0] != "content-type"), key=itemgetter(0)),
        "content": _content(part),
    }


def _parameters(part: Any) -> list[tuple[str, Any]]:
    found = part.get_params([], unquote=True)[1:]
    return [(name, value) for name, value in found if name.lower() != "boundary"]


def _value(name: str, raw: Any) -> str:
    # Python's parser of headers raises for some that Django sends.
    try:
        return str(default.header_fetch_parse(name, raw))
    except Exception:  # noqa: BLE001
        return str(raw)


def _content(part: Any) -> Any:
    if part.is_multipart():
        return [tree(child) for child in part.get_payload()]
    return part.get_payload(decode=True)


def frozen(value: Any) -> Any:
    """Turn what a caller's message holds into data that stays as it is, to compare before and after."""
    if isinstance(value, EmailMessage):
        return type(value), frozen(vars(value))
    if isinstance(value, Message):
        # The first to serialise a multipart names its boundary, as Django does.
        headers = [(name, BOUNDARY.sub("", str(text))) for name, text in value.raw_items()]
        return id(value), headers, frozen(value._payload)
    if isinstance(value, dict):
        return id(value), type(value), [(frozen(key), frozen(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return id(value), type(value), [frozen(item) for item in value]
    if isinstance(value, bytearray | memoryview):
        return id(value), bytes(value)
    return str(value) if isinstance(value, Promise) else value


def readable(message: EmailMessage) -> dict[str, Any]:
    """Return what a backend reads of a message that speaks no SMTP but hands the parts to a mail service."""
    headers = dict(message.extra_headers)
    # The same answer to "who is answered?" in both places: Django's own header Reply-To comes before `reply_to`.
    reply_to = headers.pop("Reply-To", ", ".join(map(str, message.reply_to)))
    with _moment(QUEUED):
        return {
            **{name: str(getattr(message, name)) for name in ("subject", "body", "from_email", "content_subtype")},
            **{name: [str(one) for one in getattr(message, name)] for name in ("to", "cc", "bcc")},
            "reply_to": str(reply_to),
            "encoding": message.encoding,
            "headers": sorted((name.lower(), str(value)) for name, value in headers.items()),
            "alternatives": [(_plain(a[0]), a[1]) for a in getattr(message, "alternatives", [])],
            "attachments": [_readable(attachment) for attachment in message.attachments],
        }


def _readable(attachment: Any) -> Any:
    if isinstance(attachment, Message):
        # Line ends are the transport's, where no encoding protects them.
        return tree(message_from_bytes(attachment.as_bytes().replace(b"\r\n", b"\n")))
    name, content, mimetype = attachment
    if mimetype == "message/rfc822":
        content = content.message() if isinstance(content, EmailMessage) else content
        octets = content.as_bytes() if isinstance(content, Message) else _plain(content)
        content = tree(message_from_bytes(octets if isinstance(octets, bytes) else octets.encode()))
    return name, _plain(content), mimetype


def _plain(content: Any) -> Any:
    """Text without its class, octets without theirs."""
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    return str(content) if isinstance(content, str | Promise) else content
