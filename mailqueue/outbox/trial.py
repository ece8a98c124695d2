"""What post_office makes of a row and its attachments, tried before anything is stored."""

import mimetypes
import warnings
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from email.message import Message
from io import BytesIO

from django.core.mail.message import DEFAULT_ATTACHMENT_MIME_TYPE
from post_office.models import Email

from mailqueue.outbox.addresses import split_addresses
from mailqueue.outbox.attachments import Content
from mailqueue.outbox.parts import take_reply_to
from mailqueue.outbox.serial import build, serialised
from mailqueue.outbox.size import FileSize
from mailqueue.outbox.sources import Data, size_of

BASE64_LINE = 57
"""The bytes that a line of base64 holds."""


@dataclass(frozen=True, slots=True)
class _Unstored:
    """Stands for a row of post_office's attachments."""

    name: str
    mimetype: str
    headers: dict[str, str] | None
    file: BytesIO


def built_at_delivery(email: Email, files: Iterable[tuple[Content, bytes]]) -> Message:
    """Build the message of a draft's row by the code that will build it when it is sent."""
    trial = copy(email)
    trial.pk, trial.template = 0, None
    trial.to, trial.cc, trial.bcc = (split_addresses(text) for text in (email.to, email.cc, email.bcc))
    rows = [_Unstored(content.name, content.mimetype, content.headers, BytesIO(data)) for content, data in files]
    trial._prefetched_objects_cache = {"attachments": rows}
    with warnings.catch_warnings():
        # Django's word to post_office, not to the caller. If threads race for the filters, this one stays, at most.
        warnings.filterwarnings("ignore", "MIMEBase attachments are deprecated")
        message = trial.prepare_email_message()
    message.reply_to = take_reply_to(message.extra_headers)
    return build(message)


def maintype_of(content: Content) -> str:
    """Return what stands before the slash of an attachment's type, guessed from its name if need be."""
    mimetype = content.mimetype or mimetypes.guess_type(content.name)[0] or DEFAULT_ATTACHMENT_MIME_TYPE
    return mimetype.partition("/")[0].lower()


def file_size(content: Content) -> FileSize:
    """Return what counts of an attachment."""
    texts = [content.name, content.mimetype, *(content.headers or {}).keys(), *(content.headers or {}).values()]
    return FileSize(sum(map(len, texts)), size_of(content.data), is_encoded=_is_encoded(content))


def measured(email: Email, contents: Sequence[Content], *, read: Callable[[Data], bytes]) -> int:
    """Return how many bytes the mail will have. Files that become base64, as most large ones do, are not read."""
    files = [(content, b"" if _is_encoded(content) else read(content.data)) for content in contents]
    beside = sum(_base64_size(size_of(content.data)) for content in contents if _is_encoded(content))
    return len(serialised(built_at_delivery(email, files))) + beside


def _is_encoded(content: Content) -> bool:
    return not content.headers and maintype_of(content) not in {"text", "message", "multipart"}


def _base64_size(size: int) -> int:
    return -(-size // 3) * 4 + -(-size // BASE64_LINE) * len("\r\n")
