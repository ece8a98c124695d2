"""What goes over the wire for one letter: the addresses and the bytes that Django's own SMTP backend would send."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.header import decode_header, make_header
from email.headerregistry import AddressHeader
from email.policy import SMTP, SMTPUTF8
from functools import partial
from typing import Any, TypeVar

from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from mailqueue import waits
from mailqueue.delivery.eight_bit import in_seven_bits
from mailqueue.delivery.heads import check_heads
from mailqueue.delivery.letter import Letter
from mailqueue.delivery.paths import PREPARES, path_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SealedLetter:
    """A letter ready for SMTP: paths in angle brackets (RFC 5321, section 4.1.2), lines that end in CRLF."""

    reverse_path: str
    forward_paths: Mapping[str, str]
    """The path of each recipient, by the recipient's name in the letter."""
    content: bytes
    needs_utf8: bool = False
    """An address has non-ASCII characters before the @, which only SMTPUTF8 can carry (RFC 6531)."""
    without_utf8: "SealedLetter | None" = None
    """What can go without SMTPUTF8 of a letter that needs it: the same mail for the other recipients."""
    may_be_encoded: bool = False
    """Django has built the message: it may be encoded otherwise. Who builds it himself gets his own octets."""

    @property
    def has_eight_bits(self) -> bool:
        return not self.content.isascii()

    def in_seven_bits(self) -> "SealedLetter":
        """The same letter for a server that does not offer 8BITMIME (RFC 6152)."""
        if not (self.may_be_encoded and self.has_eight_bits) or self.needs_utf8:
            return self
        return replace(self, content=in_seven_bits(self.content))


MANY = 100
"""A server may take fewer recipients at a time: RFC 5321, section 4.5.3.1.8, asks it to take so many."""


class Memory:
    """Remembers what the last message to many came to.

    Such a message goes out once for each handful of recipients that a server takes at a time, and to write thousands
    of addresses into a header takes Python seconds. The message is built anew and compared each time, so that whoever
    changes the mail meanwhile has his way.
    """

    def __init__(self) -> None:
        self._kind: type[EmailMessage] | None = None
        self._given: dict[str, Any] = {}
        self._made: dict[Callable[[EmailMessage], Any], Any] = {}

    def recall(self, make: Callable[[EmailMessage], T], message: EmailMessage) -> T:
        """Return `make(message)`, made before or now."""
        if not _is_djangos(message) or len(message.to) + len(message.cc) + len(message.bcc) <= MANY:
            return make(message)
        if (type(message), vars(message)) != (self._kind, self._given):
            self._kind, self._given, self._made = type(message), dict(vars(message)), {}
        if make not in self._made:
            self._made[make] = make(message)
        made: T = self._made[make]
        return made


def seal(letter: Letter, backend: EmailBackend, memory: Memory | None = None) -> SealedLetter:
    """Build and serialise a letter's message. Raises whatever its `build` raises, and ValueError for a bad address."""
    memory = memory or Memory()
    if letter.is_long:
        return waits.blocking(partial(_sealed, letter, backend, memory))
    return _written(letter, backend) or waits.blocking(partial(_built_and_sealed, letter, backend, memory))


def _sealed(letter: Letter, backend: EmailBackend, memory: Memory) -> SealedLetter:
    return _written(letter, backend) or _built_and_sealed(letter, backend, memory)


def _written(letter: Letter, backend: EmailBackend) -> SealedLetter | None:
    """Seal a letter whose content can be written without a message; None where there must be one."""
    content = letter.write() if letter.recipients else None
    if content is None:
        return None
    try:
        reverse_path = path_of(letter.envelope_from, None, backend=backend)
        forward_paths = {recipient: path_of(recipient, None, backend=backend) for recipient in letter.recipients}
    except ValueError:
        return None
    if not all(path.isascii() for path in (reverse_path, *forward_paths.values())):
        return None
    return SealedLetter(reverse_path, forward_paths, content, may_be_encoded=True)


