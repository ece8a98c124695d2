"""Attachments as `mailqueue.send` takes them: post_office's dict of names and files."""

import base64
import hashlib
import mimetypes
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from email.errors import MessageError
from email.message import MIMEPart
from email.mime.nonmultipart import MIMENonMultipart
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import File
from django.core.mail import EmailMessage
from django.core.mail.message import DEFAULT_ATTACHMENT_MIME_TYPE
from django.db.models.fields.files import FieldFile
from post_office.models import Email

from mailqueue.outbox.attachments import Content
from mailqueue.outbox.serial import HAS_POLICIES, serialised
from mailqueue.outbox.shape import NAME_LIMIT
from mailqueue.outbox.sources import SPOOL_BYTES, Data, Source, size_of
from mailqueue.outbox.trial import built_at_delivery, maintype_of

ENCODING = "content-transfer-encoding"
HEADER = re.compile(r"[!-9;-~]+")
MIMETYPE = re.compile(r"[^\s/;]+/[^\s/;]+")
"""What post_office can split where it makes a part of an attachment with headers."""
SAMPLE_BYTES = 1_000
REFUSALS = (AttributeError, LookupError, MessageError, TypeError, ValueError)
"""What Python's mail classes raise for parts that they can't build or write."""


class AttachmentDicts:
    """Reads the dicts of one call. What several mails name is opened once, and closed with the stack."""

    def __init__(self, *, until: ExitStack) -> None:
        self._until = until
        self._by_path: dict[str, Data] = {}
        self._tried: set[tuple[str, ...]] = set()

    def contents_of(self, given: Any) -> list[Content]:
        """Return the attachments of one mail.

        Raises:
            TypeError, ValueError: not a dict of names and files, or what Django would refuse in a message.
            OSError: a path can't be opened.
        """
        if not given:
            return []
        if not isinstance(given, Mapping):
            raise TypeError(f"attachments must be a dict of names and files, not {type(given).__name__}.")
        return [self._content(name, value) for name, value in given.items()]

    def attach(self, contents: list[Content], message: EmailMessage) -> None:
        """Put the attachments into a message, as post_office does when it sends one."""
        for content in contents:
            data = self.read(content.data)
            if content.headers:
                message.attach(_part(content, data))
            else:
                message.attach(content.name, data, content.mimetype or None)

    def _content(self, name: Any, value: Any) -> Content:
        details = value if isinstance(value, Mapping) else {"file": value}
        if not isinstance(name, str) or not 1 <= len(name) <= NAME_LIMIT:
            raise ValueError(f"attachments: a name must have 1 to {NAME_LIMIT} characters, not {name!r}.")
        data = self._data(name, details.get("file"))
        mimetype = str(details.get("mimetype") or "")
        for text in (name, mimetype):
            if not text.isprintable():
                raise ValueError(f"attachments: {text!r} holds a line break or another control character.")
        if not details.get("headers"):
            return self._tested(Content(name, mimetype, data))
        mimetype = mimetype or mimetypes.guess_type(name)[0] or DEFAULT_ATTACHMENT_MIME_TYPE
        if not MIMETYPE.fullmatch(mimetype):
            raise ValueError(
                f"attachments: {name!r} has headers, so its type must be like 'image/png' and nothing more, "
                f"not {mimetype!r}; parameters can stand in a header Content-Type."
            )
        headers = _headers(name, details["headers"])
        if not any(header.lower() == ENCODING for header in headers):
            # post_office sends such a file as it is under these headers; only text would survive that.
            data = base64.encodebytes(self.read(data))
            headers["Content-Transfer-Encoding"] = "base64"
        return self._tested(Content(name, mimetype, data, headers))

    def _data(self, name: str, file: Any) -> Data:
        # In this order: a file of a model's field opens itself when it is asked what it has.
        if isinstance(file, bytes | FieldFile) or hasattr(file, "read"):
            return _rewindable(file)
        if not isinstance(file, str | os.PathLike):
            raise TypeError(f"attachments: {name!r} must be a path, a file or bytes, not {type(file).__name__}.")
        path = os.fspath(file)
        if path not in self._by_path:
            self._by_path[path] = self._opened(Path(path))
        return self._by_path[path]

    def _opened(self, path: Path) -> Data:
        opened = File(self._until.enter_context(path.open("rb")))
        # Many small files must not use up the files that a process may hold open.
        if opened.size > SPOOL_BYTES:
            return opened
        with opened:
            data: bytes = opened.read()
        return data

    def read(self, data: Data) -> bytes:
        """Return the whole of what is attached."""
        with Source(data, until=self._until).open() as file:
            return b"".join(file.chunks())

    def _tested(self, content: Content) -> Content:
        """Build and write an attachment in a mail of its own, once for all mails: what is wrong shows then."""
        sample = self._sample(content)
        key = (content.name, content.mimetype, repr(content.headers), hashlib.sha256(sample).hexdigest())
        if key not in self._tried:
            try:
                serialised(built_at_delivery(Email(to="probe@example.com"), [(content, sample)]))
            except REFUSALS as error:
                kind = f" of type {content.mimetype!r}" if content.mimetype else ""
                raise ValueError(f"attachments: {content.name!r}{kind} can't be sent: {error}") from error
            self._tried.add(key)
        return content

    def _sample(self, content: Content) -> bytes:
        """Return the whole content where it may be refused for what it holds, unless it is large."""
        maintype = maintype_of(content)
        depends = maintype == "message" or (maintype == "text" and settings.DEFAULT_CHARSET.lower() != "utf-8")
        if depends and size_of(content.data) <= SPOOL_BYTES:
            return self.read(content.data)
        with Source(content.data, until=self._until).open() as file:
            sample: bytes = file.read(SAMPLE_BYTES)
        # The end of a sample must not make a binary file of a text.
        return sample if len(sample) < SAMPLE_BYTES else sample.decode(errors="ignore").encode()


def _rewindable(file: Any) -> Data:
    """Return what can be read more than once."""
    if isinstance(file, bytes | FieldFile) or (hasattr(file, "seekable") and file.seekable()):
        data: Data = file
        return data
    content = file.read()
    return content.encode() if isinstance(content, str) else bytes(content)


def _headers(name: str, given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise TypeError(f"attachments: the headers of {name!r} must be a dict, not {type(given).__name__}.")
    headers = {str(header): str(value) for header, value in given.items()}
    for header, value in headers.items():
        if not HEADER.fullmatch(header):
            raise ValueError(f"attachments: {header!r}, a header of {name!r}, is not a name that a header may have.")
        if not value.isprintable():
            raise ValueError(f"attachments: the header {header!r} of {name!r} holds a line break: {value!r}.")
    return headers


def _part(content: Content, data: bytes) -> Any:
    maintype, _, subtype = content.mimetype.partition("/")
    part: Any = MIMEPart() if HAS_POLICIES else MIMENonMultipart(maintype, subtype)
    headers = {"Content-Type": content.mimetype} | (content.headers or {})
    for name, value in headers.items():
        del part[name]
        part[name] = value
    part.set_payload(data.decode("ascii", errors="surrogateescape"))
    return part
