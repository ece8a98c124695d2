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

from mailqueue.testing import smtp_tls
from mailqueue.testing.smtp_limits import Limits
from mailqueue.testing.smtp_script import Command, CutBody, Drop, Script, Silence, Step, Unanswered
from mailqueue.testing.smtp_session import Session

__all__ = ["Accepted", "Command", "CutBody", "Drop", "Session", "Silence", "SmtpServer", "Unanswered"]

CERTIFICATE = smtp_tls.SHOWN["trusted"]
"""For localhost and 127.0.0.1, valid for a hundred years, signed by itself: a client that trusts it passes."""


@dataclass(frozen=True)
class Accepted:
    """A message that the server took."""

    envelope_from: str
    recipients: tuple[str, ...]
    content: bytes
    """The very bytes, as they were before the dots were stuffed."""
    connection: int
    """The number of the session, from 1."""
    accepted_at: float = field(default_factory=time.monotonic)

    @cached_property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        return email.message_from_bytes(self.content, policy=email.policy.default)

    @cached_property
    def message_id(self) -> str:
        """Its Message-ID, brackets included; "" where there is none."""
        head = self.content.partition(b"\r\n\r\n")[0]
        parsed = email.message_from_bytes(head + b"\r\n\r\n", policy=email.policy.default)
        return str(parsed["Message-ID"]).strip()


class SmtpServer:
    """A server in a thread of its own. Use it as a context manager, or `start` and `stop` it; the port stays the same.

    `script` gives answers per verb (see `Script`) and has the first word; what it does not mention is accepted.
    `latency` is in seconds, from a command's arrival to its reply. `users` maps names to passwords: with any, AUTH is
    offered and demanded. `certificate` is what is wrong with the one that is shown under TLS. `pipelining` offers it;
    who pipelines without is served all the same, and noticed (`Session.pipelined`).

    `rate_limit` (recipients per second, with a burst of one second) is kept at MAIL, `daily_quota` (recipients) at
    MAIL and RCPT, `recipient_limit` (of a message) at RCPT, `connection_limit` at the greeting; see `limits`.

    Everything that is recorded may be read from any thread, and outlives a `stop`.
    """

    name = "mx.test"

    def __init__(  # noqa: PLR0913 - each is a thing of its own, and a test names one or two
        self,
        script: Mapping[str, Step | Sequence[Step]] | None = None,
        *,
        latency: float = 0.0,
        size_limit: int | None = None,
        users: Mapping[str, str] | None = None,
        tls: Literal["", "starttls", "implicit"] = "",
        certificate: smtp_tls.Fault = "trusted",
        extensions: Sequence[str] = ("8BITMIME", "ENHANCEDSTATUSCODES"),
        pipelining: bool = False,
        rate_limit: float | None = None,
        daily_quota: int | None = None,
        recipient_limit: int | None = None,
        connection_limit: int | None = None,
    ) -> None:
        if certificate not in smtp_tls.SHOWN:
            raise ValueError(f"no such certificate: {certificate!r} (there are {', '.join(smtp_tls.SHOWN)})")
        self.script = Script(script)
        self.latency = latency
        self.size_limit = size_limit
        self.users = dict(users or {})
        self.tls = tls
        self.certificate = certificate
        self.extensions = tuple(extensions)
        self.pipelining = pipelining
        self.limits = Limits(
            rate_limit=rate_limit,
            daily_quota=daily_quota,
            recipient_limit=recipient_limit,
            connection_limit=connection_limit,
        )
        """The limits and the words in which they are told. They may be changed while the server runs."""
        self.command_count = 0
        """Commands that were answered, greetings among them."""
        self.refused_count = 0
        """Those of them that were answered with a 4xx or 5xx, by a limit or by the script."""
        self.most_open_connections = 0
        """How many connections were open at a time, without those that were turned away."""
        self.recipient_count = 0
        """Recipients of all messages that were accepted."""
        self.host = "127.0.0.1"
        self.messages: list[Accepted] = []
        self.sessions: list[Session] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._contexts: dict[smtp_tls.Fault, ssl.SSLContext] = {}
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
    def certificate_path(self) -> Path:
        """What a client is to trust, so that nothing is wrong but what `certificate` says: a PEM file.

        For Django's SMTP backend, name it in the environment as SSL_CERT_FILE; `queueing` does.
        """
        return smtp_tls.to_trust(self.certificate)

    @property
    def connect_count(self) -> int:
        """Connections since the first start, those that were turned away among them."""
        return len(self.sessions)

    @property
    def open_connection_count(self) -> int:
        """Connections that are open now."""
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
        """Wait for a condition on what this server records: messages, counts, sessions and whether they are open."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                raise AssertionError(f"waited {seconds} s in vain for {what}; {len(self.messages)} messages accepted")

    def message_ids(self) -> list[str]:
        """The Message-ID of every message that was accepted, in that order; copies are in it as often as they came."""
        return [message.message_id for message in list(self.messages)]

    def ssl_context(self) -> ssl.SSLContext:
        """Give the server's side of TLS, with the certificate that it shows; one, so that it knows sessions again."""
        if self.certificate not in self._contexts:
            self._contexts[self.certificate] = smtp_tls.context(self.certificate)
        return self._contexts[self.certificate]

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
        served_count = sum(other.is_served for other in self.sessions)
        limit = self.limits.connection_limit
        session.is_turned_away = limit is not None and served_count >= limit
        with self._changed:
            self.sessions.append(session)
            session.number = len(self.sessions)
            if not session.is_turned_away:
                self.most_open_connections = max(self.most_open_connections, served_count + 1)
            self._changed.notify_all()

    def _answered(self, code: str) -> None:
        with self._changed:
            self.command_count += 1
            self.refused_count += code[:1] in {"4", "5"}
            self._changed.notify_all()

    def _refuse_message(self) -> str:
        return self.limits.refuse_message(of_day=self._of_day())

    def _refuse_recipient(self, session: Session) -> str:
        return self.limits.refuse_recipient(of_message=len(session.recipients), of_day=self._of_day())

    def _of_day(self) -> int:
        if self.limits.daily_quota is None:
            return 0
        return self.recipient_count + sum(len(session.recipients) for session in self.sessions if session.is_open)

    def _closed(self, _session: Session) -> None:
        with self._changed:
            self._changed.notify_all()

    def _accepted(self, session: Session, content: bytes) -> None:
        accepted = Accepted(session.envelope_from or "", tuple(session.recipients), content, session.number)
        with self._changed:
            self.messages.append(accepted)
            self.recipient_count += len(accepted.recipients)
            self._changed.notify_all()


def _bound(host: str, port: int) -> socket.socket:
    # With its protocol named, asyncio turns Nagle off on what is accepted: small replies are not held back.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock
