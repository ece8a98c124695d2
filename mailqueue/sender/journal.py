"""The acceptance journal: what this process knows to be accepted, on disk before anything else happens to that mail.

It survives a killed process, not a power cut: it is not synced. The lock on its file is also the proof of life of the
process that writes it.
"""

import fcntl
import hashlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from django.db import connections

from mailqueue import syscalls
from mailqueue.models import AttemptOutcome
from mailqueue.queue.claim import Claim
from mailqueue.queue.settle import Settlement
from mailqueue.sender.log import instrument

SUFFIX = ".journal"
LIMIT_BYTES = 1_000_000
RETRY_SECONDS = 1
"""How long a disk that refused to be written is left alone: it must not cost every mail a try."""
COMPLAIN_EVERY_SECONDS = 60
FORGOTTEN_AFTER_SECONDS = 7 * 24 * 3600
"""So long a dead journal is kept that says more than was settled: it may be another database's or version's."""


@dataclass(slots=True)
class Acceptance:
    """One line: the server took this mail. Only the token is proof, ids are not."""

    attempt_id: int
    email_id: int
    token: str
    outcome: str
    reply_code: int | None
    reply: str
    recipients: dict[str, Any] | None = None
    retry_after: float | None = None
    is_counted: bool = False
    queue_id: str = ""

    @classmethod
    def of(cls, settlement: Settlement) -> "Acceptance":
        return cls(**{name: getattr(settlement, name) for name in NAMES})

    @classmethod
    def from_line(cls, line: bytes) -> "Acceptance":
        """Read a line. What another version has added to it is passed over; raises ValueError where it is none."""
        try:
            given = json.loads(line)
            acceptance = cls(**{entry.name: given[entry.name] for entry in fields(cls) if entry.name in given})
            uuid.UUID(acceptance.token)
            acceptance.settlement()
        except (TypeError, AttributeError) as error:
            raise ValueError(line[:80]) from error
        return acceptance

    def line(self) -> bytes:
        values = {name: getattr(self, name) for name in NAMES}
        return json.dumps(values).encode() + b"\n"

    def settlement(self) -> Settlement:
        """Return how to settle the attempt, also when it was declared unknown meanwhile."""
        values = asdict(self) | {"outcome": AttemptOutcome(self.outcome)}
        return Settlement(**values, is_accepted=True)


NAMES = tuple(entry.name for entry in fields(Acceptance))


@dataclass(frozen=True, slots=True)
class Unsent:
    """One line: nobody has this mail by that attempt, which the database may have as started."""

    attempt_id: int
    token: str

    @classmethod
    def from_line(cls, line: bytes) -> "Unsent":
        """Read a line; raises ValueError where it is none."""
        try:
            given = json.loads(line)
            unsent = cls(given["unsent"], given["token"])
            uuid.UUID(unsent.token)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(line[:80]) from error
        return unsent

    def line(self) -> bytes:
        return json.dumps({"unsent": self.attempt_id, "token": self.token}).encode() + b"\n"


def journal_folder(state_dir: Path, *, using: str) -> Path:
    """Return the folder for the journals of senders of one database: several projects may share a state folder."""
    settings = connections[using].settings_dict
    identity = "\n".join(str(settings[name]) for name in ("HOST", "PORT", "NAME", "USER", "OPTIONS"))
    return state_dir / "journals" / hashlib.sha256(identity.encode()).hexdigest()[:16]


