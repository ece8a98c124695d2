"""What tests of `mailqueue.send` share: a mail with little said, and what would go over the wire for a row."""

import email.policy
from email import message_from_bytes
from email.message import EmailMessage as MimeMessage
from typing import Any

from post_office.models import Email

import mailqueue
from mailqueue.outbox.messages import letter_of, load, recipients_of
from mailqueue.outbox.serial import serialised

JANE = "jane@example.com"
SHOP = "shop@example.com"


def queue(**arguments: Any) -> Email:
    """Queue a mail to Jane from the shop, unless told otherwise."""
    mail = mailqueue.send(**{"recipients": JANE, "sender": SHOP, **arguments})
    assert mail is not None
    return mail


def loaded(mail: Email) -> Email:
    """Read a row as the sender does."""
    return load([mail.pk], using="default")[mail.pk]


def on_the_wire(mail: Email) -> MimeMessage:
    """Build what the sender would send for a row, and parse it."""
    row = loaded(mail)
    message = letter_of(row, recipients=recipients_of(row)).build()
    return message_from_bytes(serialised(message), policy=email.policy.default)
