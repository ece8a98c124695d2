"""Addresses as SMTP says them: paths in angle brackets, made by Django's own rules of the running version."""

import re
import smtplib
from email.headerregistry import Address, parser  # type: ignore[attr-defined]
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend
from django.utils.encoding import punycode

PREPARES = hasattr(EmailBackend, "prep_address")
"""Django 6.0 replaced `sanitize_address` by a method of the backend."""

_SPEC = r"[\w+-]+(?:\.[\w+-]+)*@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*"
MAILBOX = re.compile(rf"(?:[a-z0-9'-]+(?: [a-z0-9'-]+)* <({_SPEC})>)|{_SPEC}", re.ASCII | re.IGNORECASE)
"""An address that needs no preparation by any rule, and no parsing, perhaps after a name of mere words.

Most addresses are like this, and a parser takes 100 µs.
"""
_PATH = re.compile(r'<(?:"(?:[^"\\]|\\.)*"|[^<>" ])*>')
"""One pair of angle brackets without spaces: what follows them would be parameters of the command."""


def path_of(address: str, message: EmailMessage | None, *, backend: EmailBackend) -> str:
    """Return the path of an envelope address (RFC 5321, section 4.1.2): ASCII, but for what stands before the @.

    Without a message it is that of a message in the charset of the settings.

    Raises ValueError for an address that can't be sent.
    """
    address = str(address)
    if known := MAILBOX.fullmatch(address):
        return f"<{known[1] or address}>"
    path = smtplib.quoteaddr(_prepared(address, message, backend=backend))
    if not path.isprintable():
        raise ValueError(f"Invalid address {address!r}: only printable characters can be sent")
    if not _PATH.fullmatch(path):
        raise ValueError(f"Invalid address {address!r}: an angle bracket, a quote or a space too many")
    return path


def _prepared(address: str, message: EmailMessage | None, *, backend: EmailBackend) -> str:
    return _by_method(address, backend=backend) if PREPARES else _by_function(address, message)


def _by_method(address: str, *, backend: Any) -> str:
    spec = str(backend.prep_address(address, force_ascii=False))
    local, at, domain = spec.rpartition("@") if "@" in spec else (spec, "", "")
    return str(backend.prep_address(address)) if local.isascii() else f"{local}{at}{punycode(domain)}"


def _by_function(address: str, message: EmailMessage | None) -> str:
    from django.core.mail.message import sanitize_address

    sanitized = sanitize_address(address, str((message and message.encoding) or settings.DEFAULT_CHARSET))
    if address.isascii():
        return sanitized
    # Django 5.2 encodes a non-ASCII local part as RFC 2047 text: another mailbox, or none.
    mailbox, _ = parser.get_mailbox(address)
    if mailbox.local_part.isascii():
        return sanitized
    return Address(username=mailbox.local_part, domain=punycode(mailbox.domain or "")).addr_spec
