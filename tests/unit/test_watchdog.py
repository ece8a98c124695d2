"""The watchdog cuts a connection that gives no answer, and no other."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from mailqueue.sender import watchdog as module
from mailqueue.sender.waker import Stop
from mailqueue.sender.watchdog import Watchdog, cut


class Raw:
    """What psycopg's connection shows of its socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def fileno(self) -> int:
        if self.sock.fileno() < 0:
            raise psycopg.OperationalError("the connection is closed")
        return self.sock.fileno()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        theirs.settimeout(10)
        yield ours, theirs


def connection_on(sock: socket.socket) -> Any:
    return SimpleNamespace(connection=Raw(sock))


def test_who_waits_on_a_connection_that_is_cut_learns_it_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    assert cut(connection_on(ours))
    assert (b"", b"") == (ours.recv(1), theirs.recv(1))


def test_there_is_nothing_to_cut_before_it_is_connected_and_after_it_was_closed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = pair
    ours.close()

    assert not cut(SimpleNamespace(connection=None))
    assert not cut(connection_on(ours))


def test_a_connection_that_was_closed_while_it_was_to_be_cut_costs_nobody_else_his(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    numbers = iter([ours.fileno(), theirs.fileno()])
    moving = SimpleNamespace(connection=SimpleNamespace(fileno=lambda: next(numbers)))

    assert not cut(moving)
    theirs.send(b"x")
    assert ours.recv(1) == b"x"


def test_a_socket_that_has_lost_its_other_end_can_not_be_cut() -> None:
    with socket.socket() as unconnected:
        assert not cut(connection_on(unconnected))


def test_what_has_ended_meanwhile_is_not_cut(pair: tuple[socket.socket, socket.socket]) -> None:
    assert not cut(connection_on(pair[0]), is_still_meant=lambda: False)


def test_only_what_takes_longer_than_patience_allows_is_cut(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    watchdog = Watchdog(Stop(), look_every=0.01)
    with watchdog, watchdog.over(connection_on(ours)):
        theirs.send(b"x")
        assert ours.recv(1) == b"x"
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
        assert ours.recv(1) == b""


def test_patience_is_short_when_the_process_is_told_to_stop_and_never_too_short_for_a_database_that_answers() -> None:
    stop = Stop()
    watchdog = Watchdog(stop)
    before = watchdog.patience
    stop.ask()
    asked = watchdog.patience
    stop.is_urgent = True

    assert (20, 5, 2) == (before, asked, watchdog.patience)


def test_a_database_that_is_merely_slow_gets_more_time_after_each_cut_until_it_is_calm_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "cut", lambda _, is_still_meant: is_still_meant())
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    watchdog, found = Watchdog(Stop()), []
    for _ in range(8):
        with watchdog.over(object()):
            now += watchdog.patience + 1
            watchdog._look()
        found.append(watchdog.patience)
    now += module.CALM_SECONDS + 1
    watchdog._look()

    assert [20, 20, 40, 80, 160, 320, 320, 320] == found
    assert watchdog.patience == 20
