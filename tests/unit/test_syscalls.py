"""Calls that don't let go of the interpreter do what Python's own do."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailqueue import syscalls

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_every_octet_is_sent(pair: Pair) -> None:
    here, there = pair
    data = bytes(range(256))

    assert (256, data) == (syscalls.send(here.fileno(), data, socket.MSG_DONTWAIT), there.recv(1000))


def test_a_socket_without_room_takes_a_part_and_then_blocks_nobody(pair: Pair) -> None:
    here, _ = pair
    data = b"x" * 10_000_000
    count = syscalls.send(here.fileno(), data, socket.MSG_DONTWAIT)

    assert 0 < count < len(data)
    with pytest.raises(BlockingIOError):
        syscalls.send(here.fileno(), data, socket.MSG_DONTWAIT)


def test_a_server_that_is_gone_raises_what_python_raises(pair: Pair) -> None:
    here, there = pair
    there.close()

    with pytest.raises(BrokenPipeError):
        syscalls.send(here.fileno(), b"x", socket.MSG_DONTWAIT)


def test_a_socket_that_was_closed_raises_what_python_raises(pair: Pair) -> None:
    here, _ = pair
    here.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        syscalls.send(here.fileno(), b"x", socket.MSG_DONTWAIT)


def test_every_octet_is_written_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        counts = [syscalls.write(fd, data) for data in (b"a\0b", b"c")]
    finally:
        os.close(fd)

    assert ([3, 1], b"a\0bc") == (counts, path.read_bytes())


def test_a_full_disk_raises_what_python_raises() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left on device"):
        syscalls.write(full.fileno(), b"x")


def test_no_other_thread_runs_meanwhile(tmp_path: Path) -> None:
    is_over, ticks = threading.Event(), 0

    def tick() -> None:
        nonlocal ticks
        while not is_over.is_set():
            ticks += 1
            time.sleep(0)

    def ticks_during(write: Callable[[int, bytes], int]) -> int:
        with (tmp_path / "file").open("wb", buffering=0) as file:
            before = ticks
            write(file.fileno(), data)
            return ticks - before

    data, kept, given = b"x" * 10_000_000, 0, 0
    thread = threading.Thread(target=tick)
    thread.start()
    try:
        while given < 1000:
            kept, given = kept + ticks_during(syscalls.write), given + ticks_during(os.write)
    finally:
        is_over.set()
        thread.join()

    assert kept < given / 10
