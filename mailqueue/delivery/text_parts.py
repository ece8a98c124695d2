"""Texts as the running Django sends them: how they are encoded (RFC 2045, section 6), and the octets."""

import re
from email import contentmanager
from email.policy import SMTP
from typing import Any

from django.core.mail import message as django_message

from mailqueue.delivery.paths import PREPARES

_LINE_END = re.compile(rb"\r\n|\r|\n")
_encode_text: Any = getattr(contentmanager, "_encode_text", None)
"""How Python chooses an encoding for a text with long lines."""


def encoded(text: str) -> tuple[str, bytes]:
    """Return the content transfer encoding of a text in UTF-8, and its octets with lines that end in CRLF.

    Raises:
        UnicodeEncodeError: the text holds half a surrogate pair.
    """
    octets = text.encode()
    return _as_python_does(text, octets) if PREPARES else _as_django_did(text, octets)


def _as_python_does(text: str, octets: bytes) -> tuple[str, bytes]:
    lines = octets.splitlines()
    limit: int = SMTP.max_line_length or 0
    if max(map(len, lines), default=0) > limit:
        encoding, payload = _encode_text(text, "utf-8", None, SMTP)
        return encoding, _with_crlf(payload.encode("ascii"))
    return _bits(octets), b"\r\n".join(lines) + b"\r\n"


def _as_django_did(text: str, octets: bytes) -> tuple[str, bytes]:
    """Before version 6, Django left a text as it is unless a line is longer than RFC 5322 allows."""
    limit: int = django_message.RFC5322_EMAIL_LINE_LENGTH_LIMIT
    # It asks `str.splitlines`, which knows more ends of lines than mail has.
    if _may_have_longer_lines(octets, limit) and any(len(line.encode()) > limit for line in text.splitlines()):
        return "quoted-printable", _with_crlf(django_message.utf8_charset_qp.body_encode(octets).encode("ascii"))
    return _bits(octets), _with_crlf(octets)


def _may_have_longer_lines(octets: bytes, limit: int) -> bool:
    """Go from line to line in the longest steps that are allowed, which is faster than to look at each line."""
    start = 0
    while len(octets) - start > limit:
        end = octets.rfind(b"\n", start, start + limit + 1)
        if end < 0:
            return True
        start = end + 1
    return False


def _bits(octets: bytes) -> str:
    return "7bit" if octets.isascii() else "8bit"


def _with_crlf(octets: bytes) -> bytes:
    return _LINE_END.sub(b"\r\n", octets) if b"\r" in octets else octets.replace(b"\n", b"\r\n")
