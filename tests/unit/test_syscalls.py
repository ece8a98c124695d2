"""Calls that don't let go of the interpreter do what Python's own do. That they keep it, the benchmark shows."""

import os
import socket
from collections.abc import Iterator
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


def test_what_has_come_is_read_up_to_the_size_of_the_buffer(pair: Pair) -> None:
    here, there = pair
    buffer = syscalls.buffer(4)
    there.send(b"a\0bcde")

    assert [b"a\0bc", b"de"] == [syscalls.recv(here.fileno(), buffer), syscalls.recv(here.fileno(), buffer)]


def test_reading_blocks_nobody_and_tells_the_end(pair: Pair) -> None:
    here, there = pair
    buffer = syscalls.buffer(4)
    with pytest.raises(BlockingIOError):
        syscalls.recv(here.fileno(), buffer)
    there.close()

    assert b"" == syscalls.recv(here.fileno(), buffer)


def test_what_can_be_read_is_seen_and_left_there(pair: Pair) -> None:
    here, there = pair
    before = syscalls.has_input(here.fileno())
    there.send(b"x")

    assert (False, True, b"x") == (before, syscalls.has_input(here.fileno()), here.recv(1))


def test_the_end_and_an_error_can_be_read_too(pair: Pair) -> None:
    here, there = pair
    there.close()
    ended = syscalls.has_input(here.fileno())
    fd = here.detach()
    os.close(fd)

    assert (True, True) == (ended, syscalls.has_input(fd))
