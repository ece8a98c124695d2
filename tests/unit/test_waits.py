"""In a thread of its own, who waits blocks it; how it is in a shared one, `test_hub.py` shows."""

import socket
import threading

import pytest

from mailqueue import waits


def test_what_is_ready_is_not_waited_for() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.send(b"x")
        waits.wait(here.fileno(), waits.READABLE, 0.0)
        waits.wait(here.fileno(), waits.WRITABLE, 0.0)


@pytest.mark.parametrize("seconds", [0.01, 0.0, -1.0])
def test_a_time_that_is_over_is_told(seconds: float) -> None:
    here, there = socket.socketpair()
    with here, there, pytest.raises(TimeoutError, match="timed out"):
        waits.wait(here.fileno(), waits.READABLE, seconds)


def test_what_blocks_is_called_where_it_is() -> None:
    assert threading.current_thread() is waits.blocking(threading.current_thread)


def test_nobody_needs_to_be_told_of_a_descriptor() -> None:
    waits.forget(1_000_000)
