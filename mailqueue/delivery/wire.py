"""What goes over the wire for one letter: the addresses and the bytes that Django's own SMTP backend would send."""

import email.policy
import re
import smtplib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from mailqueue.delivery.letter import Letter


@dataclass(frozen=True, slots=True)
class SealedLetter:
    """A letter ready for SMTP: paths in angle brackets (RFC 5321, section 4.1.2), lines that end in CRLF."""

    reverse_path: str
    forward_paths: Mapping[str, str]
    """The path of each recipient, by the recipient's name in the letter."""
    content: bytes


def seal(letter: Letter, backend: EmailBackend) -> SealedLetter:
    """Build and serialise a letter's message. Raises whatever its `build` raises, and ValueError for a bad address."""
    message = letter.build()
    if not letter.recipients:
        raise ValueError("the mail has no recipient")
    return SealedLetter(
        reverse_path=_path(letter.envelope_from, message, backend),
        forward_paths={recipient: _path(recipient, message, backend) for recipient in letter.recipients},
        content=_serialise(message, backend),
    )


def stuffed(content: bytes) -> bytes:
    """Double the dots at the beginning of lines (RFC 5321, section 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", content) if content.startswith(b".") or b"\n." in content else content


def _prepares_addresses(backend: EmailBackend) -> bool:
    """Django 6.0 replaced `sanitize_address` by a method of the backend, and its MIME classes by policies."""
    return hasattr(backend, "prep_address")


def _serialise(message: EmailMessage, backend: EmailBackend) -> bytes:
    if _prepares_addresses(backend):
        content: bytes = message.message(policy=email.policy.SMTP).as_bytes()
    else:
        mime: Any = message.message()
        content = mime.as_bytes(linesep="\r\n")
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _path(address: str, message: EmailMessage, backend: EmailBackend) -> str:
    path = smtplib.quoteaddr(_prepared(address, message, backend))
    if not path.isascii() or not path.isprintable():
        raise ValueError(f"Invalid address {address!r}: only printable ASCII can be sent without SMTPUTF8")
    return path


def _prepared(address: str, message: EmailMessage, backend: EmailBackend) -> str:
    if _prepares_addresses(backend):
        return str(backend.prep_address(address))
    from django.core.mail.message import sanitize_address

    # Django 5.2 would encode a non-ASCII local part as RFC 2047 text: another mailbox, or none.
    mailbox = address.rpartition("<")[2]
    if not (mailbox.rpartition("@")[0] or mailbox).isascii():
        raise ValueError(f"Invalid address {address!r}: non-ASCII characters before the @ need SMTPUTF8")
    return sanitize_address(address, str(message.encoding or settings.DEFAULT_CHARSET))
