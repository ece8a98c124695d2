"""A scripted SMTP server on loopback: says what a test wants, and remembers everything that it was told."""

import asyncio
import email
import email.policy
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from mailqueue.testing.smtp_script import Command, CutBody, Drop, Script, Silence, Step, Unanswered
from mailqueue.testing.smtp_session import Session

__all__ = ["Accepted", "Command", "CutBody", "Drop", "Session", "Silence", "SmtpServer", "Unanswered"]

CERTIFICATE = Path(__file__).parent / "certs" / "server.crt"
"""For localhost and 127.0.0.1, valid for a hundred years, signed by itself: a client that trusts it passes."""
KEY = CERTIFICATE.with_suffix(".key")


@dataclass(frozen=True)
class Accepted:
    """A message that the server took."""

    envelope_from: str
    recipients: tuple[str, ...]
    content: bytes
    connection: int
    """The number of the session, from 1."""
    accepted_at: float = field(default_factory=time.monotonic)

    @cached_property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.content, policy=email.policy.default)

    @cached_property
    def message_id(self) -> str:
        head = self.content.partition(b"\r\n\r\n")[0]
        parsed = email.message_from_bytes(head + b"\r\n\r\n", policy=email.policy.default)
        return str(parsed["Message-ID"]).strip()


class SmtpServer:
    """A server in a thread of its own. Use it as a context manager, or `start` and `stop` it; the port stays the same.

    `script` gives answers per verb (see `Script`); what it does not mention is accepted. `latency` is in seconds, for
    each reply. `users` maps names to passwords: with any, AUTH is offered and demanded. Everything that is recorded
    may be read from any thread, and outlives a `stop`.
    """

    name = "mx.test"

    def __init__(
        self,
        script: Mapping[str, Step | Sequence[Step]] | None = None,
        *,
        latency: float = 0.0,
        size_limit: int | None = None,
        users: Mapping[str, str] | None = None,
        tls: Literal["", "starttls", "implicit"] = "",
        extensions: Sequence[str] = ("8BITMIME", "ENHANCEDSTATUSCODES"),
    ) -> None:
        self.script = Script(script)
        self.latency = latency
        self.size_limit = size_limit
        self.users = dict(users or {})
        self.tls = tls
        self.extensions = tuple(extensions)
        self.host = "127.0.0.1"
        self.messages: list[Accepted] = []
        self.sessions: list[Session] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Bound, but deaf: keeps the port ours while the server is down.
        self._reserved = _bound(self.host, 0)
        self.port: int = self._reserved.getsockname()[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._reserved.close()

    @property
    def connect_count(self) -> int:
        return len(self.sessions)

    @property
    def open_connection_count(self) -> int:
        return sum(session.is_open for session in self.sessions)

    def start(self) -> None:
        """Listen; when it returns, clients can connect."""
        if self._thread is not None:
            raise RuntimeError("the SMTP server runs already")
        sock = _bound(self.host, self.port)
        sock.listen(1024)
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(sock,), name="smtp-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Be gone: no longer listen, and drop every connection. What was recorded stays."""
        if self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None

    def drop_connections(self) -> None:
        """Close every open connection, as a server does that restarts or has waited for too long."""
        self._loop.call_soon_threadsafe(self._drop_all)
        self.wait_until(lambda: self.open_connection_count == 0, what="the end of all connections")

    def wait_for(self, count: int, *, seconds: float = 30.0) -> list[Accepted]:
        """Wait until at least `count` messages have been accepted, and give them all."""
        self.wait_until(lambda: len(self.messages) >= count, seconds=seconds, what=f"{count} messages")
        return list(self.messages)

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 30.0, what: str = "the server") -> None:
        """Wait for a condition on what this server records: messages, sessions and whether they are open."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                raise AssertionError(f"waited {seconds} s in vain for {what}; {len(self.messages)} messages accepted")

    def message_ids(self) -> list[str]:
        """The Message-ID of every message that was accepted, in that order; copies are in it as often as they came."""
        return [message.message_id for message in list(self.messages)]

    def ssl_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, KEY)
        return context

    def _run(self, sock: socket.socket) -> None:
        try:
            self._loop.run_until_complete(self._serve(sock))
        finally:
            self._loop.close()

    async def _serve(self, sock: socket.socket) -> None:
        # A client that refuses our certificate is what some tests are about, not news.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        listener = await self._loop.create_server(lambda: Session(self), sock=sock)
        await self._stopping.wait()
        # asyncio leaks what it has just accepted when the listener is closed first. The other tasks are those, and
        # handshakes.
        self._loop.remove_reader(sock)
        while self.open_connection_count or len(asyncio.all_tasks()) > 1:
            self._drop_all()
            await asyncio.sleep(0)
        listener.close()

    def _drop_all(self) -> None:
        for session in self.sessions:
            if session.is_open:
                session.drop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _opened(self, session: Session) -> None:
        with self._changed:
            self.sessions.append(session)
            session.number = len(self.sessions)
            self._changed.notify_all()

    def _closed(self, _session: Session) -> None:
        with self._changed:
            self._changed.notify_all()

    def _accepted(self, session: Session, content: bytes) -> None:
        accepted = Accepted(session.envelope_from or "", tuple(session.recipients), content, session.number)
        with self._changed:
            self.messages.append(accepted)
            self._changed.notify_all()


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock
