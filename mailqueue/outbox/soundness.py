"""Whether what is kept beside a row has the shape in which it was written: people and programs may change tables."""

from collections.abc import Callable, Mapping
from typing import Any

from post_office.models import Email

from mailqueue.models import MessageSource
from mailqueue.outbox.attributes import NAMES

TABLE = "mailqueue_messagesource"


def is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def check_source(source: MessageSource) -> None:
    """Refuse a row that no message can be made of, or that would set what a message does not have.

    Raises:
        ValueError: it has not the shape in which it was written; the text names the column.
    """
    if not is_texts(source.recipients):
        raise ValueError(f"{TABLE}: recipients must be a list of texts")
    for column, known in (("parts", _PARTS), ("attributes", dict.fromkeys(NAMES, _is_anything))):
        _check(column, getattr(source, column), known)


def check_columns(email: Email) -> None:
    """Refuse a mail whose own row, or one of its attachments, post_office could not read.

    Raises:
        ValueError: headers are no dict, or an attachment's type is none.
    """
    if not isinstance(email.headers, Mapping | None):
        raise ValueError(f"headers must be a JSON object, not {type(email.headers).__name__}")  # noqa: TRY004 - of a row
    for attachment in email.attachments.all():
        if attachment.mimetype and "/" not in attachment.mimetype:
            raise ValueError(f"attachment {attachment.name!r}: {attachment.mimetype!r} is not a type like 'image/png'")
        if not isinstance(attachment.headers, Mapping | None):
            raise ValueError(f"attachment {attachment.name!r}: its headers must be a JSON object")  # noqa: TRY004 - of a row


def _check(column: str, value: Any, known: Mapping[str, Callable[[Any], bool]]) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise ValueError(f"{TABLE}: {column} must be a JSON object, not {type(value).__name__}")  # noqa: TRY004 - of a row
    for name, part in value.items():
        if name not in known:
            raise ValueError(f"{TABLE}: {column} has an unknown name, {name!r}")
        if not known[name](part):
            raise ValueError(f"{TABLE}: {column} has something else than it should under {name!r}")


def _is_anything(_value: Any) -> bool:
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str | None)


def _is_alternatives(value: Any) -> bool:
    return isinstance(value, list) and all(is_texts(entry) and len(entry) in {2, 3} for entry in value)


def _is_headers(value: Any) -> bool:
    return isinstance(value, list) and all(is_texts(entry) and len(entry) == 2 for entry in value)


def _is_attachments(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


_PARTS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("subject", "body", "from_email", "content_subtype", "encoding"), _is_text),
    **dict.fromkeys(("mixed_subtype", "alternative_subtype"), _is_text),
    **dict.fromkeys(("to", "cc", "bcc", "reply_to"), is_texts),
    "alternatives": _is_alternatives,
    "headers": _is_headers,
    "attachments": _is_attachments,
}
