"""Starts the processes of the benchmark, measures what they cost, and ends every one of them."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

POLL_SECONDS = 0.02
SAMPLE_SECONDS = 0.2
STOP_SECONDS = 60
LINES_OF_OUTPUT = 30
ANSWER = re.compile(r"^bench: answer (\S+)\n", re.MULTILINE)
"""How a process that is asked says what it found."""
READY = "bench: ready"
"""What a process says on its standard output when it may be measured."""


class BrokenError(Exception):
    """Something did not do its work: the benchmark has no figure to give, and fails."""


@dataclass(slots=True)
class Process:
    """One process with its descendants. Its output goes to a file."""

    command: Sequence[str]
    environment: Mapping[str, str]
    output: Path
    is_asked: bool = False
    """It works when it is asked."""
    cpu_seconds: float = 0.0
    """Of the process and all it has waited for; known when it has ended."""
    peak_bytes: dict[int, int] = field(default_factory=dict)
    """The peak resident size so far of each process of the family."""
    _popen: "subprocess.Popen[bytes]" = field(init=False)
    _code: int | None = None
    _sample_at: float = 0.0
    _answer_count: int = 0

    def start(self) -> None:
        with self.output.open("wb") as output:
            # A group of its own: Ctrl-C reaches the benchmark alone, which then ends it.
            self._popen = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.PIPE if self.is_asked else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs; takes a sample of memory now and then."""
        if self._code is not None:
            return self._code
        if time.monotonic() >= self._sample_at:
            self._sample_at = time.monotonic() + SAMPLE_SECONDS
            self.sample()
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid:
            self._code = self._popen.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_seconds = usage.ru_utime + usage.ru_stime
        return self._code

    def wait(self, *, seconds: float) -> None:
        """Wait for its end.

        Raises:
            BrokenError: it failed, or takes longer.
        """
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise BrokenError(f"{self._name} did not end within {seconds:.0f} s.\n{self.tail()}")
            time.sleep(POLL_SECONDS)
        if self._code:
            raise BrokenError(f"{self._name} ended with code {self._code}.\n{self.tail()}")

    def sample(self) -> None:
        for pid in family(self.pid):
            if size := peak_of(pid):
                self.peak_bytes[pid] = size

    @property
    def largest_bytes(self) -> int:
        """The peak resident size of its largest process."""
        return max(self.peak_bytes.values(), default=0)

    def cpu_so_far(self) -> float:
        """Return the CPU seconds that the family has used until now."""
        return sum(cpu_of(pid) for pid in family(self.pid))

    def wait_for_output(self, text: str, *, seconds: float) -> None:
        """Wait until it has said something.

        Raises:
            BrokenError: it has ended, or takes longer.
        """
        deadline = time.monotonic() + seconds
        while text not in self.output.read_text(errors="replace"):
            self.check_alive()
            if time.monotonic() > deadline:
                raise BrokenError(f"{self._name} did not say {text!r} within {seconds:.0f} s.\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def ask(self, *, seconds: float) -> float:
        """Have it do the next piece of its work, and return what it says of that.

        Raises:
            BrokenError: it has ended, or takes longer.
        """
        assert self._popen.stdin  # noqa: S101 - for the type checker
        self.check_alive()
        with contextlib.suppress(BrokenPipeError):  # it has just ended, which is said below
            self._popen.stdin.write(b"\n")
            self._popen.stdin.flush()
        self._answer_count += 1
        deadline = time.monotonic() + seconds
        while len(answers := ANSWER.findall(self.output.read_text(errors="replace"))) < self._answer_count:
            self.check_alive()
            if time.monotonic() > deadline:
                raise BrokenError(f"{self._name} did not answer within {seconds:.0f} s.\n{self.tail()}")
            time.sleep(POLL_SECONDS)
        return float(answers[-1])

    def check_alive(self) -> None:
        """Raise BrokenError when it has ended."""
        if self.poll() is not None:
            raise BrokenError(f"{self._name} ended before its time, with code {self._code}.\n{self.tail()}")

    def stop(self) -> None:
        """Ask it to end by TERM and wait for that."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            self.wait(seconds=STOP_SECONDS)

    def kill(self) -> None:
        """Leave nothing of the family."""
        members = family(self.pid) if self.poll() is None else []
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if members:
            self._popen.wait()
        if self._popen.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.close()

    def tail(self) -> str:
        lines = self.output.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LINES_OF_OUTPUT:])

    @property
    def _name(self) -> str:
        return " ".join(Path(self.command[0]).name if n == 0 else part for n, part in enumerate(self.command))[:200]


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    """Run a process during the block; what is left of it at the end is killed."""
    process.start()
    try:
        yield process
    finally:
        process.kill()


def family(pid: int) -> list[int]:
    """Return a process and all its descendants that are alive."""
    found = [pid]
    for member in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{member}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def peak_of(pid: int) -> int:
    """Return the peak resident size (VmHWM) in bytes; 0 when the process is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process and of the children it has waited for; 0 when it is gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return 0.0
