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
        self.start_at: float | None = None
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        self.start_at = None
        self._started_at = time.monotonic()
        # A group of its own: INT from the terminal comes through the supervisor, once, like every other signal.
        return subprocess.Popen(self._command, env={**os.environ, PARENT_VARIABLE: str(os.getpid())}, process_group=0)

    def revive(self, *, is_stopping: bool) -> None:
        """Start the process again if it has failed, after a pause that grows."""
        code = self.process.poll()
        if not code or is_stopping:
            return
        now = time.monotonic()
        if self.start_at is None:
            has_lived = now - self._started_at > LONG_LIFE_SECONDS
            self._failure_count = 0 if has_lived else self._failure_count
            self.start_at = now + RESTART_SECONDS[min(self._failure_count, len(RESTART_SECONDS) - 1)]
            self._failure_count += 1
            instrument("process.died", level=logging.ERROR, pid=self.process.pid, code=code)
        elif now >= self.start_at:
            self.process = self._start()

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None


class Supervisor:
    """Keeps a number of processes alive until it is told to stop, or until each has ended by itself."""

    def __init__(self, command: list[str], *, count: int) -> None:
        self._waker = Waker()
        self._is_stopping = False
        self._children = [Child(command) for _ in range(count)]

    def run(self) -> int:
        """Return 0 when every process ended well, else the first other exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.write_fd, warn_on_full_buffer=False)
        while any(self._is_needed(child) for child in self._children):
            for child in self._children:
                child.revive(is_stopping=self._is_stopping)
            self._waker.wait(1.0)
        codes = [child.process.returncode for child in self._children]
        return next((code for code in codes if code), 0)

    def _is_needed(self, child: Child) -> bool:
        if not child.is_over:
            return True
        return child.process.returncode != 0 and not self._is_stopping

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True
        for child in self._children:
            if not child.is_over:
                child.process.send_signal(number)


def supervise(count: int) -> int:
    """Run this very command in that many processes and return the exit code."""
    return Supervisor([*sys.orig_argv, "--processes", "1"], count=count).run()
