"""A draft: every row that one mail becomes, not yet written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from post_office.models import STATUS, Email
from post_office.utils import parse_priority

from mailqueue.models import MailOptions, MessageSource
from mailqueue.outbox.attachments import Content


@dataclass(slots=True)
class Draft:
    """One mail, ready to be inserted. `to`, `cc` and `bcc` of the mail are texts, as `join_addresses` makes them."""

    email: Email
    attachments: list[Content] = field(default_factory=list)
    source: MessageSource | None = None
    options: MailOptions | None = None

    @property
    def has_extra_rows(self) -> bool:
        return bool(self.attachments or self.source or self.options)


def queued_mail(**columns: Any) -> Email:
    """Make the row of a mail that is to be queued, with the default priority.

    By position, which takes Django less than half the time.
    """
    fixed, made = _defaults()
    fresh = {name: default() for name, default in made.items()} if made else {}
    return Email(*{**fixed, **fresh, "status": STATUS.queued, "priority": parse_priority(None), **columns}.values())


@lru_cache(maxsize=1)
def _defaults() -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    """Return the defaults of all columns, in order, and what makes those that are made anew for each row."""
    fields = Email._meta.concrete_fields
    made = {field.attname: field.get_default for field in fields if field.has_default() and callable(field.default)}
    return {field.attname: field.get_default() for field in fields}, made
