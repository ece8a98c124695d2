"""What Django's SMTP backend would refuse when it sends is refused at the call."""

import re
from collections.abc import Callable
from email.errors import HeaderParseError
from email.headerregistry import parser  # type: ignore[attr-defined]
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.utils.encoding import force_str
from django.utils.functional import Promise

from mailqueue.outbox.mailboxes import is_simple
from mailqueue.outbox.size import alternatives_of, check_bytes, check_size, head_of

PREPARE: Any = getattr(SmtpBackend, "prep_address", None)
"""Django 6.0 replaced the function `sanitize_address` by this method, which asks nothing of its backend."""

MIMETYPE = re.compile(r"(?!message/|multipart/)[a-z0-9.+-]+/[a-z0-9.+-]+", re.ASCII | re.IGNORECASE)
"""Types of parts that are only content, without parameters."""
HEADER = re.compile(r"[!-9;-~]{1,60}")
"""Names that leave room for a value in their line, which Python needs."""
FREE_HEADER = re.compile(r"(?:X|List)-[A-Za-z0-9-]+")
"""Headers that Python takes as mere text, whatever stands in them."""


def check_envelope(message: EmailMessage) -> None:
    """Refuse the addresses that Django's SMTP backend of the running version refuses, with its exception.

    But for one thing, which only the server can judge that is to have the mail (RFC 6531): an address is not refused
    for non-ASCII characters before the @.
    """
    for address in (message.from_email, *message.recipients()):
        if not is_simple(address):
            _check_address(address, message)
            _check_storable(address)


def _check_storable(address: Any) -> None:
    """Refuse what could only be stored as another address."""
    if "\0" in str(address):
        raise ValueError(f"Invalid address {address!r}: it holds a NUL character")


def _check_address(address: Any, message: EmailMessage) -> None:
    try:
        _prepare(address, message)
    except ValueError:
        if not _needs_utf8_alone(address, message):
            raise


def _prepare(address: Any, message: EmailMessage) -> None:
    if PREPARE:
        PREPARE(None, address)
        return
    from django.core.mail.message import sanitize_address

    sanitize_address(address, message.encoding or settings.DEFAULT_CHARSET)


def _needs_utf8_alone(address: Any, message: EmailMessage) -> bool:
    """Whether nothing but non-ASCII characters before the @ is wrong with an address."""
    try:
        text = force_str(address)
        text.encode()
        local = _by_method(text) if PREPARE else _by_function(text, message)
    except (ValueError, HeaderParseError, IndexError):
        return False
    return not local.isascii() and local.isprintable()


def _by_method(text: str) -> str:
    """Return what stands before the @ of an address; raise for what is wrong with the rest of it."""
    spec = str(PREPARE(None, text, force_ascii=False))
    local, at, domain = spec.rpartition("@")
    if not at:
        return spec
    PREPARE(None, f"x@{domain}")
    return local


def _by_function(text: str, message: EmailMessage) -> str:
    """As `_by_method`, before Django 6.0."""
    mailbox, rest = parser.get_mailbox(text)
    if rest:
        raise ValueError(f"Invalid address {text!r}: more than one mailbox")
    _prepare((mailbox.display_name or "", f"x@{mailbox.domain or ''}"), message)
    return str(mailbox.local_part)


def check_content(message: EmailMessage, *, serialise: Callable[[], bytes]) -> None:
    """Refuse a built message that can't be serialised, with the exception of that, and one that is too large.

    `serialise` is called only where neither can be ruled out by a look at the message.

    Raises:
        MessageTooLargeError: it is larger than MAX_MESSAGE_BYTES.
        whatever `serialise` raises.
    """
    if _is_surely_serialisable(message):
        check_size(message, serialise=serialise)
    else:
        check_bytes(len(serialise()))


def _is_surely_serialisable(message: EmailMessage) -> bool:
    """Whether no generator of Python can fail for a message that Django has built.

    A generator fails for characters that no encoding has (in the values of headers, addresses among them), for what
    looks encoded already (Python 3.13 decodes it, and has bytes left that no charset explains), for names
    of headers that are not ASCII, for structured headers that are not ASCII, and for types of parts that mean a
    structure. The texts themselves were encoded when the message was built.
    """
    return (
        type(message) in (EmailMessage, EmailMultiAlternatives)
        and message.encoding is None
        and not {"message", "recipients"} & vars(message).keys()
        and settings.DEFAULT_CHARSET.lower() == "utf-8"
        and all(_is_printable(text) and "=?" not in str(text) for text in head_of(message))
        and all(_is_harmless_header(name, value) for name, value in message.extra_headers.items())
        and all(_is_harmless_part(part) for part in message.attachments or ())
        and all(_is_mimetype(alternative[1]) for alternative in alternatives_of(message))
    )


def _is_printable(text: Any) -> bool:
    # Neither surrogates nor control characters nor line separators are.
    return isinstance(text, str | Promise) and str(text).isprintable()


def _is_harmless_header(name: Any, value: Any) -> bool:
    if not (isinstance(name, str) and HEADER.fullmatch(name) and _is_printable(value)):
        return False
    text = str(value)
    return FREE_HEADER.fullmatch(name) is not None or (text.isascii() and "=?" not in text)


def _is_harmless_part(part: Any) -> bool:
    if not isinstance(part, tuple | list) or len(part) != 3:
        return False
    name, _, mimetype = part
    return (name is None or _is_printable(name)) and _is_mimetype(mimetype)


def _is_mimetype(value: Any) -> bool:
    return isinstance(value, str) and MIMETYPE.fullmatch(value) is not None
