"""From a message to rows: what post_office's `Email` can hold goes into its fields, the rest beside it."""

from collections.abc import Mapping
from copy import copy
from email.message import Message
from email.utils import formataddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailAlternative, EmailAttachment, EmailMessage
from django.core.mail.utils import DNS_NAME
from post_office.models import Email

from mailqueue.models import MessageSource
from mailqueue.outbox import shape
from mailqueue.outbox.addresses import join_addresses
from mailqueue.outbox.attachments import Content
from mailqueue.outbox.attributes import attributes_of
from mailqueue.outbox.drafts import Draft, queued_mail
from mailqueue.outbox.envelope import check_content, check_envelope
from mailqueue.outbox.identity import make_message_id
from mailqueue.outbox.parts import take_apart
from mailqueue.outbox.serial import build, serialised
from mailqueue.outbox.simple import simple_draft
from mailqueue.outbox.size import check_size, is_surely_small

TEMPLATED = ("subject", "body", "from_email")
"""What may be left to a template that a mail service keeps."""


def draft(message: EmailMessage) -> Draft:
    """Turn a message into rows without touching the database. The message is not changed.

    Raises:
        MessageTooLargeError: it is larger than MAX_MESSAGE_BYTES.
        TypeError, ValueError: an attribute for the backend of a mail service can't be stored.
        whatever Django's SMTP backend raises before it speaks to the server.
    """
    if simple := simple_draft(message):
        if not is_surely_small(simple.email):
            check_size(message, serialise=lambda: serialised(message))
        return simple
    return built_draft(message)


def built_draft(message: EmailMessage) -> Draft:
    """Do what `draft` does for a message that has to be built to see what it is."""
    message, unset = _filled(message)
    check_envelope(message)
    built = build(message)
    check_content(message, serialise=lambda: serialised(built))
    is_own = shape.builds_itself(message)
    if not is_own:
        _mark(built, message)
    headers = _headers(message, built=built)
    email = _email(message, headers=headers)
    if not unset and shape.is_plain(message):
        contents = [_content(EmailAttachment(*attachment)) for attachment in message.attachments or ()]
        return Draft(email, contents, _source(message))
    taken = None if is_own else take_apart(message, email=email, headers=headers, built=built)
    if taken is None:
        return Draft(email, [], _source(message, data=serialised(built)))
    parts, contents = taken
    return Draft(email, contents, _source(message, parts=parts | unset))


def _filled(message: EmailMessage) -> tuple[EmailMessage, dict[str, None]]:
    """Fill in what a template of a mail service is to give (Anymail: None), and return what that was.

    Django could not build the message without.
    """
    missing = [name for name in TEMPLATED if getattr(message, name) is None]
    if not missing or not (attributes_of(message) or {}).get("template_id"):
        return message, {}
    filled = copy(message)
    for name in missing:
        setattr(filled, name, settings.DEFAULT_FROM_EMAIL if name == "from_email" else "")
    return filled, dict.fromkeys(missing)


def _mark(built: Message, message: EmailMessage) -> None:
    """Put a Message-ID of ours in the place of Django's."""
    if not any(str(name).lower() == "message-id" for name in message.extra_headers):
        built.replace_header("Message-ID", make_message_id(message.extra_headers, domain=DNS_NAME))


def _email(message: EmailMessage, *, headers: Mapping[str, str]) -> Email:
    alternatives = [EmailAlternative(*alternative) for alternative in getattr(message, "alternatives", None) or []]
    body: Any = message.body
    html: Any = next((a.content for a in alternatives if a.mimetype == "text/html"), "")
    if message.content_subtype == "html":
        body, html = "", body
    shown = {_clean(name): _clean(value) for name, value in headers.items()}
    own_id = [name for name in shown if name.lower() == "message-id"]
    message_id = [shown.pop(name) for name in own_id][-1]
    if message.reply_to and "Reply-To" not in shown:
        shown["Reply-To"] = _clean(", ".join(map(str, message.reply_to)))
    return queued_mail(
        from_email=_clean(message.from_email, limit=shape.FROM_LIMIT),
        to=_list(message.to),
        cc=_list(message.cc),
        bcc=_list(message.bcc),
        subject=_clean(message.subject, limit=shape.SUBJECT_LIMIT),
        message=_clean(body),
        html_message=_clean(html),
        message_id=message_id[: shape.MESSAGE_ID_LIMIT],
        headers=shown,
    )


def _headers(message: EmailMessage, *, built: Message) -> dict[str, str]:
    """Return the message's own headers with Date and Message-ID, which Django would make anew with every build."""
    headers = {str(name): str(value) for name, value in message.extra_headers.items()}
    given = {name.lower() for name in headers}
    for name in ("Date", "Message-ID"):
        if name.lower() not in given:
            headers[name] = str(built[name] or "")
    return headers


def _source(
    message: EmailMessage, *, data: bytes | None = None, parts: dict[str, Any] | None = None
) -> MessageSource | None:
    attributes = attributes_of(message)
    if not (data or parts or attributes):
        return None
    return MessageSource(
        envelope_from=_clean(message.from_email),
        recipients=[_address(recipient) for recipient in message.recipients()],
        message=data,
        parts=parts or None,
        attributes=attributes,
    )


def _address(recipient: Any) -> str:
    # Django 5.2 takes a pair of name and address too.
    return _clean(formataddr(recipient) if isinstance(recipient, tuple) else recipient)


def _list(addresses: list[str]) -> str:
    # As text, for post_office's field would split "Doe, Jane" when it reads a list back.
    return _clean(join_addresses(map(str, addresses)))


def _clean(value: Any, *, limit: int | None = None) -> str:
    """Make a text that the database takes: no NUL, no lone surrogates, not longer than the column."""
    return str(value).encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")[:limit]


def _content(given: EmailAttachment) -> Content:
    content = given.content
    data = content.encode() if isinstance(content, str) else bytes(content)  # type: ignore[arg-type]
    return Content(str(given.filename), str(given.mimetype), data)
