"""Connections that share a thread: whatever one of them waits for, the others go on."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend as LocMemBackend
from django.core.mail.backends.smtp import EmailBackend
from post_office.models import Email

from mailqueue.delivery.django_backend import DjangoCarrier
from mailqueue.delivery.letter import Carrier, Letter
from mailqueue.delivery.outcomes import Verdict
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.queue.claim import Claim
from mailqueue.queue.history import History
from mailqueue.sender.clock import boot_time
from mailqueue.sender.jobs import Job, Lease
from mailqueue.sender.pool import Pool
from mailqueue.testing import Silence, SmtpServer
from tests.support.hanging_backend import EmailBackend as HangingBackend
from tests.support.letters import RECIPIENT, SENDER, letter, message
from tests.support.waiting import wait_until

SIZE = 4
LONG_SECONDS = 30.0


@pytest.fixture(autouse=True)
def as_in_a_sender() -> None:
    """The pool itself does what this does for others."""


def slow(server: SmtpServer) -> Carrier:
    return SmtpCarrier(EmailBackend(alias="test", host=server.host, port=server.port))


class Connections:
    """A pool, whose backends are an SMTP server, another one that says nothing to MAIL, and one that never returns."""

    def __init__(self, server: SmtpServer, silent: SmtpServer) -> None:
        self._makers: dict[str, Callable[[], Carrier]] = {
            "smtp": lambda: slow(server),
            "silent": lambda: slow(silent),
            "hanging": lambda: DjangoCarrier(HangingBackend),
        }
        self._count = 0
        self.pool = Pool(SIZE, accepted=lambda *_: None, wake=lambda: None)

    def carrier_for(self, alias: str) -> Carrier:
        return self._makers[alias]()

    def give(self, letter: Letter, *, backend: str = "smtp") -> None:
        self._count += 1
        claim = Claim(self._count, self._count, 1, "0" * 32, backend, 1)
        self.pool.give(Job(claim, Email(), letter, History(), Lease(asked_at=boot_time(), seconds=60)))

    def finished(self, count: int = 1) -> list[Verdict]:
        wait_until(lambda: len(self.pool.finished()) >= count, seconds=LONG_SECONDS)
        return [outcome.verdict for _, outcome in self.pool.finished()]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connections]:
    with SmtpServer() as server, SmtpServer({"MAIL": Silence()}) as silent:
        connections = Connections(server, silent)
        monkeypatch.setattr("mailqueue.sender.pool.carrier_for", connections.carrier_for)
        yield connections
        connections.pool.stop(timeout=0)


@pytest.mark.parametrize("backend", ["silent", "hanging"])
def test_who_does_not_answer_holds_up_nobody_else(connections: Connections, backend: str) -> None:
    for _ in range(SIZE - 1):
        connections.give(letter(), backend=backend)
    connections.give(letter())

    assert [Verdict.SENT] == connections.finished()


@pytest.mark.parametrize("is_long", [False, True])
def test_what_takes_long_to_build_holds_up_nobody_else(connections: Connections, is_long: bool) -> None:
    is_time = threading.Event()

    def build() -> EmailMessage:
        is_time.wait(LONG_SECONDS)
        return message()

    connections.give(Letter(SENDER, [RECIPIENT], build, is_long=is_long))
    connections.give(letter())
    before = connections.finished()
    is_time.set()

    assert ([Verdict.SENT], [Verdict.SENT] * 2) == (before, connections.finished(2))


def test_a_long_mail_is_written_beside_the_others(connections: Connections) -> None:
    threads: list[threading.Thread] = []

    def write() -> None:
        threads.append(threading.current_thread())

    short = replace(letter(), write=write)
    connections.give(short)
    connections.finished()
    connections.give(replace(short, is_long=True))
    connections.finished(2)

    # What can't be written without its message is asked once more, where that is built.
    assert ["connections", "connection"] == [threads[0].name, threads[-1].name.split("-")[0]]


def test_all_connections_are_at_work_at_once(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    """None gets an answer before all have asked, and all do it twice."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taker = threading.Thread(target=take_everything, args=[listener, threading.Barrier(SIZE)])
        taker.start()
        port = listener.getsockname()[1]
        monkeypatch.setitem(
            connections._makers, "smtp", lambda: SmtpCarrier(EmailBackend(alias="t", host="127.0.0.1", port=port))
        )
        for count in (SIZE, 2 * SIZE):
            for _ in range(SIZE):
                connections.give(letter())
            assert [Verdict.SENT] * count == connections.finished(count)
        listener.shutdown(socket.SHUT_RDWR)
        taker.join()


class OwnBackend(EmailBackend):
    """A project's backend that speaks SMTP as Django's does, and has something of its own."""

    threads: ClassVar[list[str]] = []

    @property
    def host(self) -> str:
        self.threads.append(threading.current_thread().name)
        return self._host

    @host.setter
    def host(self, value: str) -> None:
        self._host = value


def test_what_a_project_adds_to_djangos_backend_runs_beside_the_others(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SmtpServer() as server:
        backend = OwnBackend(alias="test", host=server.host, port=server.port)
        backend.threads.clear()
        monkeypatch.setitem(connections._makers, "own", lambda: SmtpCarrier(backend))
        connections.give(letter(), backend="own")

        assert [Verdict.SENT] == connections.finished()
    assert {"connection"} == {name.split("-")[0] for name in OwnBackend.threads}


def test_a_pool_that_is_stopped_does_not_wait_for_who_does_not_answer(connections: Connections) -> None:
    connections.give(letter(), backend="silent")
    connections.give(letter())
    connections.finished()
    begin = time.monotonic()
    connections.pool.stop(timeout=0.1)

    assert time.monotonic() - begin < LONG_SECONDS / 2


class ClosesNever(LocMemBackend):
    """A project's backend that sends, and hangs when it is to close."""

    def close(self) -> None:
        threading.Event().wait()


def test_the_time_that_a_stopped_pool_waits_is_one_for_all_connections(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections._makers, "never closed", lambda: DjangoCarrier(ClosesNever))
    for _ in range(SIZE):
        connections.give(letter(), backend="never closed")
    assert [Verdict.SENT] * SIZE == connections.finished(SIZE)
    timeout, begin = 3, time.monotonic()
    connections.pool.stop(timeout=timeout)

    assert timeout <= time.monotonic() - begin < timeout * SIZE


def test_a_stopped_pool_says_goodbye_and_ends_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    with SmtpServer() as server:
        others = set(threading.enumerate())
        connections = Connections(server, server)
        monkeypatch.setattr("mailqueue.sender.pool.carrier_for", connections.carrier_for)
        for _ in range(SIZE):
            connections.give(letter())
        connections.finished(SIZE)
        connections.pool.stop(timeout=LONG_SECONDS)
        server.wait_until(lambda: server.open_connection_count == 0)
        said = [session.commands[-1] for session in server.sessions]
        wait_until(lambda: set(threading.enumerate()) <= others | before, what="the end of the threads")

    assert {"QUIT"} == set(said)


def test_a_process_may_end_while_its_connections_are_at_work() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taker = threading.Thread(target=take_everything, args=[listener])
        taker.start()
        command = [sys.executable, "-m", "tests.support.busy_exit", str(listener.getsockname()[1])]
        environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
        ended = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
        listener.shutdown(socket.SHUT_RDWR)
        taker.join()

    assert (0, b"") == (ended.returncode, ended.stderr)


def take_everything(listener: socket.socket, together: threading.Barrier | None = None) -> None:
    """Say yes to whatever comes, and take a message for as long as it lasts; ask for messages of many `together`."""
    with suppress(OSError):
        while True:
            session, _ = listener.accept()
            threading.Thread(target=take_session, args=[session, together], daemon=True).start()


def take_session(session: socket.socket, together: threading.Barrier | None) -> None:
    with session, suppress(OSError, threading.BrokenBarrierError):
        session.sendall(b"220 mx\r\n")
        while data := session.recv(1_000_000):
            if data.endswith(b"DATA\r\n"):
                if together is not None:
                    together.wait(LONG_SECONDS)
                session.sendall(b"354 go\r\n")
            elif len(data) < 1_000:
                session.sendall(b"250 ok\r\n")
