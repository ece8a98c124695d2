"""Messages of which is known beforehand that Django builds them and that post_office's columns hold them.

For these, the cost of building is saved when they are queued. Every other message is built to see.
"""

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.utils import DNS_NAME
from django.utils.timezone import get_current_timezone

from mailqueue.outbox.addresses import join_addresses
from mailqueue.outbox.drafts import Draft, queued_mail
from mailqueue.outbox.identity import make_message_id
from mailqueue.outbox.mailboxes import is_simple
from mailqueue.outbox.serial import HAS_POLICIES
from mailqueue.outbox.shape import SUBJECT_LIMIT
from mailqueue.outbox.storable import is_storable

HEADER = re.compile(r"(?:X|List)(?:-[A-Za-z0-9]+)+")
"""Headers that Python and Django take as mere text."""
HEADER_LIMIT = 60
"""Longer names of headers leave too little of a line for their values: Python refuses some of them."""
MESSAGE_ID = re.compile(r"<[A-Za-z0-9.]{1,100}@[A-Za-z0-9.-]{1,100}>")


def simple_draft(message: EmailMessage) -> Draft | None:
    """Turn a message of the most common shapes into the rows that it would become, without building it.

    None for every message with anything in it that Django might refuse, or that needs more than `Email`'s columns.
    """
    body = message.body
    html = _html_of(message)
    if html is None:
        return None
    if message.content_subtype == "html":
        body, html = "", body
    return simple_row(
        subject=message.subject,
        body=body,
        html=html,
        from_email=message.from_email,
        to=message.to,
        cc=message.cc,
        bcc=message.bcc,
        reply_to=message.reply_to or (),
        headers=message.extra_headers,
        domain=DNS_NAME,
    )


def simple_row(  # noqa: PLR0913 - so much makes a mail
    *,
    subject: Any,
    body: Any,
    html: Any,
    from_email: Any,
    to: Sequence[Any],
    cc: Sequence[Any] = (),
    bcc: Sequence[Any] = (),
    reply_to: Sequence[Any] = (),
    headers: Any,
    domain: Any,
    priority: int | None = None,
) -> Draft | None:
    """Turn texts and addresses into the rows that Django's message of them would become, with a Message-ID and a Date.

    None where any of them is not of the simplest kind. `domain` is that of the Message-ID. `priority` None is that of
    the settings.
    """
    if not (
        _are_plain_texts(body, html)
        and _is_harmless(subject)
        and len(subject) <= SUBJECT_LIMIT
        and all(map(is_simple, (from_email, *to, *cc, *bcc, *reply_to)))
        and _are_simple_headers(headers)
    ):
        return None
    headers = dict(headers)
    message_id = headers.pop("Message-ID", None) or make_message_id(headers, domain=domain)
    if not MESSAGE_ID.fullmatch(message_id):
        return None
    headers["Date"] = _date()
    if reply_to:
        headers["Reply-To"] = ", ".join(reply_to)
    return Draft(
        queued_mail(
            from_email=from_email,
            to=join_addresses(to),
            cc=join_addresses(cc),
            bcc=join_addresses(bcc),
            subject=subject,
            message=body,
            html_message=html,
            message_id=message_id,
            headers=headers,
            priority=priority,
        )
    )


def _date() -> str:
    """Return this moment as the running Django writes it: before 6.0 in the time zone of the process, or as -0000."""
    second = int(time.time())
    if not settings.EMAIL_USE_LOCALTIME:
        return _date_at(second, None)
    return _date_at(second, get_current_timezone() if HAS_POLICIES else settings.TIME_ZONE)


@lru_cache(maxsize=8)
def _date_at(second: int, zone: Any) -> str:
    if HAS_POLICIES:
        return format_datetime(datetime.fromtimestamp(second, zone or UTC))
    return formatdate(second, localtime=zone is not None)


def _html_of(message: EmailMessage) -> str | None:
    """Return the one HTML alternative, "" where there is none, None where the message has another structure."""
    if type(message) not in (EmailMessage, EmailMultiAlternatives) or not vars(message).keys() <= _usual_attributes():
        return None
    alternatives: Any = getattr(message, "alternatives", None) or ()
    if message.attachments or message.encoding is not None:
        return None
    if message.content_subtype == "html":
        return "" if message.body and not alternatives else None
    if message.content_subtype != "plain" or len(alternatives) > 1:
        return None
    if not alternatives:
        return ""
    content, mimetype = alternatives[0]
    is_html = mimetype == "text/html" and isinstance(content, str) and content and message.body
    return str(content) if is_html else None


@lru_cache(maxsize=1)
def _usual_attributes() -> frozenset[str]:
    """What Django itself sets on a message. With anything more on it, it is somebody's special case."""
    return frozenset(vars(EmailMultiAlternatives())) | {"content_subtype"}


def _are_simple_headers(headers: Any) -> bool:
    if headers == {}:
        return True
    if not isinstance(headers, Mapping) or len({str(name).lower() for name in headers}) < len(headers):
        return False
    return all(
        isinstance(name, str)
        and len(name) <= HEADER_LIMIT
        and value
        and _is_harmless(value)
        and (MESSAGE_ID.fullmatch(value) if name == "Message-ID" else HEADER.fullmatch(name))
        for name, value in headers.items()
    )


def _is_harmless(text: Any) -> bool:
    """Whether a header's value has neither line breaks nor anything that Python takes for encoded words."""
    return isinstance(text, str) and text.isprintable() and "=?" not in text


def _are_plain_texts(*texts: Any) -> bool:
    is_unicode = settings.DEFAULT_CHARSET.lower() == "utf-8"
    return is_unicode and all(isinstance(text, str) and is_storable(text) for text in texts)
