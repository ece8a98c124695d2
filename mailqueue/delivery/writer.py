"""Writes the usual messages straight to bytes: what Django would send, octet for octet but for a boundary's name.

It knows when it does not know: everything that is not certain is left to Django.
"""

import hashlib
import itertools
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives

from mailqueue.delivery.head_lines import UncertainError, head_lines
from mailqueue.delivery.paths import PREPARES
from mailqueue.delivery.text_parts import encoded
from mailqueue.delivery.wire import MANY, serialised

# The two make the same headers in another order.
_ENTITY = (
    'Content-Type: text/{kind}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\nMIME-Version: 1.0\r\n'
    if PREPARES
    else 'Content-Type: text/{kind}; charset="utf-8"\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: {encoding}\r\n'
)
_FIRST_PART = _ENTITY.replace("MIME-Version: 1.0\r\n", "") if PREPARES else _ENTITY
_MULTIPART = (
    'MIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n'
    if PREPARES
    else 'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\nMIME-Version: 1.0\r\n'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A message of texts only: plain, HTML, or both as alternatives."""

    subject: str
    from_email: str
    to: Sequence[str] = ()
    cc: Sequence[str] = ()
    reply_to: Sequence[str] = ()
    headers: Mapping[str, str]
    """The headers beyond those above, in their order; Date and Message-ID are among them."""
    body: str = ""
    html: str = ""


def write(text: Text) -> bytes | None:
    """Return what the running Django sends by SMTP for a message; None where that is not certain."""
    if settings.DEFAULT_CHARSET != "utf-8" or not is_proven():
        return None
    return _written(text)


def _written(text: Text) -> bytes | None:
    if len(text.to) + len(text.cc) > MANY:
        return None
    try:
        head = head_lines(
            subject=text.subject,
            from_email=text.from_email,
            addresses=(("To", text.to), ("Cc", text.cc), ("Reply-To", text.reply_to)),
            headers=text.headers,
        )
        return _alternatives(head, text) if text.body and text.html else _single(head, text)
    except (UncertainError, UnicodeEncodeError):
        return None


def _single(head: str, text: Text) -> bytes:
    encoding, octets = encoded(text.body or text.html)
    entity = _ENTITY.format(kind="html" if text.html else "plain", encoding=encoding)
    content = f"{entity}{head}\r\n".encode("ascii") + octets
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _alternatives(head: str, text: Text) -> bytes:
    plain_encoding, plain = encoded(text.body)
    html_encoding, html = encoded(text.html)
    boundary = _boundary()
    delimiter = f"\r\n--{boundary}".encode("ascii")
    if delimiter[2:] in plain or delimiter[2:] in html:
        raise UncertainError
    entity = _MULTIPART.format(boundary=boundary)
    first = _FIRST_PART.format(kind="plain", encoding=plain_encoding)
    second = _ENTITY.format(kind="html", encoding=html_encoding)
    return b"".join(
        (
            f"{entity}{head}\r\n--{boundary}\r\n{first}\r\n".encode("ascii"),
            plain,
            delimiter,
            f"\r\n{second}\r\n".encode("ascii"),
            html,
            delimiter,
            b"--\r\n",
        )
    )


_SECRET = secrets.token_bytes(32)
_numbers = itertools.count()


def _boundary() -> str:
    """Name a boundary as Python does, but so that nobody can guess it from those of other mails.

    The system's source of randomness would let go of the interpreter for each mail.
    """
    octets = hashlib.blake2b(b"%d" % next(_numbers), key=_SECRET, digest_size=8).digest()
    return f"==============={int.from_bytes(octets) >> 1:019d}=="


@lru_cache(maxsize=1)
def is_proven() -> bool:
    """Compare with the Django that runs, once: it, Python or somebody's patch may have changed what is written."""
    try:
        return all(_is_as_django_writes(sample) for sample in _samples())
    except Exception:  # noqa: BLE001 - whatever it is that has changed
        return False


def _is_as_django_writes(text: Text) -> bool:
    written = _written(text)
    djangos = serialised(message_of(text))
    return written is not None and _without_boundary(written) == _without_boundary(djangos)


def message_of(text: Text) -> EmailMessage:
    """Return the message that `write` writes, for Django to build."""
    message = EmailMultiAlternatives(
        text.subject,
        text.body or text.html,
        text.from_email,
        list(text.to),
        cc=list(text.cc),
        reply_to=list(text.reply_to),
        headers=dict(text.headers),
    )
    if text.body and text.html:
        message.attach_alternative(text.html, "text/html")
    elif text.html:
        message.content_subtype = "html"
    return message


def _without_boundary(content: bytes) -> bytes:
    """Let the boundary be nameless."""
    _, found, rest = content.partition(b'boundary="')
    return content.replace(rest.partition(b'"')[0], b"") if found else content


def _samples() -> list[Text]:
    plain, long = "A line.\n\nFrom me\n.\nü\n", "A long line. " * 100
    headers = {
        "X-Order": "1; a=b, c  d",
        "List-Unsubscribe": "<https://example.com/unsubscribe>",
        "Date": "Sat, 21 Nov 2026 09:30:00 +0000",
        "Message-ID": "<1.2.mailqueue@example.com>",
    }
    return [
        Text(
            subject=subject,
            from_email="Our Shop <shop@example.com>",
            to=["ann@example.com", '"Doe, Jane" <jane@example.com>'],
            cc=["Bob <bob@example.com>"],
            reply_to=["help@example.com"],
            headers=headers,
            body=body,
            html=html,
        )
        for subject, body, html in [
            ("Your order", "Thanks", ""),
            ("Grüße " * 20, plain, ""),
            ("Your order", "", plain + long),
            ("Your order", "Thanks", f"<p>{plain}</p>"),
            ("Your order " * 10, long, "ü" * 1000),
        ]
    ]
