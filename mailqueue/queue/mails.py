"""Reading the mails that are about to go out: the usual ones as plain values, without the ORM."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from post_office.models import Email

COLUMNS = """
e.id, e.from_email, e."to", e.cc, e.bcc, e.subject, e.message, e.html_message, e.message_id, e.headers::text,
e.expires_at
"""

# A usual mail is all in its row: no attachment, no template to render, nothing kept beside it. OFFSET 0 keeps the
# planner from reading those tables whole, and `+ 0` from all mails that have no template: see CLOSING.
IS_PLAIN = """
e.template_id + 0 IS NULL AND NOT EXISTS (SELECT FROM mailqueue_messagesource s WHERE s.email_id = e.id OFFSET 0)
AND NOT EXISTS (SELECT FROM mailqueue_mailoptions o WHERE o.email_id = e.id OFFSET 0)
AND NOT EXISTS (SELECT FROM post_office_attachment_emails l WHERE l.email_id = e.id OFFSET 0)
"""

READ = f"SELECT {COLUMNS} FROM post_office_email e WHERE e.id = ANY(%s::bigint[]) AND {IS_PLAIN}"
HEADERS = 9
"""Where they stand among these columns."""


@dataclass(slots=True)
class PlainMail:
    """A mail that is all in its row. The columns have the names and the meaning that they have on `Email`."""

    pk: int
    from_email: str
    to_text: str
    """`to`, `cc` and `bcc` as they stand in the row: joined by commas."""
    cc_text: str
    bcc_text: str
    subject: str
    message: str
    html_message: str
    message_id: str | None
    headers: Any
    """A dict or None; anything else is damage, which building the message says."""
    expires_at: datetime | None
    mailqueue_source: ClassVar[None] = None
    mailqueue_options: ClassVar[None] = None
    template: ClassVar[None] = None
    to: list[str] = field(default_factory=list)
    cc: list[str] = field(default_factory=list)
    bcc: list[str] = field(default_factory=list)

    def as_email(self) -> Email:
        """Return the same mail as post_office's model, for who needs that; it asks the database for nothing."""
        email = Email(
            pk=self.pk,
            from_email=self.from_email,
            to=self.to,
            cc=self.cc,
            bcc=self.bcc,
            subject=self.subject,
            message=self.message,
            html_message=self.html_message,
            message_id=self.message_id,
            headers=self.headers,
            expires_at=self.expires_at,
        )
        email._prefetched_objects_cache = {"attachments": ()}
        email._state.fields_cache.update(mailqueue_source=None, mailqueue_options=None)
        return email


def read_plain(cursor: Any, email_ids: Iterable[int]) -> list[PlainMail]:
    """Return those of these mails that are all in their rows. Their lists of addresses are not split yet."""
    cursor.execute(READ, [list(email_ids)])
    return plain_mails(cursor.fetchall())


def plain_mails(rows: Iterable[Sequence[Any]]) -> list[PlainMail]:
    """Make mails of rows with these columns."""
    return [PlainMail(*_with_headers(list(row))) for row in rows]


def _with_headers(row: list[Any]) -> list[Any]:
    if row[HEADERS] is not None:
        row[HEADERS] = json.loads(row[HEADERS])
    return row
