"""Single header lines as the running Django sends them: plain ones as they are, others by its own functions."""

import re
from collections.abc import Mapping, Sequence
from email.policy import SMTP, compat32
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache

from mailqueue.delivery.heads import BREAK
from mailqueue.delivery.paths import MAILBOX, PREPARES

LINE_LIMIT = 76
"""No rule of folding touches a line of this length: RFC 5322, section 2.1.1, asks for 78 at most."""
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?")
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*@[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*>")
_DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", re.ASCII)
_TAKEN = frozenset(SMTP.header_factory.registry)  # type: ignore[attr-defined]
"""What Python reads as more than a text."""
_CRLF_POLICY = compat32.clone(linesep="\r\n")


class UncertainError(Exception):
    """A header that only building the whole message can tell of."""


def head_lines(
    *,
    subject: str,
    from_email: str,
    addresses: Sequence[tuple[str, Sequence[str]]],
    headers: Mapping[str, str],
) -> str:
    """Return the header lines that Django writes for a message, each with its line break, in Django's order.

    `addresses` are the headers that list addresses; `headers` are all others, Date and Message-ID among them.

    Raises:
        UncertainError: there is a header of which it is not known here what Django makes of it.
    """
    if not {"date", "message-id"} <= (names := {name.lower() for name in headers}) or len(names) < len(headers):
        raise UncertainError
    lines = [_text("Subject", subject), _mailboxes("From", (from_email,))]
    lines += [_mailboxes(name, listed) for name, listed in addresses if listed]
    lines += [_of_any_kind(name, value) for name, value in headers.items()]
    return "".join(lines)


def _of_any_kind(name: str, value: str) -> str:
    if name == "Date":
        return _date(value)
    if name == "Message-ID":
        is_plain = len(value) + 12 <= LINE_LIMIT and _MESSAGE_ID.fullmatch(value)
        return f"Message-ID: {value}\r\n" if is_plain else _made("Message-ID", value)
    lower = name.lower()
    if lower in _TAKEN or lower.startswith(("content-", "resent-")) or not _NAME.fullmatch(name):
        raise UncertainError
    return _text(name, value)


def _text(name: str, value: str) -> str:
    is_short = len(name) + 2 + len(value) <= LINE_LIMIT
    if is_short and _PLAIN.fullmatch(value) and "=?" not in value:
        return f"{name}: {value}\r\n"
    return _made(name, value)


def _mailboxes(name: str, addresses: Sequence[str]) -> str:
    value = ", ".join(addresses)
    if len(name) + 2 + len(value) <= LINE_LIMIT and all(map(MAILBOX.fullmatch, addresses)):
        return f"{name}: {value}\r\n"
    return _made(name, value)


@lru_cache(maxsize=64)
def _date(value: str) -> str:
    return f"Date: {value}\r\n" if _is_usual_date(value) else _made("Date", value)


def _is_usual_date(value: str) -> bool:
    """Whether it is a date that is written as Python writes it, and does exist."""
    try:
        return bool(_DATE.fullmatch(value)) and format_datetime(parsedate_to_datetime(value)) == value
    except ValueError:
        return False


@lru_cache(maxsize=256)
def _made(name: str, value: str) -> str:
    """Let Django and Python make a line. Subjects and senders come again and again."""
    if not value or not value.isprintable():
        raise UncertainError
    try:
        line = _by_policy(name, value) if PREPARES else _by_function(name, value)
    # Whatever it is that they raise: they will raise it again where that is reported.
    except Exception as error:
        raise UncertainError from error
    if not line.isascii() or not line.endswith("\r\n") or BREAK.search(line[:-2]) or "\n" in line.replace("\r\n", ""):
        raise UncertainError
    return line


def _by_policy(name: str, value: str) -> str:
    _, header = SMTP.header_store_parse(name, value)
    if BREAK.search(str(header)):
        raise UncertainError
    if not all(address.addr_spec.isascii() for address in getattr(header, "addresses", ())):
        raise UncertainError
    folded: str = SMTP.fold(name, header)
    return folded


def _by_function(name: str, value: str) -> str:
    from django.core.mail.message import forbid_multi_line_headers

    _, given = forbid_multi_line_headers(name, value, "utf-8")
    if BREAK.search(given):
        raise UncertainError
    return _CRLF_POLICY.fold(name, given)
