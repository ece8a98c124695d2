"""Several sender processes from one command: starts them, passes signals on, and replaces one that dies."""

import logging
import os
import signal
import subprocess
import sys
import time
from types import FrameType

from mailqueue.sender.log import instrument
from mailqueue.sender.waker import PARENT_VARIABLE, Waker

RESTART_SECONDS = (1, 2, 5, 10, 30)
LONG_LIFE_SECONDS = 60
"""A process that lived so long starts the pauses between restarts from the beginning."""


class Child:
    """The place of one sender process, whoever fills it."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._failure_count = 0
        self._start_at: float | None = None
        self._told_count = 0
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        self._start_at = None
        self._started_at = time.monotonic()
        # A group of its own: INT from the terminal comes through the supervisor, once, like every other signal.
        return subprocess.Popen(self._command, env={**os.environ, PARENT_VARIABLE: str(os.getpid())}, process_group=0)

    def revive(self) -> None:
        """Start the process again if it has failed, after a pause that grows."""
        code = self.process.poll()
        if not code:
            return
        now = time.monotonic()
        if self._start_at is None:
            has_lived = now - self._started_at > LONG_LIFE_SECONDS
            self._failure_count = 0 if has_lived else self._failure_count
            self._start_at = now + RESTART_SECONDS[min(self._failure_count, len(RESTART_SECONDS) - 1)]
            self._failure_count += 1
            instrument("process.died", level=logging.ERROR, pid=self.process.pid, code=code)
        elif now >= self._start_at:
            self._try_to_start()

    def _try_to_start(self) -> None:
        try:
            self.process = self._start()
        except OSError as error:  # no memory, no process left
            instrument("process.not_started", level=logging.ERROR, error=error)
            self._start_at = time.monotonic() + RESTART_SECONDS[-1]

    def tell(self, signals: list[signal.Signals]) -> None:
        """Pass on what the process was not told yet, also one that was just being started."""
        for number in signals[self._told_count :]:
            if not self.is_over:
                self.process.send_signal(number)
        self._told_count = len(signals)

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None


class Supervisor:
    """Keeps a number of processes alive until it is told to stop, or until each has ended by itself."""

    def __init__(self, command: list[str], *, count: int) -> None:
        self._waker = Waker()
        self._signals: list[signal.Signals] = []
        self._children = [Child(command) for _ in range(count)]

    def run(self) -> int:
        """Return 0 when every process ended well, else the first other exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.write_fd, warn_on_full_buffer=False)
        while any(self._is_needed(child) for child in self._children):
            for child in self._children:
                if not self._signals:
                    child.revive()
                child.tell(list(self._signals))
            self._waker.wait(1.0)
        codes = [child.process.returncode for child in self._children]
        return next((code for code in codes if code), 0)

    def _is_needed(self, child: Child) -> bool:
        if not child.is_over:
            return True
        return child.process.returncode != 0 and not self._signals

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(signal.Signals(number))


def supervise(count: int) -> int:
    """Run this very command in that many processes and return the exit code."""
    return Supervisor([*sys.orig_argv, "--processes", "1"], count=count).run()
