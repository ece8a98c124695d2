"""The addresses that a caller of `mailqueue.send` gives: each must be one mailbox that mail can be sent to."""

import re
from email.errors import HeaderParseError
from email.headerregistry import parser  # type: ignore[attr-defined]
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.functional import Promise

from mailqueue.recipient_patterns import normalised_domain

_SPEC = r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
SIMPLE = re.compile(rf"{_SPEC}|[A-Za-z0-9'-]+(?: [A-Za-z0-9'-]+)* <{_SPEC}>")
"""An address that Django's validator, its message and every mail server read in the same way."""
SIMPLE_LIMIT = 254


def is_simple(address: Any) -> bool:
    return isinstance(address, str) and len(address) <= SIMPLE_LIMIT and SIMPLE.fullmatch(address) is not None


def mailbox_of(address: str) -> str:
    """Return the mailbox of an address, without its name; "" where there is none, or more than one."""
    if is_simple(address):
        return address.rpartition("<")[2].rstrip(">")
    try:
        mailbox, rest = parser.get_mailbox(address)
        return "" if rest or not mailbox.domain else str(mailbox.addr_spec)
    except Exception:  # noqa: BLE001 - Python's parser raises all sorts for what it can't parse: TypeError for " .[b"
        return ""


def spelling_of(entry: str) -> str:
    """Return a recipient as all entries are written that mean the same mailbox; the entry where it can't be told.

    Its name is left out, and of its domain there is one way to write it. What stands before the @ stays as it is:
    only the server that has the mailbox knows whether `Ann` is `ann` (RFC 5321, section 2.4).
    """
    mailbox = mailbox_of(entry)
    if not mailbox:
        return entry.strip()
    local, _, domain = mailbox.rpartition("@")
    return f"{local}@{normalised_domain(domain)}"


def addresses_of(given: Any, *, argument: str) -> list[str]:
    """Return addresses as a list: `given` may be one address, several, or None.

    Raises:
        ValidationError: one of them is not a valid address, with or without a name; the text names the argument.
        TypeError: neither a text nor a list of them.
    """
    if given is None:
        return []
    if isinstance(given, str | Promise):
        given = [given]
    try:
        addresses = [str(address) for address in given]
    except TypeError:
        raise TypeError(f"{argument} must be an address or a list of them, not {type(given).__name__}.") from None
    for address in addresses:
        if not is_simple(address):
            _validate(address, argument=argument)
    return addresses


def _validate(address: str, *, argument: str) -> None:
    try:
        mailbox, rest = parser.get_mailbox(address)
        if rest:
            raise ValidationError("more than one mailbox")
        validate_email(mailbox.addr_spec)
    # What Python's parser raises for what it can't parse, as Django catches it when it sends.
    except (ValidationError, HeaderParseError, ValueError, IndexError) as error:
        raise ValidationError(f"{argument}: {address} is not a valid email address") from error
