"""Where the development inbox keeps mail: a Maildir, with the envelope in headers of our own on top of each mail."""

import os
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ENVELOPE_FROM = "X-Envelope-From"
ENVELOPE_TO = "X-Envelope-To"
NAME = re.compile(r"\d{19}\.[0-9a-f]{16}", re.ASCII)
HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class KeptMail:
    """One mail in the folder. Its name sorts by the time of arrival."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def received_at(self) -> datetime:
        return datetime.fromtimestamp(int(self.name.split(".", 1)[0]) / 1e9, tz=UTC)

    def source(self) -> bytes:
        return self.path.read_bytes()

    def head(self) -> bytes:
        """Enough of the mail to read its headers."""
        with self.path.open("rb") as file:
            return file.read(HEAD_BYTES)


@dataclass(frozen=True, slots=True)
class Maildir:
    """A Maildir of which we fill `new`; other programs may read it too."""

    folder: Path

    def add(self, content: bytes, *, envelope_from: str, recipients: Sequence[str]) -> str:
        """Keep one mail and return its name. Whoever reads never sees half of it."""
        for part in ("tmp", "new", "cur"):
            (self.folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = [f"{ENVELOPE_FROM}: <{envelope_from}>", *(f"{ENVELOPE_TO}: <{address}>" for address in recipients)]
        envelope = "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")
        name = f"{time.time_ns():019d}.{secrets.token_hex(8)}"
        unfinished = self.folder / "tmp" / name
        unfinished.write_bytes(envelope + content)
        unfinished.rename(self.folder / "new" / name)
        return name

    def newest(self, *, limit: int) -> list[KeptMail]:
        names = sorted((name for name in self._names() if NAME.fullmatch(name)), reverse=True)
        return [KeptMail(self.folder / "new" / name) for name in names[:limit]]

    def count(self) -> int:
        return sum(1 for name in self._names() if NAME.fullmatch(name))

    def find(self, name: str) -> KeptMail | None:
        """The mail of that name; None for a name that is none of ours, whatever path it spells."""
        if not NAME.fullmatch(name):
            return None
        path = self.folder / "new" / name
        return KeptMail(path) if path.is_file() else None

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.folder / "new")  # noqa: PTH208 (names alone, for thousands of files)
        except FileNotFoundError:
            return []
