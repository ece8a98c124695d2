"""The attachments of a mail, to be looked at and fetched. Their storage may raise anything: it is somebody else's."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from post_office.models import Attachment, Email

CHUNK_BYTES = 64 * 1024
LONGEST_NAME = 120
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode that end a line, or turn what follows around: `gpj.exe` reads as `exe.jpg`."""


class MissingFileError(Exception):
    """The file of an attachment can't be read; its text says what the storage said."""


@dataclass(frozen=True, slots=True)
class Attached:
    """One attachment as its row and its storage have it."""

    pk: int
    name: str
    mimetype: str
    size: int | None
    problem: str = ""
    """Why its file can't be read."""


def attached_to(email: Email) -> list[Attached]:
    """List the attachments of a loaded mail that are kept as files."""
    return [_attached(attachment) for attachment in email.attachments.all()]


def _attached(attachment: Attachment) -> Attached:
    name = safe_name(attachment.name)
    try:
        return Attached(attachment.pk, name, attachment.mimetype, attachment.file.size)
    except Exception as error:  # noqa: BLE001  (a storage may raise anything)
        return Attached(attachment.pk, name, attachment.mimetype, None, f"{type(error).__name__}: {error}")


class Chunks:
    """The bytes of an open file, in chunks. Closed when it has been read to its end, or before."""

    def __init__(self, file: Any) -> None:
        self._file = file
        try:
            self._next: bytes = file.read(CHUNK_BYTES)
        except BaseException:
            file.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self._next
        if not chunk:
            self.close()
            raise StopIteration
        self._next = self._file.read(CHUNK_BYTES)
        return chunk

    def close(self) -> None:
        self._file.close()


def read_file(attachment: Attachment) -> tuple[int, Chunks]:
    """Return the size of the file of an attachment, and its bytes in chunks, which are to be closed.

    Raises:
        MissingFileError: the file is gone or can't be read. Some storages only know when they are asked for the first
            byte, so it is read before this returns.
    """
    try:
        size: int = attachment.file.size
        return size, Chunks(attachment.file.open("rb"))
    except Exception as error:
        raise MissingFileError(f"{type(error).__name__}: {error}") from error


def safe_name(name: str) -> str:
    """Return the name of a file that says what it is: one line, no folders, nothing that can't be seen."""
    last = name.replace("\\", "/").rpartition("/")[2]
    seen = "".join(character for character in last if unicodedata.category(character) not in UNSEEN)
    stem, dot, suffix = seen.strip(" .").rpartition(".")
    return f"{stem[:LONGEST_NAME]}{dot}{suffix[:LONGEST_NAME]}" or "attachment"
