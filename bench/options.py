"""What the command line asks for, and the sizes that follow."""

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each kind of work makes one figure."""

    laps: int
    """In how many parts each contestant does its work, in turn with the others."""
    laps_with_latency: int
    """The same where the server is slow: what the first connections cost must not show."""
    mails: int
    """Mails of a drain, over all laps."""
    waiting: int
    """Rows that wait, and as many scheduled ahead, while claims are timed."""
    claims: int
    memory_mails: int
    hot_bulk: int
    laps_of_writers: int
    """The same for those who write mail, each of whom stays connected."""
    enqueued: int
    """Transactions of one writer, over all laps."""
    writers_seconds: float
    laps_of_latency: int
    """The same where one waits for each mail."""
    latency_seconds: float
    """How long mail comes often, over all laps."""
    rare_mails: int
    """Mails that come one at a time to a sender at rest, over all laps."""
    idle_seconds: float
    subtracts_empty_runs: bool
    """What a start costs is taken off what a drain costs."""

    def with_mails(self, mails: int) -> "Sizes":
        """Return sizes for drains of so many mails; other long drains keep their proportion."""
        return replace(self, mails=mails, memory_mails=mails * 5 // 2, hot_bulk=mails)


FULL = Sizes(
    laps=4,
    laps_with_latency=2,
    mails=20_000,
    waiting=1_000_000,
    claims=400,
    memory_mails=50_000,
    hot_bulk=20_000,
    laps_of_writers=8,
    enqueued=4_000,
    writers_seconds=3,
    laps_of_latency=2,
    latency_seconds=20,
    rare_mails=20,
    idle_seconds=60,
    subtracts_empty_runs=True,
)
SMALL = Sizes(
    laps=1,
    laps_with_latency=1,
    mails=300,
    waiting=10_000,
    claims=20,
    memory_mails=600,
    hot_bulk=1_000,
    laps_of_writers=2,
    enqueued=60,
    writers_seconds=0.5,
    laps_of_latency=1,
    latency_seconds=1.5,
    rare_mails=1,
    idle_seconds=3,
    subtracts_empty_runs=False,
)


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    sections: tuple[str, ...]
    only: tuple[str, ...]
    """Keys of contestants; empty: all."""
    runs: int
    is_small: bool
    sizes: Sizes
    has_pipelining: bool
    """Whether the SMTP server offers PIPELINING."""
    json: Path