class Journal:
    """The journal of one living sender.

    A disk that is full or may not be written is said loudly, once a minute; sending goes on, and a crash then leaves
    more mails unknown than it would. When there is room again, everything that is not settled by then is written.
    """

    def __init__(self, folder: Path, *, sender: str) -> None:
        self.path = folder / f"{sender}{SUFFIX}"
        self._lock = threading.Lock()
        self._unsettled: dict[int, bytes] = {}
        self._size = 0
        self._fd: int | None = None
        self._is_whole = False
        """The file has every acceptance that is not settled."""
        self._begin_at = 0.0
        self._complain_at = 0.0
        self._begin()

    def write(self, acceptance: Acceptance) -> None:
        """Append one acceptance. Called by the connections."""
        line = acceptance.line()
        with self._lock:
            self._unsettled[acceptance.attempt_id] = line
            if self._is_whole:
                self._append(line)
            else:
                self._begin()

    def write_unsent(self, claims: Iterable[Claim]) -> None:
        """Append what was never sent, by a process that ends without its database.

        Started by a commit whose answer was lost, such a mail would be unknown. What a full disk does not take is.
        """
        lines = b"".join(Unsent(claim.attempt_id, claim.token).line() for claim in claims)
        with self._lock:
            self._append(lines)

    def forget(self, attempt_ids: Iterable[int]) -> None:
        """Drop what the database knows by now, so that the journal stays small however long the sender lives."""
        with self._lock:
            for attempt_id in attempt_ids:
                self._unsettled.pop(attempt_id, None)
            if self._size > LIMIT_BYTES:
                self._begin()

    def close(self, *, is_settled: bool) -> None:
        """Let go of the lock; remove the file when nothing in it is still to be settled."""
        if self._fd is None:
            return
        try:
            if is_settled:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            self._complain(error)
        os.close(self._fd)
        self._fd = None

    def _begin(self) -> None:
        """Start a file with what is unsettled, locked before anybody can see it, in place of the one before.

        Where that can't be done, the one before stays; it is tried again a moment later.
        """
        if time.monotonic() < self._begin_at:
            return
        new = self.path.with_suffix(".new")
        lines = b"".join(self._unsettled.values())
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600)
        except OSError as error:
            self._fail(error)
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(fd, lines)
            new.rename(self.path)
        except OSError as error:
            os.close(fd)
            with suppress(OSError):
                new.unlink()
            self._fail(error)
            return
        before, self._fd, self._size, self._is_whole = self._fd, fd, len(lines), True
        if before is not None:
            os.close(before)
        if self._complain_at:
            self._complain_at = 0.0
            instrument("journal.back", path=self.path)

    def _append(self, line: bytes) -> None:
        """Add a line. Half of one, where the disk became full in it, is taken back: a reader passes over it anyway."""
        if self._fd is None:
            return
        try:
            _write(self._fd, line)
        except OSError as error:
            self._is_whole = False
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            self._fail(error)
        else:
            self._size += len(line)

    def _fail(self, error: OSError) -> None:
        self._begin_at = time.monotonic() + RETRY_SECONDS
        self._complain(error)

    def _complain(self, error: OSError) -> None:
        if time.monotonic() >= self._complain_at:
            self._complain_at = time.monotonic() + COMPLAIN_EVERY_SECONDS
            _complain(self.path, error)


def _write(fd: int, data: bytes) -> None:
    """Write all of it: a disk takes what it has room for, and says only at the next call that it is full."""
    while data:
        data = data[syscalls.write(fd, data) :]


@dataclass(slots=True)
class DeadJournal:
    """The journal of a sender of this host whose process is gone, held so that nobody else takes it."""

    sender: str
    path: Path
    fd: int
    acceptances: list[Acceptance] = field(default_factory=list)
    unsent: list[Unsent] = field(default_factory=list)
    is_understood: bool = True
    """No whole line was passed over."""

    @property
    def is_old(self) -> bool:
        """Nobody came who knew its attempts, or could read all of it."""
        return time.time() - os.fstat(self.fd).st_mtime > FORGOTTEN_AFTER_SECONDS

    def read(self) -> None:
        """Take in what can be read of it. The last line may be cut, by a kill. Raises OSError."""
        for line in self.path.read_bytes().splitlines(keepends=True):
            try:
                self._take(line)
            except ValueError:
                self.is_understood = self.is_understood and not line.endswith(b"\n")

    def _take(self, line: bytes) -> None:
        with suppress(ValueError):
            self.unsent.append(Unsent.from_line(line))
            return
        self.acceptances.append(Acceptance.from_line(line))

    def remove(self) -> None:
        """Forget it; called when its acceptances are settled in the database."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            _complain(self.path, error)
        os.close(self.fd)

    def leave(self) -> None:
        """Put it back for another time."""
        os.close(self.fd)


def dead_journals(folder: Path, *, besides: Path) -> Iterator[DeadJournal]:
    """Yield the journals of processes that are gone: those whose lock can be had."""
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
        if path == besides:
            continue
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            _complain(path, error)
            continue
        if not _is_abandoned(fd):
            os.close(fd)
            continue
        journal = DeadJournal(path.name.removesuffix(SUFFIX), path, fd)
        try:
            journal.read()
        except OSError as error:
            journal.leave()
            _complain(path, error)
            continue
        yield journal


def _is_abandoned(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(fd).st_nlink > 0
    except OSError:
        return False


def _complain(path: Path, error: OSError) -> None:
    instrument("journal.failed", level=logging.ERROR, path=path, error=error)
