"""From rows to a message: the letter that a connection is given."""

from collections.abc import Iterable
from contextlib import suppress
from email import message_from_bytes
from email.message import Message
from functools import partial
from typing import Any, TypeAlias

from django.core.mail import EmailMessage
from django.db import connections
from django.db.models import Case, F, Prefetch, TextField, Value, When
from django.db.models.functions import Cast
from post_office.models import Attachment, Email
from post_office.settings import get_override_recipients

from mailqueue.delivery.heads import OwnOctets
from mailqueue.delivery.letter import Letter, UnreadableError
from mailqueue.models import MessageSource
from mailqueue.outbox.addresses import split_addresses
from mailqueue.outbox.attributes import set_attributes
from mailqueue.outbox.identity import withhold_identity
from mailqueue.outbox.octets import octets_of
from mailqueue.outbox.parts import put_together, take_reply_to
from mailqueue.outbox.soundness import check_columns, check_source
from mailqueue.outbox.templates import prepare_message
from mailqueue.queue.mails import PlainMail, read_plain

Mail: TypeAlias = Email | PlainMail
"""A mail that is about to be sent: a row, or what is known of a usual one without the ORM."""

PARTS = ("body", "attachments", "alternatives")
ADDRESS_COLUMNS = ("to", "cc", "bcc")
LONG_TEXTS = 30_000
LONG_HEADERS = 2_000
"""In characters."""
MANY_ADDRESSES = 30


class VerbatimMessage(OwnOctets, Message):
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
            raise UnreadableError(
                f"This message is kept as the bytes that its own message() built: its {name} can't be read. Send it "
                "by a backend for SMTP, or use a message class that leaves the building to Django."
            )
        return object.__getattribute__(self, name)

    def message(self, **_: Any) -> Any:
        message = message_from_bytes(self._data, _class=VerbatimMessage)
        message.data = self._data
        return message


def load(email_ids: Iterable[int], *, using: str, plain: Iterable[PlainMail] | None = None) -> dict[int, Mail]:
    """Read mail with all that is needed to send it, so that nothing is left to ask the database for.

    Usual mails come as plain values, all others as rows. `to`, `cc` and `bcc` are split as RFC 5322 says, not at every
    comma. `plain` are the usual ones among them, where they have been read already.
    """
    wanted = list(email_ids)
    mails: dict[int, Mail] = {}
    if not wanted:
        return mails
    for mail in read_plain(connections[using].cursor(), wanted) if plain is None else plain:
        mails[mail.pk] = mail
        _split(mail)
    if others := [pk for pk in wanted if pk not in mails]:
        mails |= load_rows(others, using=using)
    return mails


def load_rows(email_ids: Iterable[int], *, using: str) -> dict[int, Email]:
    """Read mail as `load` does, but all of it as rows: for those who give them to others."""
    # What we store is linked in order; post_office makes its rows in order, and links them in any.
    own_order = Case(When(mailqueue_digest=None, then=F("pk")), default=Value(0))
    link_order = f"{Attachment.emails.through._meta.db_table}.id"  # which has no name to order by
    attachments = Attachment.objects.using(using).annotate(own_order=own_order)
    rows = (
        Email.objects.using(using)
        .filter(pk__in=list(email_ids))
        .select_related("template", "mailqueue_source", "mailqueue_options")
        .prefetch_related(Prefetch("attachments", queryset=attachments.extra(order_by=["own_order", link_order])))
        .annotate(**{f"{name}_text": Cast(name, TextField()) for name in ADDRESS_COLUMNS})
    )
    mails = {}
    for email in rows:
        _split(email)
        mails[email.pk] = email
    return mails


def _split(mail: Mail) -> None:
    for name in ADDRESS_COLUMNS:
        setattr(mail, name, split_addresses(getattr(mail, f"{name}_text")))


def recipients_of(email: Mail) -> list[str]:
    """Return the envelope recipients of a loaded mail; OVERRIDE_RECIPIENTS of post_office has its way.

    Never raises for what stands in a row: a mail that is damaged has the recipients of its columns, until building it
    says what is wrong.
    """
    override = get_override_recipients()
    source = source_of(email)
    if source and not _is_sound(source):
        source = None
    if source and (source.message is not None or not override):
        return list(override or source.recipients)
    parts = (source and source.parts) or {}
    to, cc, bcc = (parts.get(name, getattr(email, name)) for name in ADDRESS_COLUMNS)
    return [address for address in (*(override or to), *cc, *bcc) if address]


def _is_sound(source: MessageSource) -> bool:
    try:
        check_source(source)
    except ValueError:
        return False
    return True


def letter_of(email: Mail, *, recipients: list[str]) -> Letter:
    """Make the letter of a loaded mail for some of its recipients; what is wrong with the mail shows at its build."""
    source = source_of(email)
    build = partial(_message, email, recipients=recipients)
    if source:
        return Letter(source.envelope_from, recipients, build)
    write = partial(octets_of, email, recipients=recipients)
    return Letter(email.from_email, recipients, build, write=write, is_long=_is_long(email, recipients))


def _is_long(email: Mail, recipients: list[str]) -> bool:
    """Whether it takes milliseconds to write a mail: header lines are folded, which is slow work."""
    headers = email.headers.values() if isinstance(email.headers, dict) else ()
    return (
        len(email.message) + len(email.html_message) > LONG_TEXTS
        or len(email.subject) + sum(map(len, filter(_is_text, headers))) > LONG_HEADERS
        or len(recipients) + len(email.to) + len(email.cc) > MANY_ADDRESSES
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def source_of(email: Mail) -> MessageSource | None:
    source: MessageSource | None = getattr(email, "mailqueue_source", None)
    return source


def _message(mail: Mail, *, recipients: list[str]) -> EmailMessage:
    email = mail.as_email() if isinstance(mail, PlainMail) else mail
    source = source_of(email)
    check_columns(email)
    if source:
        check_source(source)
    if source and source.message is not None:
        kept = bytes(source.message)
        return SourceMessage(kept, from_email=source.envelope_from, bcc=recipients, subject=email.subject)
    if source and source.parts:
        message = put_together(email, source.parts, [_read(attachment) for attachment in email.attachments.all()])
        message.to = get_override_recipients() or message.to
    else:
        message = _from_columns(email)
    withhold_identity(message)
    set_attributes(message, (source and source.attributes) or {})
    return message


def _from_columns(email: Email) -> EmailMessage:
    for attachment in email.attachments.all():
        # post_office closes the file when it has read it, and a closed one stays closed.
        with suppress(AttributeError):
            del attachment.file.file
    message = prepare_message(email)
    message.reply_to = take_reply_to(message.extra_headers)
    return message


def _read(attachment: Attachment) -> bytes:
    with attachment.file.open("rb") as file:
        data: bytes = file.read()
    return data
