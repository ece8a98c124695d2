"""Somebody who is to be forgotten: how his addresses are told from others, and what stands in their place."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mailqueue.outbox.addresses import join_addresses, split_addresses
from mailqueue.outbox.mailboxes import mailbox_of
from mailqueue.recipient_patterns import normalised

FORGOTTEN = "forgotten@invalid"
"""What stands where his address stood. There is no such domain (RFC 2606, section 2)."""


class Person:
    """Somebody with one or several addresses. Capital letters and names make no difference."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Take mailboxes, `jane@example.com` or `Jane <jane@example.com>`.

        Raises:
            ValueError: one of them is no address.
        """
        self.addresses = [_mailbox(address) for address in addresses]
        self._known = {normalised(mailbox) for mailbox in self.addresses}
        self.spellings = sorted({spelling for mailbox in self.addresses for spelling in _spellings(mailbox)})
        """What to look for in a text in small letters."""
        either = "|".join(re.escape(spelling) for spelling in self.spellings)
        self._expression = re.compile(rf"(?<![\w.+-])(?:{either})(?![\w-]|\.\w)", re.IGNORECASE)

    def is_meant(self, address: str) -> bool:
        """Say whether an address is his. What can't be read as one is his if it holds his."""
        mailbox = mailbox_of(address)
        return normalised(mailbox) in self._known if mailbox else self.is_named(address)

    def is_named(self, text: str) -> bool:
        return self._expression.search(text) is not None

    def redacted(self, text: str) -> str:
        """Return a text without his addresses."""
        return self._expression.sub(FORGOTTEN, text)

    def redacted_address(self, address: str) -> str:
        return FORGOTTEN if self.is_meant(address) else address

    def redacted_list(self, text: str) -> str:
        """Return a list of addresses, as a column holds it, without his and the names before them."""
        addresses = split_addresses(text)
        if not any(map(self.is_meant, addresses)):
            return text
        return join_addresses(map(self.redacted_address, addresses))

    def redacted_json(self, value: Any) -> Any:
        """Return a text, a list of addresses, or what stands by address, without his: his results stay apart."""
        if isinstance(value, str):
            return self.redacted(value)
        if isinstance(value, list):
            return [self.redacted_address(item) if isinstance(item, str) else item for item in value]
        return self._redacted_object(value) if isinstance(value, Mapping) else value

    def _redacted_object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in value.items():
            name = shown = self.redacted_address(key)
            while name in found:
                name = shown.replace("@", f"-{len(found) + 1}@")
            found[name] = self.redacted_json(item)
        return found

    def redacted_end(self, text: str) -> str:
        """Return a text that was cut off, without a beginning of his address at its end."""
        end = re.split(r"[\s,;<]", text)[-1]
        begins = bool(end) and any(spelling.startswith(end.lower()) for spelling in self.spellings)
        return text[: -len(end)] + FORGOTTEN if begins else text


def _mailbox(address: str) -> str:
    mailbox = mailbox_of(address.strip())
    if not (mailbox and mailbox.isprintable()):
        raise ValueError(f"{address!r} is not an email address.")
    return mailbox


def _spellings(mailbox: str) -> set[str]:
    """Return the ways to write a mailbox, in small letters: a domain that is not ASCII has two."""
    local, _, domain = mailbox.rpartition("@")
    shown = ".".join(_decoded(label) for label in domain.split("."))
    return {mailbox.lower(), normalised(mailbox), f"{local}@{shown}".lower()}


def _decoded(label: str) -> str:
    try:
        return label.encode().decode("idna")
    except UnicodeError:
        return label
