"""What a caller attaches, bytes or an open file, made readable as often as needed without holding it in memory."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cached_property, partial
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeAlias

from django.core.files.base import ContentFile, File
from django.db.models.fields.files import FieldFile

Data: TypeAlias = "bytes | File[Any] | IO[Any]"
SPOOL_BYTES = 1_000_000
"""What can be read only once waits in a temporary file when it is larger than this."""


def size_of(data: Data) -> int:
    """Return how many bytes an attachment has."""
    if isinstance(data, bytes):
        return len(data)
    if isinstance(data, File):
        return data.size
    position = data.tell()
    size = data.seek(0, os.SEEK_END)
    data.seek(position)
    return size


class Source:
    """The content of an attachment. A file of the caller's stays open, and stands where it stood."""

    def __init__(self, data: Data, *, until: ExitStack) -> None:
        """Take `data` over; what has to be copied first is kept until the stack is closed.

        Raises:
            TypeError: it is neither bytes nor a file.
        """
        self.open: Callable[[], AbstractContextManager[File[Any]]]
        if isinstance(data, bytes | bytearray | memoryview):
            self.open = lambda: nullcontext(ContentFile(bytes(data)))
        elif isinstance(data, FieldFile) and data and data._committed:  # type: ignore[attr-defined]
            # Opened through the field, it would stay open in the caller's hands.
            self.open = partial(data.storage.open, str(data.name), "rb")
        elif not hasattr(data, "read"):
            raise TypeError(f"An attachment is bytes or an open file, not {type(data).__name__}.")
        elif _is_rewindable(data) and not isinstance(data.read(0), str):
            self.open = partial(_lent, data)
        else:
            self.open = partial(_lent, until.enter_context(_spooled(data)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content."""
        hashed = hashlib.sha256()
        with self.open() as file:
            for chunk in file.chunks():
                hashed.update(chunk)
        return hashed.hexdigest()


class _Lent(File):  # type: ignore[type-arg]
    """A file for somebody who may close it: storages do."""

    def close(self) -> None:
        """Leave the file open: it is somebody else's."""


def _is_rewindable(file: Any) -> bool:
    if hasattr(file, "seekable"):
        return bool(file.seekable())
    return hasattr(file, "seek") and hasattr(file, "tell")


@contextmanager
def _lent(file: Any) -> Iterator["File[Any]"]:
    """Give a file that stands at its beginning, and put it back where it stood."""
    position = file.tell()
    file.seek(0)
    try:
        yield _Lent(file)
    finally:
        file.seek(position)


@contextmanager
def _spooled(file: Any) -> Iterator[IO[bytes]]:
    """Copy a file that can't be read twice, or that is open as text."""
    with (
        SpooledTemporaryFile(SPOOL_BYTES) as spool,
        _lent(file) if _is_rewindable(file) else nullcontext(File(file)) as lent,
    ):
        while chunk := lent.read(File.DEFAULT_CHUNK_SIZE):
            spool.write(chunk.encode() if isinstance(chunk, str) else chunk)
        yield spool
