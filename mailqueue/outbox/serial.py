"""Building and serialising a message as Django's SMTP backend of the running version does."""

from email.message import Message
from email.policy import SMTP

import django
from django.core.mail import EmailMessage

from mailqueue.delivery.heads import check_heads

HAS_POLICIES = django.VERSION >= (6, 0)
"""Django 6.0 replaced its own MIME classes by Python's, which take a policy."""


def build(message: EmailMessage) -> Message:
    """Build the MIME message. Raises ValueError for a header that would be read as several."""
    built: Message = message.message(policy=SMTP) if HAS_POLICIES else message.message()
    check_heads(built)
    return built


def serialised(built: Message | EmailMessage) -> bytes:
    """Return what goes over the wire for a message."""
    mime = build(built) if isinstance(built, EmailMessage) else built
    return mime.as_bytes() if HAS_POLICIES else mime.as_bytes(linesep="\r\n")  # type: ignore[call-arg]
