"""The addresses of a mail that stands in the tables already, and how they are changed before it is queued again.

What makes it the same mail stays: Message-ID, Date, and everything it says but whom it is for.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from post_office.models import Email

from mailqueue.models import MessageSource
from mailqueue.outbox.addresses import join_addresses, split_addresses
from mailqueue.outbox.envelope import check_envelope
from mailqueue.outbox.mailboxes import addresses_of
from mailqueue.outbox.messages import ADDRESS_COLUMNS, source_of
from mailqueue.outbox.soundness import check_source

NEXT = "next@example.com"
BRACKETED = re.compile(r"(.*)<([^<>]*)>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """One recipient, as the mail names it."""

    entry: str
    """The whole text, with a name or without; attempts tell of a recipient under it."""
    column: str
    """Where it stands: to, cc or bcc; empty: in the envelope alone."""

    @property
    def address(self) -> str:
        return bare(self.entry)

    @property
    def name(self) -> str:
        """What stands before the address."""
        found = BRACKETED.fullmatch(self.entry)
        return found[1].strip() if found else ""

    def with_address(self, given: str) -> str:
        """Return the recipient with another address, under its name, unless that is given too."""
        found = BRACKETED.fullmatch(self.entry)
        return f"{found[1]}<{given}>" if found and not BRACKETED.fullmatch(given) else given


def bare(entry: str) -> str:
    """Return the address in a recipient, without a name."""
    found = BRACKETED.fullmatch(entry)
    return found[2].strip() if found else entry.strip()


def places_of(mail: Email) -> list[Place]:
    """Return whom a loaded mail (`outbox.messages.load_rows`) goes to, each once.

    Other than for sending, OVERRIDE_RECIPIENTS of post_office has no say in it.

    Raises:
        ValueError: what is kept beside the row can't be read; nothing is known of its envelope then.
    """
    source = source_of(mail)
    columns = _columns(mail, source)
    where = {bare(entry): name for name in reversed(ADDRESS_COLUMNS) for entry in columns[name]}
    if source:
        check_source(source)
    envelope = source.recipients if source else [entry for name in ADDRESS_COLUMNS for entry in columns[name]]
    return [Place(entry, where.get(bare(entry), "")) for entry in dict.fromkeys(envelope) if entry]


def is_text_kept(mail: Email) -> bool:
    """Whether what the mail itself says of its recipients stays when they are changed: its caller wrote it."""
    source = source_of(mail)
    own = {str(name).lower() for name in mail.headers} if isinstance(mail.headers, dict) else set()
    return bool(source and source.message is not None) or not own.isdisjoint({"to", "cc"})


def check_address(address: str) -> None:
    """Refuse what is not one address, with a name or without, that mail can be sent to.

    Raises:
        ValidationError: it is not.
    """
    addresses_of([address], argument="address")
    try:
        check_envelope(EmailMessage(to=[address]))
    except ValueError as error:
        raise ValidationError(str(error)) from error
    # A row holds all of them in one text.
    if not address.isprintable() or split_addresses(join_addresses([address, NEXT])) != [address, NEXT]:
        raise ValidationError(f"address: {address!r} holds a control character, or a bracket or quote left open")


def replace_recipients(mail: Email, new: Mapping[str, str], *, using: str) -> None:
    """Write recipients anew, in every place that names them; `new` has for each entry another one.

    The caller has the mail's row locked, and nobody is sending it.
    """
    source = source_of(mail)
    replace = _replacement(new)
    changed = {name: _replaced(getattr(mail, name), replace) for name in ADDRESS_COLUMNS}
    texts = {name: join_addresses(entries) for name, entries in changed.items() if entries != getattr(mail, name)}
    if texts:
        Email.objects.using(using).filter(pk=mail.pk).update(**texts)
    if source:
        parts = source.parts and {
            name: _replaced(part, replace) if name in ADDRESS_COLUMNS else part for name, part in source.parts.items()
        }
        rows = MessageSource.objects.using(using).filter(pk=source.pk)
        rows.update(recipients=_replaced(source.recipients, replace), parts=parts)


def _columns(mail: Email, source: MessageSource | None) -> dict[str, list[str]]:
    parts = (source and source.parts) or {}
    return {name: parts.get(name) or getattr(mail, name) for name in ADDRESS_COLUMNS}


def _replacement(new: Mapping[str, str]) -> Callable[[str], str]:
    """Return what gives the new text for an entry; one that is written in another way keeps the name it has there."""
    addresses = {bare(old): bare(entry) for old, entry in new.items()}

    def replace(entry: str) -> str:
        if entry in new:
            return new[entry]
        address = addresses.get(bare(entry))
        return entry if address is None else Place(entry, "").with_address(address)

    return replace


def _replaced(entries: Sequence[str], replace: Callable[[str], str]) -> list[str]:
    return [replace(entry) for entry in entries]
