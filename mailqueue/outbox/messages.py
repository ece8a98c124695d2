"""From rows to a message: the letter that a connection is given."""

from collections.abc import Iterable
from contextlib import suppress
from email import message_from_bytes
from email.message import Message
from typing import Any

from django.core.mail import EmailMessage
from django.db.models import Prefetch, TextField
from django.db.models.functions import Cast
from post_office.models import Attachment, Email
from post_office.settings import get_override_recipients

from mailqueue.delivery.letter import Letter
from mailqueue.outbox.addresses import split_addresses

PARTS = ("body", "attachments", "alternatives")
ADDRESS_COLUMNS = ("to", "cc", "bcc")


class VerbatimMessage(Message):
    """A parsed message that is sent as the very bytes it was parsed from."""

    data = b""

    def as_bytes(self, *_: Any, **__: Any) -> bytes:
        return self.data


class SourceMessage(EmailMessage):
    """A message that is not built but kept: `message()` gives back what was queued.

    It has no parts to read. A backend that looks at them, as those for HTTP services do, is refused: it would send
    something else than the caller's message.
    """

    def __init__(self, data: bytes, **envelope: Any) -> None:
        super().__init__(**envelope)
        self._data = data
        del self.body, self.attachments

    def __getattr__(self, name: str) -> Any:
        if name in PARTS:
            raise AttributeError(f"This message is kept as a whole: its {name} can't be read, only message() can.")
        return object.__getattribute__(self, name)

    def message(self, **_: Any) -> Any:
        message = message_from_bytes(self._data, _class=VerbatimMessage)
        message.data = self._data
        return message


def load(email_ids: Iterable[int], *, using: str) -> dict[int, Email]:
    """Read mail with all that is needed to send it, so that nothing is left to ask the database for.

    `to`, `cc` and `bcc` of the rows are split as RFC 5322 says, not at every comma.
    """
    rows = (
        Email.objects.using(using)
        .filter(pk__in=list(email_ids))
        .select_related("template", "mailqueue_source")
        .prefetch_related(Prefetch("attachments", queryset=Attachment.objects.using(using).order_by("pk")))
        .annotate(**{f"{name}_text": Cast(name, TextField()) for name in ADDRESS_COLUMNS})
    )
    mails = {}
    for email in rows:
        for name in ADDRESS_COLUMNS:
            setattr(email, name, split_addresses(getattr(email, f"{name}_text")))
        mails[email.pk] = email
    return mails


def recipients_of(email: Email) -> list[str]:
    """Return the envelope recipients of a loaded mail; OVERRIDE_RECIPIENTS of post_office has its way."""
    override = get_override_recipients()
    if source := getattr(email, "mailqueue_source", None):
        return list(override or source.recipients)
    to = override or email.to
    return [address for address in (*to, *email.cc, *email.bcc) if address]


def letter_of(email: Email, *, recipients: list[str]) -> Letter:
    """Make the letter of a loaded mail for some of its recipients."""
    source = getattr(email, "mailqueue_source", None)
    if source is None:
        return Letter(email.from_email, recipients, lambda: _build(email))
    return Letter(
        source.envelope_from,
        recipients,
        lambda: SourceMessage(
            bytes(source.message), from_email=source.envelope_from, bcc=recipients, subject=email.subject
        ),
    )


def _build(email: Email) -> EmailMessage:
    for attachment in email.attachments.all():
        # post_office closes the file when it has read it, and a closed one stays closed.
        with suppress(AttributeError):
            del attachment.file.file
    message: EmailMessage = email.prepare_email_message()
    return message
