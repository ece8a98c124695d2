"""Message-ID and Date: fixed once, so that every retry sends the same, and known as ours or the caller's."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime, make_msgid
from typing import Any

from django.core.mail import EmailMessage
from django.utils import timezone
from post_office.models import Email
from post_office.settings import get_message_id_fqdn

from mailqueue.queue.mails import PlainMail

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
    shown, fixed = split_identity(message.extra_headers)
    if not fixed:
        return
    message.extra_headers = shown
    message.message = _WithIdentity(message, message.message, fixed)  # type: ignore[method-assign]


def split_identity(headers: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the headers without a Message-ID that was made here and the Date with it, and these two.

    A message is built with the two after all others.
    """
    fixed = {name: value for name, value in headers.items() if name.lower() in NAMES}
    if not any(f".{MARK}@" in str(value) for name, value in fixed.items() if name.lower() == "message-id"):
        return dict(headers), {}
    return {name: value for name, value in headers.items() if name not in fixed}, fixed


@dataclass(frozen=True, slots=True)
class _WithIdentity:
    """Builds a message with these headers, and is compared by them: messages are compared by their attributes."""

    message: EmailMessage = field(compare=False)
    build: Callable[..., Any] = field(compare=False)
    fixed: Mapping[str, Any]

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        shown = self.message.extra_headers
        self.message.extra_headers = {**shown, **self.fixed}
        try:
            return self.build(*arguments, **options)
        finally:
            self.message.extra_headers = shown


def fix_identity(emails: Iterable[Email | PlainMail], *, using: str) -> None:
    """Give each loaded mail that others wrote the Message-ID and the Date it lacks, in the row and in the object."""
    for email in emails:
        if has_identity(email):
            continue
        headers = dict(email.headers or {})
        names = {str(name).lower() for name in headers}
        if not (email.message_id or "message-id" in names):
            email.message_id = make_message_id(headers, domain=get_message_id_fqdn())
        if "date" not in names:
            headers["Date"] = format_datetime(timezone.now())
        email.headers = headers
        rows = Email.objects.using(using).filter(pk=email.pk)
        rows.update(message_id=email.message_id, headers=headers)


def has_identity(email: Email | PlainMail) -> bool:
    """Whether every try of a loaded mail has the same Message-ID and Date.

    One that is damaged has: building it says what is wrong.
    """
    if not isinstance(email.headers, dict | None) or getattr(email, "mailqueue_source", None):
        return True
    names = {str(name).lower() for name in email.headers or ()}
    return bool(email.message_id or "message-id" in names) and "date" in names
