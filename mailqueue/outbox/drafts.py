"""A draft: every row that one mail becomes, not yet written."""

from dataclasses import dataclass, field

from post_office.models import Email

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
