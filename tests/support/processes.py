"""Real processes for tests: started with their output kept, waited for by what they print, and ended in any case."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
MANAGE = (sys.executable, str(CHECKOUT / "manage.py"))


class RunningProcess:
    """A process of its own session; what it prints goes to a file that tests read."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path) -> None:
        self.command = command
        self.output = output
        with output.open("wb") as file:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def wait_for(self, pattern: str, *, seconds: float = 30.0) -> re.Match[str]:
        """Wait until the output matches `pattern`; fail at once when the process ends without having said it."""

        def found() -> re.Match[str] | None:
            was_running = self.is_running()
            match = re.search(pattern, self.said(), re.MULTILINE)
            assert match or was_running, f"it ended without saying {pattern!r}:\n{self.said()}"
            return match

        match = wait_until(found, seconds=seconds, what=f"{pattern!r} from {self.command}")
        assert match
        return match

    def send(self, number: signal.Signals) -> None:
        """Signal this process alone."""
        self.popen.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Signal the process and all it started in its group, as a terminal does."""
        os.killpg(self.pid, number)

    def wait(self, *, seconds: float = 40.0) -> int:
        """The exit code, once it has ended."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.said()}") from None

    def end(self, *, seconds: float = 10.0) -> None:
        """End the process and its group whatever it does: by TERM, and by KILL after `seconds`."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.is_running():
                return
            with suppress(ProcessLookupError):
                self.send_to_group(number)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 40.0) -> int:
        self.send(number)
        return self.wait(seconds=seconds)


@contextmanager
def running(
    *command: str, env: Mapping[str, str | None] | None = None, cwd: Path = CHECKOUT
) -> Iterator[RunningProcess]:
    """Run `command` during the block, with `env` on top of this process's (None takes a name out)."""
    with tempfile.TemporaryDirectory(prefix="mailqueue-output-") as folder:
        process = RunningProcess(command, env=environment(env), cwd=cwd, output=Path(folder) / "output")
        try:
            yield process
        finally:
            process.end()


def run(
    *command: str, env: Mapping[str, str | None] | None = None, cwd: Path = CHECKOUT, seconds: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run `command` to its end; its output is in `stdout` and `stderr`."""
    return subprocess.run(
        command,
        env=environment(env),
        cwd=cwd,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    changed = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONUNBUFFERED": "1", **(changes or {})}
    return {name: value for name, value in changed.items() if value is not None}
