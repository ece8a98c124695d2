"""What one sender process was asked to do."""

import os
import socket
import uuid
from dataclasses import dataclass, field

from mailqueue.delivery.backends import canonical, configured_aliases
from mailqueue.queue.settle import LogLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line of a sender, validated."""

    concurrency: int
    using: str
    """The database alias that mail is written to."""
    backends: tuple[str, ...] = ()
    """Only mail of these delivering backends; empty: of all."""
    is_until_empty: bool = False
    log_level: LogLevel = LogLevel.FAILURES
    sender: str = field(default_factory=lambda: f"{socket.gethostname()[:128]}.{os.getpid()}.{uuid.uuid4().hex[:12]}")
    """The name under which this process holds claims."""

    def serves(self, alias: str) -> bool:
        """Whether mail of rows with this alias is ours to send."""
        return not self.backends or canonical(alias) in self.backends


def unknown_backends(aliases: tuple[str, ...]) -> list[str]:
    """Return those aliases that are not configured."""
    return [alias for alias in aliases if canonical(alias) not in configured_aliases()]
