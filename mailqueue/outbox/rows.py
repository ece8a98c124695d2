"""From a message to rows: what post_office's `Email` can hold goes into its fields, the rest beside it."""

from email.message import Message
from email.policy import SMTP
from typing import Any

import django
from django.core.mail import EmailAlternative, EmailAttachment, EmailMessage
from post_office.models import STATUS, Email
from post_office.utils import parse_priority

from mailqueue.models import MessageSource
from mailqueue.outbox import shape
from mailqueue.outbox.addresses import join_addresses
from mailqueue.outbox.attachments import Content
from mailqueue.outbox.drafts import Draft


def draft(message: EmailMessage) -> Draft:
    """Turn a message into rows without touching the database. The message is not changed.

    Raises:
        whatever Django raises when it builds the message.
    """
    built = build(message)
    if not shape.is_plain(message):
        return _draft_of_source(message, built=built)
    email = _email(message)
    email.message_id, email.headers = _identity(message, built=built)
    return Draft(email, attachments=[_content(EmailAttachment(*attachment)) for attachment in message.attachments])


def build(message: EmailMessage) -> Message:
    """Build the MIME message as Django's SMTP backend of the running version does."""
    if django.VERSION >= (6, 0):
        return message.message(policy=SMTP)
    return message.message()


def _email(message: EmailMessage) -> Email:
    alternatives = [EmailAlternative(*alternative) for alternative in getattr(message, "alternatives", None) or []]
    body: Any = message.body
    html: Any = next((a.content for a in alternatives if a.mimetype == "text/html"), "")
    if message.content_subtype == "html":
        body, html = "", body
    return Email(
        from_email=_clean(message.from_email, limit=shape.FROM_LIMIT),
        to=_list(message.to),
        cc=_list(message.cc),
        bcc=_list(message.bcc),
        subject=_clean(message.subject, limit=shape.SUBJECT_LIMIT),
        message=_clean(body),
        html_message=_clean(html),
        status=STATUS.queued,
        priority=parse_priority(None),
    )


def _list(addresses: list[str]) -> str:
    # As text, for post_office's field would split "Doe, Jane" when it reads a list back.
    return _clean(join_addresses(map(str, addresses)))


def _draft_of_source(message: EmailMessage, *, built: Message) -> Draft:
    email = _email(message)
    email.message_id = _clean(built.get("Message-ID") or "", limit=shape.MESSAGE_ID_LIMIT) or None
    data = built.as_bytes() if django.VERSION >= (6, 0) else built.as_bytes(linesep="\r\n")  # type: ignore[call-arg]
    source = MessageSource(
        envelope_from=str(message.from_email), recipients=[str(r) for r in message.recipients()], message=data
    )
    return Draft(email, source=source)


def _identity(message: EmailMessage, *, built: Message) -> tuple[str, dict[str, str]]:
    """Fix Message-ID and Date, which Django would make anew with every build."""
    headers = {str(name): str(value) for name, value in message.extra_headers.items()}
    if message.reply_to and "Reply-To" not in headers:
        headers["Reply-To"] = ", ".join(str(address) for address in message.reply_to)
    own_id = [name for name in headers if name.lower() == "message-id"]
    message_id = [headers.pop(name) for name in own_id][-1] if own_id else str(built["Message-ID"])
    if not any(name.lower() == "date" for name in headers):
        headers["Date"] = str(built["Date"])
    return message_id, headers


def _clean(value: Any, *, limit: int | None = None) -> str:
    """Make a text that the database takes: no NUL, no lone surrogates, not longer than the column."""
    return str(value).encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")[:limit]


def _content(given: EmailAttachment) -> Content:
    content = given.content
    data = content.encode() if isinstance(content, str) else bytes(content)  # type: ignore[arg-type]
    return Content(str(given.filename), str(given.mimetype), data)