def _built_and_sealed(letter: Letter, backend: EmailBackend, memory: Memory) -> SealedLetter:
    message = letter.build()
    if not letter.recipients:
        raise ValueError("the mail has no recipient")
    reverse_path = path_of(letter.envelope_from, message, backend=backend)
    forward_paths = {recipient: path_of(recipient, message, backend=backend) for recipient in letter.recipients}
    # Named in the header, though perhaps not to be sent to any more.
    named = [address for address in (*message.to, *message.cc) if address and address not in forward_paths]
    others = [path_of(address, message, backend=backend) for address in named]
    is_djangos = _is_djangos(message)
    if all(path.isascii() for path in (reverse_path, *forward_paths.values(), *others)):
        content = memory.recall(serialised, message)
        return SealedLetter(reverse_path, forward_paths, content, may_be_encoded=is_djangos)
    content, has_utf8_header = memory.recall(_serialised_for_utf8, message)
    reachable = {recipient: path for recipient, path in forward_paths.items() if path.isascii()}
    without_utf8 = None
    if reachable and reverse_path.isascii() and not has_utf8_header:
        plain = memory.recall(serialised, message)
        without_utf8 = SealedLetter(reverse_path, reachable, plain, may_be_encoded=is_djangos)
    return SealedLetter(reverse_path, forward_paths, content, needs_utf8=True, without_utf8=without_utf8)


def stuffed(content: bytes) -> bytes:
    """Double the dots at the beginning of lines (RFC 5321, section 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", content) if content.startswith(b".") or b"\n." in content else content


def _is_djangos(message: EmailMessage) -> bool:
    return type(message).message is EmailMessage.message


def serialised(message: EmailMessage) -> bytes:
    """Build a message and return the bytes that Django's SMTP backend sends of it."""
    mime = _built(message, policy=SMTP)
    return ended(mime.as_bytes() if PREPARES else mime.as_bytes(linesep="\r\n"))


def _built(message: EmailMessage, *, policy: Any) -> Any:
    mime: Any = message.message(policy=policy) if PREPARES else message.message()
    check_heads(mime)
    return mime


_LINE_END = re.compile(rb"\r\n|\r|\n")


def ended(content: bytes) -> bytes:
    """Let every line end in CRLF, and in nothing else.

    Servers that take a bare CR or LF for the end of a line may take what stands between two of them for the end of
    the mail, and what follows for commands (SMTP smuggling).
    """
    if not content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n"):
        content = _LINE_END.sub(b"\r\n", content)
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _serialised_for_utf8(message: EmailMessage) -> tuple[bytes, bool]:
    """Return the message with addresses in UTF-8 (RFC 6532), and whether its header can't be without that."""
    mime = _built(message, policy=SMTPUTF8)
    if PREPARES:
        headers = [value for value in mime.values() if isinstance(value, AddressHeader)]
        has_utf8 = any(not address.username.isascii() for header in headers for address in header.addresses)
        return ended(mime.as_bytes()), has_utf8
    return _in_utf8(mime)


_ADDRESS_LINE = re.compile(rb"(?im)^(from|sender|reply-to|to|cc|resent-[a-z]+):[^\r\n]*(\r\n[ \t][^\r\n]*)*")
_ENCODED_LOCAL_PART = re.compile(rb"=\?[^?\s]+\?[bq]\?[^?\s]*\?=(?=@)", re.IGNORECASE)


def _in_utf8(mime: Any) -> tuple[bytes, bool]:
    """Django 5.2 writes a non-ASCII local part as RFC 2047 text, which is another mailbox: undo that.

    Only in messages that Django has built: those that their caller builds, and may have signed, stay as they are.
    """
    from django.core.mail.message import MIMEMixin

    content = ended(mime.as_bytes(linesep="\r\n"))
    if not isinstance(mime, MIMEMixin):
        return content, False
    head, separator, body = content.partition(b"\r\n\r\n")
    decoded = _ADDRESS_LINE.sub(lambda line: _ENCODED_LOCAL_PART.sub(_decoded, line[0]), head)
    return decoded + separator + body, decoded != head


def _decoded(word: re.Match[bytes]) -> bytes:
    return str(make_header(decode_header(word[0].decode()))).encode()
