"""What the loop sleeps on: threads, signals and the database wake it, nothing polls."""

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from mailqueue import syscalls

READ_BYTES = 4096
PARENT_VARIABLE = "MAILQUEUE_SUPERVISOR"
"""Names, in the environment of a sender, the process that started it and must not be outlived."""


class Waker:
    """A pipe that anybody may write to. Signals do so by themselves."""

    def __init__(self) -> None:
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self.write_fd, False)
        self._is_called = self._is_waiting = False

    def wake(self) -> None:
        """Wake the loop; safe from any thread and from a signal handler.

        Only one that waits needs the pipe: whoever sees that it does not has called before it looks.
        """
        self._is_called = True
        if not self._is_waiting:
            return
        with suppress(BlockingIOError):  # the pipe is full of wake-ups already
            syscalls.write(self.write_fd, b"\0")

    def wait(self, timeout: float, *, besides: int | None = None) -> None:
        """Sleep until somebody wakes us, the other file descriptor can be read, or the time is over (seconds)."""
        poll = select.poll()  # select() refuses descriptors above 1023
        for fd in {self._read_fd, self._read_fd if besides is None else besides}:
            poll.register(fd, select.POLLIN)
        self._is_waiting = True
        events = poll.poll(0 if self._is_called else max(timeout, 0) * 1000)
        self._is_waiting = self._is_called = False
        if any(fd == self._read_fd for fd, _ in events):
            with suppress(BlockingIOError):
                while len(os.read(self._read_fd, READ_BYTES)) == READ_BYTES:
                    pass

    @contextmanager
    def signals(self, stop: "Stop") -> Iterator[None]:
        """Turn TERM and INT into wishes to stop, for the time of the block."""
        previous = {number: signal.signal(number, stop.receive) for number in (signal.SIGTERM, signal.SIGINT)}
        previous_fd = signal.set_wakeup_fd(self.write_fd, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)


class Stop:
    """Whether, and how urgently, the process is to stop."""

    def __init__(self) -> None:
        self.asked_at: float | None = None
        self.is_urgent = False
        self._parent = int(os.environ.get(PARENT_VARIABLE, "0"))

    @property
    def is_asked(self) -> bool:
        return self.asked_at is not None

    def ask(self) -> None:
        if self.asked_at is None:
            self.asked_at = time.monotonic()

    def ask_if_orphaned(self) -> None:
        """Stop when the supervisor that started this process is gone."""
        if self._parent and os.getppid() != self._parent:
            self.ask()

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler. A second INT is urgent: somebody sits at the terminal and waits."""
        if self.is_asked and number == signal.SIGINT:
            self.is_urgent = True
        self.ask()
