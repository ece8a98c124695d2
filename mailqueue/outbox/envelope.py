"""What Django's SMTP backend would refuse when it sends, and what is too large: both are refused at the call."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import parser  # type: ignore[attr-defined]
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.utils.encoding import force_str
from django.utils.functional import Promise

from mailqueue.conf import configuration
from mailqueue.outbox.mailboxes import is_simple

PREPARE: Any = getattr(SmtpBackend, "prep_address", None)
"""Django 6.0 replaced the function `sanitize_address` by this method, which asks nothing of its backend."""

MIMETYPE = re.compile(r"(?!message/|multipart/)[a-z0-9.+-]+/[a-z0-9.+-]+", re.ASCII | re.IGNORECASE)
"""Types of parts that are only content, without parameters."""
HEADER = re.compile(r"[!-9;-~]{1,60}")
"""Names that leave room for a value in their line, which Python needs."""
FREE_HEADER = re.compile(r"(?:X|List)-[A-Za-z0-9-]+")
"""Headers that Python takes as mere text, whatever stands in them."""

TEXT_FACTOR = 16
"""The most bytes that a character of a text becomes: four of UTF-8, each quoted, in lines that are folded."""
BASE64_PERCENT = 137
"""Four bytes for three, and CR LF after every 76."""
PART_BYTES = 4096
"""The most bytes that the headers of a part become, beside what the caller gave."""


class MessageTooLargeError(ValueError):
    """The message is larger than MAILQUEUE["MAX_MESSAGE_BYTES"] allows."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"The message has {size:,} bytes, encoded; at most {limit:,} are allowed. "
            'Send a link to what is attached, or raise MAILQUEUE["MAX_MESSAGE_BYTES"].'
        )
        self.size = size
        self.limit = limit


@dataclass(frozen=True, slots=True)
class FileSize:
    """What counts of a file that is to be attached: bytes, encoded as base64 or not, and the length of its head."""

    head_length: int
    size: int
    is_encoded: bool


def check_envelope(message: EmailMessage) -> None:
    """Refuse the addresses that Django's SMTP backend of the running version refuses, with its exception.

    But for one thing, which only the server can judge that is to have the mail (RFC 6531): an address is not refused
    for non-ASCII characters before the @.
    """
    for address in (message.from_email, *message.recipients()):
        if not is_simple(address):
            _check_address(address, message)


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
        _check_bytes(len(serialise()))


def check_size(message: EmailMessage, *, serialise: Callable[[], bytes]) -> None:
    """Refuse a message that is too large. Serialises only one that may be.

    Raises:
        MessageTooLargeError: it is larger than MAX_MESSAGE_BYTES.
    """
    if _most_bytes(message) > configuration().MAX_MESSAGE_BYTES:
        _check_bytes(len(serialise()))


def check_file_sizes(files: Iterable[FileSize]) -> None:
    """Refuse, before any is read, files that can't fit into a message together.

    Raises:
        MessageTooLargeError: they alone are larger than MAX_MESSAGE_BYTES.
    """
    # A text becomes a quarter at best: four bytes of UTF-8 may be one in another charset.
    _check_bytes(sum(file.size * 4 // 3 if file.is_encoded else file.size // 4 for file in files))


def check_attached_size(message: EmailMessage, files: Iterable[FileSize], *, measure: Callable[[], int]) -> None:
    """Refuse a message that is too large together with files that are not in it yet. Measures only one that may be.

    Raises:
        MessageTooLargeError: it is larger than MAX_MESSAGE_BYTES.
    """
    if _most_bytes(message) + sum(map(_most_bytes_of_file, files)) > configuration().MAX_MESSAGE_BYTES:
        _check_bytes(measure())


def _check_bytes(size: int) -> None:
    limit = configuration().MAX_MESSAGE_BYTES
    if size > limit:
        raise MessageTooLargeError(size, limit)


def _is_surely_serialisable(message: EmailMessage) -> bool:
    """Whether no generator of Python can fail for a message that Django has built.

    A generator fails for characters that no encoding has (in the values of headers, addresses among them), for names
    of headers that are not ASCII, for structured headers that are not ASCII, and for types of parts that mean a
    structure. The texts themselves were encoded when the message was built.
    """
    return (
        type(message) in (EmailMessage, EmailMultiAlternatives)
        and message.encoding is None
        and not {"message", "recipients"} & vars(message).keys()
        and settings.DEFAULT_CHARSET.lower() == "utf-8"
        and all(_is_printable(text) for text in _head(message))
        and all(_is_harmless_header(name, value) for name, value in message.extra_headers.items())
        and all(_is_harmless_part(part) for part in message.attachments or ())
        and all(_is_mimetype(alternative[1]) for alternative in _alternatives(message))
    )


def _head(message: EmailMessage) -> Iterator[Any]:
    yield message.subject
    yield message.from_email
    yield from message.to
    yield from message.cc
    yield from message.reply_to or ()


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


def _alternatives(message: EmailMessage) -> Iterable[Any]:
    return getattr(message, "alternatives", None) or ()


def _most_bytes(message: EmailMessage) -> float:
    """Return a number that the encoded message is certainly not larger than."""
    header_lengths = sum(len(str(name)) + len(str(value)) for name, value in message.extra_headers.items())
    head = header_lengths + sum(len(str(text)) for text in _head(message)) + len(str(message.body))
    parts = [(content, mimetype, "") for content, mimetype in _alternatives(message)]
    for attachment in message.attachments or ():
        if not isinstance(attachment, tuple | list):
            return float("inf")
        name, content, mimetype = attachment
        parts.append((content, mimetype, name))
    return TEXT_FACTOR * head + PART_BYTES + sum(_most_bytes_of(*part) for part in parts)


def _most_bytes_of_file(file: FileSize) -> float:
    factor = BASE64_PERCENT / 100 if file.is_encoded else TEXT_FACTOR
    return PART_BYTES + TEXT_FACTOR * file.head_length + file.size * factor


def _most_bytes_of(content: Any, mimetype: Any, name: Any) -> float:
    beside = PART_BYTES + TEXT_FACTOR * (len(str(name)) + len(str(mimetype)))
    if isinstance(content, str | Promise):
        return beside + TEXT_FACTOR * len(str(content))
    if not isinstance(content, bytes | bytearray):
        return float("inf")
    is_text = str(mimetype).startswith(("text/", "message/", "multipart/"))
    return beside + len(content) * (TEXT_FACTOR if is_text else BASE64_PERCENT / 100)
