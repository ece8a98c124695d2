"""How large a message is, encoded, and whether that is too large: told without building it where that is possible."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.mail import EmailMessage
from django.utils.functional import Promise
from post_office.models import Email

from mailqueue.conf import configuration

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


def check_size(message: EmailMessage, *, serialise: Callable[[], bytes]) -> None:
    """Refuse a message that is too large. Serialises only one that may be.

    Raises:
        MessageTooLargeError: it is larger than MAX_MESSAGE_BYTES.
    """
    if _most_bytes(message) > configuration().MAX_MESSAGE_BYTES:
        check_bytes(len(serialise()))


def check_file_sizes(files: Iterable[FileSize]) -> None:
    """Refuse, before any is read, files that can't fit into a message together.

    Raises:
        MessageTooLargeError: they alone are larger than MAX_MESSAGE_BYTES.
    """
    # A text becomes a quarter at best: four bytes of UTF-8 may be one in another charset.
    check_bytes(sum(file.size * 4 // 3 if file.is_encoded else file.size // 4 for file in files))


def check_attached_size(message: EmailMessage, files: Iterable[FileSize], *, measure: Callable[[], int]) -> None:
    """Refuse a message that is too large together with files that are not in it yet. Measures only one that may be.

    Raises:
        MessageTooLargeError: it is larger than MAX_MESSAGE_BYTES.
    """
    if _most_bytes(message) + sum(map(_most_bytes_of_file, files)) > configuration().MAX_MESSAGE_BYTES:
        check_bytes(measure())


def check_bytes(size: int) -> None:
    """Refuse a message that has so many bytes, encoded, if they are too many."""
    limit = configuration().MAX_MESSAGE_BYTES
    if size > limit:
        raise MessageTooLargeError(size, limit)


def is_surely_small(email: Email) -> bool:
    """Whether the message of a simple row, of texts and at most two parts, is certainly not too large."""
    texts = (email.subject, email.message, email.html_message, email.from_email, email.to, email.cc)
    length = sum(map(len, texts)) + sum(map(len, email.headers)) + sum(map(len, email.headers.values()))
    return TEXT_FACTOR * length + 2 * PART_BYTES <= configuration().MAX_MESSAGE_BYTES


def _most_bytes(message: EmailMessage) -> float:
    """Return a number that the encoded message is certainly not larger than."""
    headers = message.extra_headers
    head = sum(map(len, map(str, (*headers.keys(), *headers.values(), *head_of(message), message.body))))
    most: float = TEXT_FACTOR * head + PART_BYTES
    for content, mimetype in alternatives_of(message):
        most += _most_bytes_of(content, mimetype, "")
    for attachment in message.attachments or ():
        if not isinstance(attachment, tuple | list):
            return float("inf")
        name, content, mimetype = attachment
        most += _most_bytes_of(content, mimetype, name)
    return most


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


def head_of(message: EmailMessage) -> Iterator[Any]:
    """Yield the texts of the headers that Django makes of a message's own attributes."""
    yield message.subject
    yield message.from_email
    yield from message.to
    yield from message.cc
    yield from message.reply_to or ()


def alternatives_of(message: EmailMessage) -> Iterable[Any]:
    """Return the alternatives of a message, whatever its class."""
    return getattr(message, "alternatives", None) or ()
