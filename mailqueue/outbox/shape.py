"""Which messages post_office's `Email` is known to hold without loss. All others are looked at more closely."""

from collections.abc import Iterable
from typing import Any

from django.core.mail import EmailAlternative, EmailAttachment, EmailMessage, EmailMultiAlternatives
from django.utils.functional import Promise

from mailqueue.outbox.addresses import join_addresses, split_addresses
from mailqueue.outbox.storable import is_storable, is_utf8

SUBJECT_LIMIT = 989
FROM_LIMIT = 254
NAME_LIMIT = 255
MESSAGE_ID_LIMIT = 255


def is_plain(message: EmailMessage) -> bool:
    """Whether every part of the message has a column of `Email` or a row of `Attachment` to stand in."""
    return (
        type(message) in (EmailMessage, EmailMultiAlternatives)
        and message.encoding is None
        and _has_default_structure(message)
        and _has_plain_bodies(message)
        and _has_plain_headers(message)
        and all(_is_plain_attachment(attachment) for attachment in message.attachments or ())
    )


def builds_itself(message: EmailMessage) -> bool:
    """Whether the caller, not Django, makes the mail of this message: signed, encrypted, or in whatever way."""
    own = {"message", "recipients"}
    overridden = any(getattr(type(message), name) is not getattr(EmailMessage, name) for name in own)
    return overridden or bool(own & vars(message).keys())


def _has_default_structure(message: EmailMessage) -> bool:
    return not {"mixed_subtype", "alternative_subtype", "message", "recipients"} & vars(message).keys()


def _has_plain_bodies(message: EmailMessage) -> bool:
    if not _is_text(message.body):
        return False
    alternatives = getattr(message, "alternatives", None) or []
    if message.content_subtype == "html":
        return bool(message.body) and not alternatives
    return message.content_subtype == "plain" and (
        not alternatives or (bool(message.body) and len(alternatives) == 1 and _is_html(alternatives[0]))
    )


def _is_html(alternative: Any) -> bool:
    content, mimetype = EmailAlternative(*alternative)
    return mimetype == "text/html" and bool(content) and _is_text(content)


def _has_plain_headers(message: EmailMessage) -> bool:
    return (
        _is_text(message.subject, limit=SUBJECT_LIMIT)
        and _is_text(message.from_email, limit=FROM_LIMIT)
        and all(_survive_joining(addresses) for addresses in (message.to, message.cc, message.bcc))
        and _survive_joining(message.reply_to or ())
        and len({str(name).lower() for name in message.extra_headers}) == len(message.extra_headers)
        and all(_is_plain_header(name, value) for name, value in message.extra_headers.items())
    )


def _is_plain_header(name: Any, value: Any) -> bool:
    if isinstance(name, str) and name.lower() == "message-id":
        return bool(value) and _is_text(value, limit=MESSAGE_ID_LIMIT)
    return _is_text(name) and _is_text(value)


def _survive_joining(addresses: Iterable[Any]) -> bool:
    given = list(addresses)
    return all(_is_text(address) for address in given) and (
        split_addresses(join_addresses(map(str, given))) == [str(address) for address in given]
    )


def _is_plain_attachment(attachment: Any) -> bool:
    if not isinstance(attachment, tuple):
        return False
    name, content, mimetype = EmailAttachment(*attachment)
    if not (name and _is_text(name, limit=NAME_LIMIT) and _is_text(mimetype, limit=NAME_LIMIT)):
        return False
    maintype, _, subtype = mimetype.partition("/")
    if not subtype or ";" in subtype or maintype == "message":
        return False
    return isinstance(content, str) and is_utf8(content) if maintype == "text" else isinstance(content, bytes)


def _is_text(value: Any, *, limit: int | None = None) -> bool:
    """Whether a text column takes the value and gives it back unchanged."""
    if not isinstance(value, str | Promise):
        return False
    text = str(value)
    return is_storable(text) and (limit is None or len(text) <= limit)
