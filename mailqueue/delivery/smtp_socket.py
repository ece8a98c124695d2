"""A socket to an SMTP server, and the one buffer of what it has said: whole replies come out, within limits."""

import smtplib
import socket
import ssl
import time
from contextlib import suppress

from mailqueue import syscalls, waits

RECEIVE_BYTES = 8_192
LINE_BYTES = 8_192
"""A reply's line has at most 512 octets (RFC 5321, section 4.5.3.1.5); servers are not that exact."""
REPLY_BYTES = 65_536
"""Of all lines of one reply together."""

_LAST_LINES = {b"%d " % code: code for code in range(200, 600)}
"""How a line begins that is a reply by itself, or ends one."""
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError)


class GarbledReplyError(Exception):
    """What the server said is no SMTP reply."""

    what = "not an SMTP reply"

    def __init__(self, code: int, raw: bytes) -> None:
        super().__init__(f"{self.what}: {code} {raw[:80]!r}")
        self.code = code
        self.raw = raw


class OutOfStepError(GarbledReplyError):
    """What the server said is no reply to what it was asked."""

    what = "a reply that nobody asked for"


class SmtpSocket:
    """Sends, and reads replies. Never blocks for longer than `seconds`.

    Waits by `waits`, so that others may run in its thread. In the clear, short calls do not let go of the
    interpreter: to have it back takes longer than the call.

    Raises OSError and GarbledReplyError.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.seconds = 0.0
        """How long a send or a reply may take."""
        # The dot may follow the body in a packet of its own: Nagle would hold it for the server's delayed ACK, 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = syscalls.buffer(RECEIVE_BYTES)
        self._held, self._at = b"", 0
        self._heard_at = 0.0
        self._adopt(sock)

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """What a later connection may offer to the same server, to shorten its handshake."""
        return self._sock.session if isinstance(self._sock, ssl.SSLSocket) else None

    @property
    def is_encrypted(self) -> bool:
        return self._is_encrypted

    @property
    def unread(self) -> bytes:
        """What has come behind the last reply that was read."""
        return self._held[self._at :]

    def encrypt(self, context: ssl.SSLContext, *, host: str, session: ssl.SSLSession | None) -> None:
        """Go on in TLS. What was said before it in the clear is forgotten (RFC 3207, section 4.2)."""
        self._sock.settimeout(self.seconds)
        self._adopt(context.wrap_socket(self._sock, server_hostname=host, session=session))

    def close(self) -> None:
        waits.forget(self._sock.fileno())
        with suppress(OSError):
            self._sock.close()

    def has_news(self, *, since: float = 0.0) -> bool:
        """Whether the server has already said something more, or has closed. TLS hides what it has not delivered.

        The socket is asked only where nothing was heard for `since` (seconds).
        """
        if self._at < len(self._held):
            return True
        if self._is_encrypted or time.monotonic() - self._heard_at < since:
            return False
        return syscalls.has_input(self._sock.fileno())

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it. Between the blocks of something long, others may run."""
        if isinstance(data, memoryview):
            waits.wait(self._sock.fileno(), waits.WRITABLE, self.seconds)
        count = self.send_some(data)
        if count < len(data):
            self._send_all(memoryview(data)[count:])

    def send_some(self, data: bytes | memoryview) -> int:
        """Send what there is room for at once, and say how much that was. Where it raises in the clear, it was 0."""
        if self._at == len(self._held):
            self._held, self._at = b"", 0
        try:
            if self._is_encrypted or not isinstance(data, bytes):
                return self._sock.send(data, self._send_flags)
            return syscalls.send(self._sock.fileno(), data, self._send_flags)
        except (*_NOT_YET, ssl.SSLWantWriteError):
            return 0

    def read(self) -> tuple[int, bytes]:
        """Read one reply: its code, -1 where there is none, and its lines without it."""
        held, at = self._held, self._at
        if at == len(held):
            if at:
                self._acknowledge()
            held, at = self._receive(self.seconds), 0
            self._held, self._at = held, at
        end = held.find(b"\n", at) + 1
        code = _LAST_LINES.get(held[at : at + 4])
        if code is None or not end:
            return self._read_slowly()
        self._at = end
        return code, held[at + 4 : end].strip(b" \t\r\n")

    def _read_slowly(self) -> tuple[int, bytes]:
        """Read a reply of several lines, or one that is still to come."""
        deadline = time.monotonic() + self.seconds
        texts, size, goes_on = [], 0, True
        code = -1
        while goes_on:
            line = self._line(deadline)
            digits = line[:3]
            code = int(digits) if digits.isdigit() else -1
            goes_on = code >= 0 and line[3:4] == b"-"
            texts.append(line[4:].strip(b" \t\r\n"))
            size += len(line)
            if size > REPLY_BYTES:
                raise GarbledReplyError(code, b"\n".join(texts))
        return code, b"\n".join(texts)

    def _line(self, deadline: float) -> bytes:
        end = self._held.find(b"\n", self._at) + 1
        while not end:
            searched = len(self._held) - self._at
            if searched > LINE_BYTES:
                raise GarbledReplyError(-1, self.unread)
            more = self._receive(deadline - time.monotonic())
            if not more and not searched:
                raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
            self._held, self._at = self._held[self._at :] + more, 0
            # A server's last words may lack their line end.
            end = self._held.find(b"\n", searched) + 1 if more else len(self._held)
        line = self._held[self._at : end]
        self._at = end
        return line

    def _receive(self, seconds: float) -> bytes:
        """Wait for octets; b"" when there will be no more."""
        deadline = time.monotonic() + seconds
        if not self._is_encrypted:
            waits.wait(self._sock.fileno(), waits.READABLE, seconds)
        while True:
            try:
                data = self._receive_some()
            except _NOT_YET:
                # TLS has records of its own: a socket that is readable may have nothing to read.
                waits.wait(self._sock.fileno(), waits.READABLE, deadline - time.monotonic())
            else:
                self._heard_at = time.monotonic()
                return data

    def _receive_some(self) -> bytes:
        if self._is_encrypted:
            return self._sock.recv(RECEIVE_BYTES)
        return syscalls.recv(self._sock.fileno(), self._buffer)

    def _acknowledge(self) -> None:
        """Acknowledge at once what has come, when more is to come without a word of ours.

        A server that writes every reply by itself, and has not turned Nagle off, holds back the second until the first
        is acknowledged: 40 ms, if we don't.
        """
        if hasattr(socket, "TCP_QUICKACK"):
            with suppress(OSError):
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _send_all(self, rest: memoryview) -> None:
        deadline = time.monotonic() + self.seconds
        while rest:
            waits.wait(self._sock.fileno(), waits.WRITABLE, deadline - time.monotonic())
            rest = rest[self.send_some(rest) :]

    def _adopt(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_encrypted = isinstance(sock, ssl.SSLSocket)
        self._send_flags = 0 if self._is_encrypted else socket.MSG_DONTWAIT
        self._heard_at = 0.0
        sock.setblocking(False)
        self._held, self._at = b"", 0
