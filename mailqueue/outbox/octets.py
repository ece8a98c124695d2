"""The octets of a usual mail, from its row: what building and serialising its message would come to."""

from collections.abc import Collection
from typing import Any

from post_office.models import Email
from post_office.settings import get_override_recipients

from mailqueue.delivery.writer import Text, write
from mailqueue.outbox.identity import split_identity
from mailqueue.outbox.parts import take_reply_to
from mailqueue.queue.mails import PlainMail


def octets_of(mail: Email | PlainMail, *, recipients: Collection[str]) -> bytes | None:
    """Return the bytes of a loaded mail that has no source, where they are certain; else None.

    `recipients` are those who are to get it this time.
    """
    if not _is_all_in_its_row(mail) or get_override_recipients() or not mail.from_email:
        return None
    # Only who gets the mail is looked at when it is sealed, and who can't be mailed must not stand in the header.
    if not {*mail.to, *mail.cc} <= set(recipients):
        return None
    headers = _headers_of(mail)
    if headers is None:
        return None
    reply_to = take_reply_to(headers)
    shown, fixed = split_identity(headers)
    text = Text(
        subject=mail.subject,
        from_email=mail.from_email,
        to=mail.to,
        cc=mail.cc,
        reply_to=reply_to,
        headers=shown | fixed,
        body=mail.message,
        html=mail.html_message,
    )
    return write(text)


def _is_all_in_its_row(mail: Email | PlainMail) -> bool:
    if isinstance(mail, PlainMail):
        return True
    is_rendered = mail.template is not None and mail.context is not None
    return not is_rendered and not mail.attachments.all()


def _headers_of(mail: Email | PlainMail) -> dict[str, str] | None:
    """Return the headers as post_office makes them of a row; None where one of them is no text."""
    given: Any = mail.headers
    if not isinstance(given, dict | None):
        return None
    headers = dict(given or {})
    if mail.expires_at:
        headers["Expires"] = mail.expires_at.strftime("%a, %-d %b %H:%M:%S %z")
    if mail.message_id:
        headers["Message-ID"] = mail.message_id
    return headers if all(isinstance(value, str) for value in headers.values()) else None
