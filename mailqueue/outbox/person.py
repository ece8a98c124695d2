"""Somebody who is to be forgotten: how his addresses are told from others, and what stands in their place."""

import json
import re
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

from django.utils.translation import gettext

from mailqueue.outbox.addresses import join_addresses, split_addresses
from mailqueue.outbox.mailboxes import mailbox_of
from mailqueue.outbox.mentions import Mentions, begins_a_local_part
from mailqueue.recipient_patterns import normalised

FORGOTTEN = "forgotten@invalid"
"""What stands where his address stood. There is no such domain (RFC 2606, section 2)."""
STAND_IN = re.compile(r"forgotten(?:-\d+)?@invalid")
SHORTEST_BEGINNING = 2
CAPITALS = re.IGNORECASE | re.ASCII


class Person:
    """Somebody with one or several addresses. Capital letters and names make no difference."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Take mailboxes, `jane@example.com` or `Jane <jane@example.com>`.

        Raises:
            ValueError: one of them is no address.
        """
        self.addresses = [_mailbox(address) for address in addresses]
        meant = {spelling: _key(mailbox) for mailbox in self.addresses for spelling in _spellings(mailbox)}
        written = {way: key for spelling, key in meant.items() for way in _ways(spelling)}
        self._returns = {f"{local}={domain}": meant[f"{local}@{domain}"] for local, domain in map(_halves, meant)}
        self._known = frozenset(meant.values())
        self._mentions = Mentions(written)
        self._stand_ins: dict[str, str] | None = None
        self._taken: set[str] = set()
        self.spellings = sorted(meant)
        """The ways to write his mailboxes, in small letters."""
        self.needles = sorted({*written, *self._returns})
        """What to look for in what a table holds, in small letters: one of them stands wherever he is named."""
        # Before a "-" another address may have begun: that is for mail of which it is known that it names him.
        either = "|".join(map(re.escape, sorted(self._returns, key=len, reverse=True)))
        self._sure_return = re.compile(rf"(?:^|<)(?:[^<+@]*\+)?(?:{either})(?=@)", CAPITALS)
        self._likely_return = re.compile(rf"(?<![^<+=-])(?:{either})(?=[@+])", CAPITALS)

    def within(self, text: str) -> "Person":
        """Return him for the rows of one mail, in which each of his addresses gets a name of its own.

        Names that stand in the text are those of others who were forgotten before.
        """
        person = copy(self)
        person._stand_ins, person._taken = {}, set(STAND_IN.findall(text))
        return person

    def is_meant(self, address: str) -> bool:
        """Say whether an address is his. What can't be read as one is his if it holds his, and no other."""
        if mailbox := mailbox_of(address):
            return _key(mailbox) in self._known
        return self.is_named(address) and "@" not in self._mentions.replaced(address, lambda _: "")

    def is_named(self, text: str) -> bool:
        """Say whether a text names him by an address of his that is no part of a longer one."""
        return bool(self._mentions.in_text(text))

    def is_sender(self, address: str) -> bool:
        """Say whether the sender of a mail names him, as itself or as whom it comes back from."""
        return self.redacted_address(address) != address or self._sure_return.search(address) is not None

    def redacted(self, text: str) -> str:
        """Return a text without his addresses."""
        return self._mentions.replaced(text, self._stand_in)

    def redacted_address(self, address: str) -> str:
        """Return an address, or what stands in place of his; the name before another's is a text."""
        mailbox = mailbox_of(address)
        if mailbox and _key(mailbox) in self._known:
            return self._stand_in(_key(mailbox))
        if not mailbox and self.is_meant(address):
            return self._stand_in(self._mentions.in_text(address)[0][2])
        redacted = self.redacted(address)
        return address if mailbox and mailbox_of(redacted) != mailbox else redacted

    def redacted_sender(self, address: str) -> str:
        """Return the sender of a mail that names him; `bounces+jane=example.com@` says whom mail comes back from."""
        redacted = self.redacted_address(address)
        return self._likely_return.sub(
            lambda match: self._stand_in(self._returns[match[0].lower()]).replace("@", "="), redacted
        )

    def redacted_list(self, text: str) -> str:
        """Return a list of addresses, as a column holds it, without his and the names before them."""
        addresses = split_addresses(text)
        redacted = [self.redacted_address(address) for address in addresses]
        return text if redacted == addresses else join_addresses(redacted)

    def redacted_json(self, value: Any) -> Any:
        """Return a text, a list of addresses, or what stands by address, without his: his results stay apart."""
        if isinstance(value, str):
            return self.redacted(value)
        if isinstance(value, list):
            return [self.redacted_address(item) if isinstance(item, str) else item for item in value]
        return self._redacted_object(value) if isinstance(value, Mapping) else value

    def redacted_texts(self, value: Any) -> Any:
        """Return texts, however they are nested, without his addresses."""
        if isinstance(value, Mapping):
            return {self.redacted(key): self.redacted_texts(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.redacted_texts(item) for item in value]
        return self.redacted(value) if isinstance(value, str) else value

    def redacted_end(self, text: str) -> str:
        """Return a text that was cut off, without a beginning of his address at its end."""
        for spelling in self.spellings:
            for size in range(len(spelling) - 1, SHORTEST_BEGINNING - 1, -1):
                place = len(text) - size
                if text[place:].lower() == spelling[:size] and begins_a_local_part(text, place):
                    return text[:place] + FORGOTTEN
        return text

    def _redacted_object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in value.items():
            name = self.redacted_address(key)
            found[_free(found) if name in found else name] = self.redacted_json(item)
        return found

    def _stand_in(self, key: str) -> str:
        if self._stand_ins is None:
            return FORGOTTEN
        if key not in self._stand_ins:
            self._stand_ins[key] = _free({*self._taken, *self._stand_ins.values()})
        return self._stand_ins[key]


def _free(taken: Iterable[str]) -> str:
    names, number, name = set(taken), 1, FORGOTTEN
    while name in names:
        number += 1
        name = FORGOTTEN.replace("@", f"-{number}@")
    return name


def _mailbox(address: str) -> str:
    mailbox = mailbox_of(address.strip())
    if not (mailbox and mailbox.isprintable()):
        raise ValueError(gettext("%(address)s is not an email address.") % {"address": repr(address)})
    return mailbox


def _halves(mailbox: str) -> tuple[str, str]:
    local, _, domain = mailbox.rpartition("@")
    return local, domain


def _key(mailbox: str) -> str:
    """Return a mailbox as all are written that mean the same. In a local part, ß is not ss."""
    local, domain = _halves(mailbox)
    return local.lower() + normalised(f"@{domain}")


def _spellings(mailbox: str) -> set[str]:
    """Return the ways to write a mailbox, in small letters: a domain that is not ASCII has two."""
    local, domain = _halves(mailbox)
    shown = ".".join(_decoded(label) for label in domain.split("."))
    return {mailbox.lower(), _key(mailbox), f"{local}@{shown}".lower()}


def _ways(spelling: str) -> set[str]:
    """Return a spelling, with quotes that it does not need, and either as JSON writes it."""
    local, domain = _halves(spelling)
    texts = {spelling} if local.startswith('"') else {spelling, f'"{local}"@{domain}'}
    escaped = {json.dumps(text, ensure_ascii=is_ascii)[1:-1] for text in texts for is_ascii in (True, False)}
    return texts | escaped


def _decoded(label: str) -> str:
    try:
        return label.encode().decode("idna")
    except UnicodeError:
        return label
