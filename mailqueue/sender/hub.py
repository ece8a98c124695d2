"""One thread for all connections: each runs until it waits for its server, then the next one runs.

With a thread each, a mail cost a dozen switches between threads that all want the interpreter. Here it costs a few of
the cheap kind. What can't be waited for in that way, as a resolver or a project's own code, has a thread beside it.
"""

import math
import os
import queue
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Generic, TypeVar

from greenlet import getcurrent, greenlet

from mailqueue import syscalls, waits
from mailqueue.sender.log import tell_fault

T = TypeVar("T")
Order = TypeVar("Order")
READ_BYTES = 4096
PAUSE_SECONDS = 1.0
"""How long the hub rests after something went wrong that nobody foresaw."""


class Waiting(Enum):
    """What a task that does not run waits for."""

    ORDER = auto()
    DESCRIPTOR = auto()
    THREAD = auto()
    NOTHING = auto()


class Helper(threading.Thread):
    """Does for one task, one after the other, what would hold up the others."""

    def __init__(self, *, name: str, afterwards: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._acts: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._afterwards = afterwards
        self.start()

    def do(self, act: Callable[[], T], *, done: Callable[[], None]) -> Callable[[], T]:
        """Let the thread call `act`, and `done` after that; return what then gives its result."""
        results: list[tuple[Any, BaseException | None]] = []

        def call() -> None:
            try:
                results.append((act(), None))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who has asked
                results.append((None, error))
            with suppress(Exception):
                self._afterwards()
            done()

        def result() -> T:
            value, error = results.pop()
            try:
                if error is not None:
                    raise error
            finally:
                del error  # its traceback has this frame: each would keep the other, and the mail that failed
            returned: T = value
            return returned

        self._acts.put(call)
        return result

    def end(self) -> None:
        """End the thread when it has done what it was given."""
        self._acts.put(None)

    def run(self) -> None:
        while (call := self._acts.get()) is not None:
            call()
            del call  # it may hold a mail


class Task(Generic[Order]):
    """One of those who take turns. It gets orders from any thread, and asks for them by `next_order`."""

    def __init__(self, hub: "Hub", run: Callable[[], None], *, helper: Helper) -> None:
        self.helper = helper
        self.waits_for = Waiting.ORDER
        self.deadline = math.inf
        """Until when it waits (monotonic seconds)."""
        self._hub = hub
        self._run = run
        self._orders: deque[Order] = deque()
        self._over = threading.Event()
        self._fiber: Any = None

    def put(self, order: Order) -> None:
        """Give it an order; safe from any thread."""
        self._orders.append(order)
        self._hub.call(self, Waiting.ORDER)

    def next_order(self, *, seconds: float = math.inf) -> Order:
        """Wait for the next order; to be called by the task itself.

        Raises:
            queue.Empty: none has come for so long.
        """
        until = time.monotonic() + seconds
        while not self._orders:
            # It may also be the call of an order that was found before.
            if not self._hub.pause(Waiting.ORDER, until=until) and not self._orders:
                raise queue.Empty
        return self._orders.popleft()

    def join(self, timeout: float) -> None:
        """Wait in another thread until it has ended, at most so long (seconds)."""
        self._over.wait(timeout)

    def go_on(self, *, in_time: bool) -> None:
        """Let it run until it waits again; to be called by the hub. When it raises, nothing has happened."""
        before = self.waits_for, self.deadline
        self.waits_for, self.deadline = Waiting.NOTHING, math.inf
        try:
            self._fiber = self._fiber or greenlet(self._body)
            self._fiber.switch(in_time)
        except BaseException:
            self.waits_for, self.deadline = before
            raise

    def _body(self, _in_time: bool) -> None:
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001 - it would end the hub, and with it everybody
            tell_fault(error)
        finally:
            self.helper.end()
            self._hub.leave(self)
            self._over.set()


_deadline = attrgetter("deadline")


class Hub(threading.Thread):
    """The thread in which tasks take turns; it ends with the last of them, or when it is told to.

    A `waits.Host` to those who run in it.
    """

    def __init__(self, *, name: str, afterwards: Callable[[], None]) -> None:
        """`afterwards` is called in a helping thread after each call that it has made for a task."""
        super().__init__(name=name, daemon=True)
        self._afterwards = afterwards
        self._tasks: list[Task[Any]] = []
        self._running: Task[Any]
        self._calls: deque[tuple[Task[Any], Waiting]] = deque()
        self._is_asleep = self._is_over = self._is_closed = False
        self._pipe = threading.Lock()
        """Held while somebody is woken: what is closed meanwhile may be another file by then."""
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._read_fd, selectors.EVENT_READ)
        self._watched: dict[int, int] = {}
        """The descriptors that the selector asks about, and for what."""
        self._waiting: dict[int, Task[Any]] = {}

    def enter(self, run: Callable[[], None], *, name: str) -> Task[Any]:
        """Add a task; to be called before the hub is started. It runs when it gets its first order."""
        task: Task[Any] = Task(self, run, helper=Helper(name=name, afterwards=self._afterwards))
        self._tasks.append(task)
        return task

    def leave(self, task: Task[Any]) -> None:
        """Forget a task that has ended."""
        self._tasks.remove(task)

    def call(self, task: Task[Any], what: Waiting) -> None:
        """Let a task go on if that is what it waits for; safe from any thread."""
        self._calls.append((task, what))
        self._wake()

    def end(self, *, timeout: float) -> None:
        """End the thread, whatever its tasks wait for; nobody may give orders any more.

        A process that ended while a task runs would not end in order. Whoever takes longer than the timeout (seconds)
        to come to a pause is left to that.
        """
        if self._is_over:
            return
        self._is_over = True
        self._wake()
        self.join(timeout)
        for task in self._tasks:
            task.helper.end()
        if not self.is_alive():
            self._selector.close()
            with self._pipe:
                self._is_closed = True
                os.close(self._read_fd)
                os.close(self._write_fd)

    def run(self) -> None:
        waits.here.host = self
        self._fiber = getcurrent()
        while self._tasks and not self._is_over:
            try:
                self._answer()
                self._sleep()
            except BaseException as error:  # noqa: BLE001 - the outer guard: everybody's connection is here
                tell_fault(error)
                time.sleep(PAUSE_SECONDS)

    def pause(self, what: Waiting, *, until: float = math.inf) -> bool:
        """Let the others run until the running task is called, or the time is over; return whether it was called."""
        task = self._running
        task.waits_for, task.deadline = what, until
        return bool(self._fiber.switch())

    def wait(self, fd: int, event: int, seconds: float) -> bool:
        wanted = selectors.EVENT_READ if event == waits.READABLE else selectors.EVENT_WRITE
        if self._watched.get(fd) != wanted:
            (self._selector.modify if fd in self._watched else self._selector.register)(fd, wanted)
            self._watched[fd] = wanted
        self._waiting[fd] = self._running
        try:
            return self.pause(Waiting.DESCRIPTOR, until=time.monotonic() + seconds)
        finally:
            self._waiting.pop(fd, None)

    def in_thread(self, act: Callable[[], T]) -> T:
        task = self._running
        done = threading.Event()

        def call() -> None:
            done.set()
            self.call(task, Waiting.THREAD)

        result = task.helper.do(act, done=call)
        while not done.is_set():
            self.pause(Waiting.THREAD)
        return result()

    def forget(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._selector.unregister(fd)

    def _let_go_on(self, task: Task[Any], *, in_time: bool) -> None:
        self._running = task
        task.go_on(in_time=in_time)

    def _wake(self) -> None:
        if self._is_asleep:
            self._is_asleep = False
            with self._pipe, suppress(BlockingIOError):  # the pipe is full of calls already
                if not self._is_closed:
                    syscalls.write(self._write_fd, b"\0")

    def _answer(self) -> None:
        """Let those go on who were called."""
        for _ in range(len(self._calls)):
            task, what = self._calls.popleft()
            if task.waits_for is what:
                try:
                    self._let_go_on(task, in_time=True)
                except BaseException:
                    self._calls.append((task, what))
                    raise

    def _sleep(self) -> None:
        """Wait until somebody is called, or a descriptor is ready, or a time is over."""
        until = min(map(_deadline, self._tasks), default=0.0)
        seconds = None if until == math.inf else max(until - time.monotonic(), 0.0)
        self._is_asleep = True
        events = self._selector.select(0.0 if self._calls or self._is_over else seconds)
        self._is_asleep = False
        for key, _ in events:
            if task := self._waiting.get(key.fd):
                self._let_go_on(task, in_time=True)
            elif key.fd == self._read_fd:
                self._drain()
            else:
                # A server speaks whom nobody listens to now. Who does, later, hears of it then.
                self.forget(key.fd)
        if until <= time.monotonic():
            for task in [task for task in self._tasks if task.deadline <= time.monotonic()]:
                self._let_go_on(task, in_time=False)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while len(os.read(self._read_fd, READ_BYTES)) == READ_BYTES:
                pass
