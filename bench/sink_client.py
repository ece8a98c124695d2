"""The benchmark's side of the sink: starts it, gives it orders, reads what it counted."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.processes import BrokenError

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the sink has counted since the last reset."""

    accepted: int
    duplicates: int
    connections: int
    first_at: float
    last_at: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Messages per second, from the first acceptance to the last."""
        seconds = self.last_at - self.first_at
        return (self.accepted - 1) / seconds if self.accepted > 1 and seconds > 0 else 0.0

    def check(self, count: int, *, who: str) -> None:
        """Make sure that each mail came once.

        Raises:
            BrokenError: mails were lost or doubled.
        """
        if self.accepted != count or self.duplicates:
            raise BrokenError(
                f"{who}: {count} mails were queued, {self.accepted} accepted, {self.duplicates} of them twice."
            )


class Sink:
    """The SMTP server of the benchmark; make it with `sink()`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.port = int(self._read()["port"])

    def reset(self, *, latency: float = 0.0, pipelining: bool = True) -> None:
        self._order("reset", latency=latency, pipelining=pipelining)

    def accepted(self) -> Accepted:
        return Accepted(**self._order("count"))

    def moments(self) -> dict[str, float]:
        """Return when each recipient's mail was accepted (monotonic seconds)."""
        return self._order("moments")

    def wait_for(self, count: int, *, seconds: float, alive: Callable[[], None] = lambda: None) -> Accepted:
        """Wait until so many messages were accepted. `alive` raises when whoever sends them is gone.

        Raises:
            BrokenError: it took longer.
        """
        deadline = time.monotonic() + seconds
        while (found := self.accepted()).accepted < count:
            alive()
            if time.monotonic() > deadline:
                raise BrokenError(f"only {found.accepted} of {count} mails were accepted within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        return found

    def _order(self, order: str, **details: Any) -> dict[str, Any]:
        assert self._process.stdin  # noqa: S101 - for the type checker
        self._process.stdin.write(json.dumps({"order": order, **details}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout  # noqa: S101 - for the type checker
        line = self._process.stdout.readline()
        if not line:
            raise BrokenError("the sink has died")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def sink() -> Iterator[Sink]:
    """Run a sink during the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.sink"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        yield Sink(process)
    finally:
        process.kill()
        process.communicate()
