"""Message-ID and Date: fixed once, so that every retry sends the same, and known as ours or the caller's."""

from collections.abc import Iterable
from email.utils import format_datetime, make_msgid
from typing import Any

from django.core.mail import EmailMessage
from django.utils import timezone
from post_office.models import Email
from post_office.settings import get_message_id_fqdn

MARK = "mailqueue"
"""Stands in every Message-ID that is made here."""
NAMES = ("message-id", "date")


def make_message_id(headers: Iterable[Any], *, domain: Any) -> str:
    """Make a Message-ID (RFC 5322, section 3.6.4) as Django does, with our mark.

    Without it where `headers` name a Date: the two are kept together, and the Date is the caller's.
    """
    is_dated = any(str(name).lower() == "date" for name in headers)
    return make_msgid(idstring=None if is_dated else MARK, domain=str(domain))


def withhold_identity(message: EmailMessage) -> None:
    """Take a Message-ID that was made here, and the Date with it, out of the headers; `message()` puts them back in.

    Backends for mail services would pass them on as headers of the caller's, and some of these services refuse that.
    """
    fixed = {name: value for name, value in message.extra_headers.items() if name.lower() in NAMES}
    if not any(f".{MARK}@" in str(value) for name, value in fixed.items() if name.lower() == "message-id"):
        return
    message.extra_headers = {name: value for name, value in message.extra_headers.items() if name not in fixed}
    build = message.message

    def with_identity(*arguments: Any, **options: Any) -> Any:
        shown = message.extra_headers
        message.extra_headers = {**shown, **fixed}
        try:
            return build(*arguments, **options)
        finally:
            message.extra_headers = shown

    message.message = with_identity  # type: ignore[method-assign]


def fix_identity(emails: Iterable[Email], *, using: str) -> None:
    """Give each loaded mail that others wrote the Message-ID and the Date it lacks, in the row and in the object."""
    for email in emails:
        if not isinstance(email.headers, dict | None):
            continue  # building it says so
        headers = dict(email.headers or {})
        names = {str(name).lower() for name in headers}
        has_id = email.message_id or "message-id" in names
        if getattr(email, "mailqueue_source", None) or (has_id and "date" in names):
            continue
        if not has_id:
            email.message_id = make_message_id(headers, domain=get_message_id_fqdn())
        if "date" not in names:
            headers["Date"] = format_datetime(timezone.now())
        email.headers = headers
        rows = Email.objects.using(using).filter(pk=email.pk)
        rows.update(message_id=email.message_id, headers=headers)
