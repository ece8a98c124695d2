"""Many take turns in one thread: nobody waits for somebody else's server, and nobody's fault is everybody's."""

import gc
import logging
import math
import queue
import selectors
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from greenlet import greenlet

from mailqueue import waits
from mailqueue.sender.hub import Hub, Task
from tests.support.waiting import wait_until

LONG = 30.0
SHORT = 0.1


class House:
    """A hub whose tasks do what they are ordered: each order is called, None ends the task."""

    def __init__(self, count: int = 2) -> None:
        self.afterwards: list[str] = []
        self.hub = Hub(name="hub", afterwards=lambda: self.afterwards.append(threading.current_thread().name))
        self.tasks = [self._enter(f"task-{n}") for n in range(count)]
        self.hub.start()

    def _enter(self, name: str) -> Task[Callable[[], None] | None]:
        def run() -> None:
            while (order := task.next_order()) is not None:
                order()

        task: Task[Callable[[], None] | None] = self.hub.enter(run, name=name)
        return task

    def close(self) -> None:
        for task in self.tasks:
            task.put(None)
        self.hub.join(LONG)
        self.hub.end(timeout=LONG)
        assert not self.hub.is_alive()


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


class Pairs:
    """Pairs of sockets that are closed in the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def make(self) -> tuple[socket.socket, socket.socket]:
        here, there = (self._stack.enter_context(end) for end in socket.socketpair())
        here.setblocking(False)
        return here, there


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    with ExitStack() as stack:
        yield Pairs(stack)


def reading(sock: socket.socket, heard: "queue.SimpleQueue[Any]", *, seconds: float = LONG) -> Callable[[], None]:
    """An order to wait for octets and tell of them, or of the time that is over."""

    def read() -> None:
        try:
            waits.wait(sock.fileno(), waits.READABLE, seconds)
            heard.put(sock.recv(100))
        except TimeoutError as error:
            heard.put(error)

    return read


@pytest.fixture
def heard() -> "queue.SimpleQueue[Any]":
    return queue.SimpleQueue()


def test_who_is_answered_first_goes_on_first(house: House, pairs: Pairs, heard: "queue.SimpleQueue[Any]") -> None:
    (one, ones_server), (other, others_server) = pairs.make(), pairs.make()
    house.tasks[0].put(reading(one, heard))
    house.tasks[1].put(reading(other, heard))
    others_server.send(b"other")
    first = heard.get(timeout=LONG)
    ones_server.send(b"one")

    assert (b"other", b"one") == (first, heard.get(timeout=LONG))


def test_all_run_in_one_thread(house: House, heard: "queue.SimpleQueue[Any]") -> None:
    for task in house.tasks:
        task.put(lambda: heard.put(threading.current_thread()))

    assert {house.hub} == {heard.get(timeout=LONG), heard.get(timeout=LONG)}


def test_a_time_is_over_also_while_others_have_much_to_do(pairs: Pairs, heard: "queue.SimpleQueue[Any]") -> None:
    silent, _ = pairs.make()
    house = House(3)
    until = time.monotonic() + LONG

    def order_the_other(name: int) -> None:
        if time.monotonic() < until:
            house.tasks[3 - name].put(lambda: order_the_other(3 - name))

    house.tasks[1].put(lambda: order_the_other(1))
    house.tasks[0].put(reading(silent, heard, seconds=SHORT))
    said = heard.get(timeout=2 * LONG)
    is_in_time, until = time.monotonic() < until, 0.0
    house.close()

    assert ("timed out", True) == (str(said), is_in_time)


def test_no_time_at_all_is_over_at_once(house: House, pairs: Pairs, heard: "queue.SimpleQueue[Any]") -> None:
    silent, _ = pairs.make()
    house.tasks[0].put(reading(silent, heard, seconds=-1.0))

    assert "timed out" == str(heard.get(timeout=LONG))


def test_what_was_said_before_it_is_waited_for_is_heard(
    house: House, pairs: Pairs, heard: "queue.SimpleQueue[Any]"
) -> None:
    here, there = pairs.make()
    house.tasks[0].put(reading(here, heard))
    there.send(b"1")
    first = heard.get(timeout=LONG)
    there.send(b"2")
    # The hub has heard that there is something, and that nobody wants it.
    house.tasks[1].put(lambda: heard.put("turn"))
    turn = heard.get(timeout=LONG)
    house.tasks[0].put(reading(here, heard))

    assert (b"1", "turn", b"2") == (first, turn, heard.get(timeout=LONG))


def test_a_server_that_nobody_listens_to_costs_nothing(
    house: House, pairs: Pairs, heard: "queue.SimpleQueue[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pairs.make()
    house.tasks[0].put(reading(here, heard))
    there.send(b"1")
    heard.get(timeout=LONG)
    selects = []
    select = selectors.DefaultSelector.select

    def counted(self: selectors.DefaultSelector, timeout: float | None = None) -> Any:
        selects.append(timeout)
        return select(self, timeout)

    monkeypatch.setattr(selectors.DefaultSelector, "select", counted)
    there.send(b"2")
    time.sleep(SHORT)  # nothing is to happen

    assert len(selects) < 5


def test_room_to_write_is_waited_for(house: House, pairs: Pairs, heard: "queue.SimpleQueue[Any]") -> None:
    here, there = pairs.make()
    size = 3_000_000

    def write() -> None:
        left = memoryview(b"x" * size)
        while left:
            try:
                left = left[here.send(left) :]
            except BlockingIOError:
                waits.wait(here.fileno(), waits.WRITABLE, LONG)
        reading(here, heard)()

    house.tasks[0].put(write)
    count = 0
    while count < size:
        count += len(there.recv(100_000))
    there.send(b"thanks")

    assert b"thanks" == heard.get(timeout=LONG)


def test_a_descriptor_that_is_used_again_is_another_one(
    house: House, pairs: Pairs, heard: "queue.SimpleQueue[Any]"
) -> None:
    def twice() -> None:
        numbers = []
        for text in (b"1", b"2"):
            here, there = socket.socketpair()
            numbers.append(here.fileno())
            threading.Timer(SHORT, there.send, [text]).start()
            reading(here, heard)()
            waits.forget(here.fileno())
            here.close()
            there.close()
        heard.put(numbers)

    house.tasks[0].put(twice)
    said = [heard.get(timeout=LONG) for _ in range(3)]

    assert ([b"1", b"2"], 1) == (said[:2], len(set(said[2])))


def test_what_blocks_is_done_in_another_thread_while_others_go_on(
    house: House, heard: "queue.SimpleQueue[Any]"
) -> None:
    is_time = threading.Event()

    def block() -> None:
        heard.put(waits.blocking(lambda: (is_time.wait(LONG), threading.current_thread().name)))

    house.tasks[0].put(block)
    house.tasks[0].put(lambda: heard.put("next order"))
    house.tasks[1].put(lambda: heard.put("meanwhile"))
    first = heard.get(timeout=LONG)
    is_time.set()

    assert ["meanwhile", (True, "task-0"), "next order"] == [first, heard.get(timeout=LONG), heard.get(timeout=LONG)]
    assert ["task-0"] == house.afterwards


def test_what_it_raises_is_raised_to_who_has_asked(house: House, heard: "queue.SimpleQueue[Any]") -> None:
    def fail() -> None:
        raise SystemExit("no")

    def block() -> None:
        try:
            waits.blocking(fail)
        except SystemExit as error:
            heard.put(str(error))

    house.tasks[0].put(block)
    house.tasks[0].put(block)

    assert ["no", "no"] == [heard.get(timeout=LONG), heard.get(timeout=LONG)]


def test_a_task_that_dies_leaves_the_others_alive(
    house: House, heard: "queue.SimpleQueue[Any]", caplog: pytest.LogCaptureFixture
) -> None:
    def die() -> None:
        raise SystemExit("dead")

    with caplog.at_level(logging.ERROR, "mailqueue"):
        house.tasks[0].put(die)
        house.tasks[0].join(LONG)
    house.tasks[1].put(lambda: heard.put("alive"))

    assert "alive" == heard.get(timeout=LONG)
    assert ["sender.failed"] == [record.message for record in caplog.records]


def test_the_hub_outlives_its_own_trouble(
    house: House,
    heard: "queue.SimpleQueue[Any]",
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    select = selectors.DefaultSelector.select
    troubles = [MemoryError()]

    def troubled(self: selectors.DefaultSelector, timeout: float | None = None) -> Any:
        if troubles:
            raise troubles.pop()
        return select(self, timeout)

    monkeypatch.setattr("mailqueue.sender.hub.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(selectors.DefaultSelector, "select", troubled)
    with caplog.at_level(logging.ERROR, "mailqueue"):
        house.tasks[0].put(lambda: heard.put("one"))
        wait_until(lambda: not troubles)
        house.tasks[0].put(lambda: heard.put("two"))
        said = [heard.get(timeout=LONG) for _ in range(2)]

    assert ["one", "two"] == said
    assert ["sender.failed"] == [record.message for record in caplog.records]


def test_a_task_that_could_not_be_resumed_is_resumed_later(
    house: House, heard: "queue.SimpleQueue[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles = [MemoryError()]

    def troubled(*args: Any) -> greenlet:
        if troubles:
            raise troubles.pop()
        return greenlet(*args)

    monkeypatch.setattr("mailqueue.sender.hub.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("mailqueue.sender.hub.greenlet", troubled)
    house.tasks[0].put(lambda: heard.put("done"))

    assert "done" == heard.get(timeout=LONG)


def test_a_hub_that_is_ended_leaves_who_waits_behind(pairs: Pairs, heard: "queue.SimpleQueue[Any]") -> None:
    before = set(threading.enumerate())
    house = House(3)
    silent, _ = pairs.make()
    is_time = threading.Event()
    house.tasks[0].put(reading(silent, heard))
    house.tasks[1].put(lambda: waits.blocking(lambda: is_time.wait(LONG)))
    house.hub.end(timeout=LONG)
    is_time.set()

    wait_until(lambda: set(threading.enumerate()) <= before, what="the end of the threads")


def test_who_calls_a_hub_that_has_ended_writes_nowhere(house: House) -> None:
    """By then the numbers of its pipe may be those of other files."""
    house.close()
    house.hub._is_asleep = True  # as seen by who was interrupted right before he writes
    house.tasks[0].put(None)


def test_what_a_thread_was_asked_for_is_not_kept(house: House, heard: "queue.SimpleQueue[Any]") -> None:
    class Mail:
        def read(self) -> None:
            heard.put(self)

    def block() -> None:
        waits.blocking(Mail().read)

    house.tasks[0].put(block)
    seen = weakref.ref(heard.get(timeout=LONG))

    wait_until(lambda: seen() is None, what="the mail to be forgotten")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Leave what refers to itself where it is, for as long as the garbage collector might."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_what_a_thread_had_at_hand_when_it_failed_is_not_kept(house: House, heard: "queue.SimpleQueue[Any]") -> None:
    class Mail:
        pass

    def fail() -> None:
        mail = Mail()
        heard.put(weakref.ref(mail))
        raise ValueError

    def ask() -> None:
        with suppress(ValueError):
            waits.blocking(fail)

    house.tasks[0].put(ask)
    seen = heard.get(timeout=LONG)

    wait_until(lambda: seen() is None, what="the mail to be forgotten")


def test_who_gets_no_order_in_time_is_told_so_and_may_wait_again(heard: "queue.SimpleQueue[Any]") -> None:
    hub = Hub(name="hub", afterwards=lambda: None)

    def run() -> None:
        for seconds in (math.inf, SHORT, LONG):
            try:
                heard.put(task.next_order(seconds=seconds))
            except queue.Empty:
                heard.put("empty")

    task: Task[str] = hub.enter(run, name="task")
    hub.start()
    task.put("first")
    said = [heard.get(timeout=LONG), heard.get(timeout=LONG)]
    task.put("second")
    said.append(heard.get(timeout=LONG))
    hub.join(LONG)
    hub.end(timeout=LONG)

    assert (["first", "empty", "second"], False) == (said, hub.is_alive())


def test_all_threads_end_with_the_last_task() -> None:
    before = set(threading.enumerate())
    house = House()
    for task in house.tasks:
        task.put(lambda: waits.blocking(lambda: None))
    wait_until(lambda: len(house.afterwards) == len(house.tasks))
    house.close()

    wait_until(lambda: set(threading.enumerate()) <= before, what="the end of the threads")


def test_many_orders_from_many_threads_are_all_carried_out_in_their_order(heard: "queue.SimpleQueue[Any]") -> None:
    house = House(8)
    numbers = range(500)

    def give(task: Task[Callable[[], None] | None], name: int) -> None:
        for number in numbers:
            task.put(lambda number=number: heard.put((name, number)))

    threads = [threading.Thread(target=give, args=(task, name)) for name, task in enumerate(house.tasks)]
    for thread in threads:
        thread.start()
    said = [heard.get(timeout=LONG) for _ in range(len(threads) * len(numbers))]
    house.close()

    assert all([n for who, n in said if who == name] == list(numbers) for name in range(len(threads)))
