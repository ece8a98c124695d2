"""One open SMTP session, driven command by command, so that the stage of every reply and every loss is known."""

import select
import smtplib
import socket
import ssl
from collections.abc import Sequence

from django.core.mail.backends.smtp import EmailBackend

from mailqueue.delivery.letter import Fence
from mailqueue.delivery.outcomes import Reply, Stage
from mailqueue.delivery.rules import RULES, Rule
from mailqueue.delivery.smtp_line import COMMAND_SECONDS, ExchangeFailedError, SmtpLine
from mailqueue.delivery.wire import SealedLetter, stuffed
from mailqueue.faults import reach

CONNECT_SECONDS = 15.0
DATA_BLOCK_SECONDS = 120.0
"""For each block of `BLOCK_BYTES` (RFC 5321, section 4.5.3.2.5): a long message on a slow line may take longer."""
FINAL_REPLY_SECONDS = 300.0
BLOCK_BYTES = 65_536


class LeaseLostError(Exception):
    """The fence closed before the final dot: the mail may already be somebody else's."""


class SmtpConnection(SmtpLine):
    """A session that has greeted, gone through TLS and logged in, as the Django backend's settings say.

    Raises `ExchangeFailedError` from the constructor and from every command that gets no usable reply.
    """

    def __init__(self, backend: EmailBackend, *, rules: Sequence[Rule] = RULES) -> None:
        super().__init__(backend, rules=rules)
        try:
            self._open()
        except BaseException:
            self.drop()
            raise

    @property
    def size_limit(self) -> int:
        """The most octets that the server takes (RFC 1870); 0 where it names no limit."""
        limit = self._smtp.esmtp_features.get("size", "")
        return int(limit) if limit.isdecimal() and len(limit) <= 20 else 0  # RFC 1870: at most 20 digits

    @property
    def offers_utf8(self) -> bool:
        return self._smtp.has_extn("smtputf8")

    @property
    def offers_eight_bits(self) -> bool:
        return self._smtp.has_extn("8bitmime")

    def mail(self, letter: SealedLetter) -> Reply:
        size = f" SIZE={len(letter.content)}" if self._smtp.has_extn("size") else ""
        # RFC 6531, section 3.4: the parameter is what allows UTF-8 in this command and in those for the recipients.
        utf8 = " SMTPUTF8" if letter.needs_utf8 else ""
        has_eight_bits = letter.needs_utf8 or (letter.has_eight_bits and self.offers_eight_bits)
        body = " BODY=8BITMIME" if has_eight_bits else ""
        self._smtp.command_encoding = "utf-8" if letter.needs_utf8 else "ascii"
        return self._command(Stage.MAIL, f"MAIL FROM:{letter.reverse_path}{utf8}{body}{size}")

    def rcpt(self, forward_path: str) -> Reply:
        return self._command(Stage.RCPT, f"RCPT TO:{forward_path}")

    def data(self) -> Reply:
        return self._command(Stage.DATA, "DATA")

    def body(self, content: bytes, fence: Fence) -> Reply:
        """Send the message, ask the fence, send the final dot; give the reply to it.

        Raises LeaseLostError, the final dot unsent, when the fence is closed. From the dot on only the reply tells
        whether the server has taken the mail: every loss there has the stage FINAL_DOT.
        """
        lines = memoryview(stuffed(content))
        self._enter(Stage.BODY, DATA_BLOCK_SECONDS)
        for start in range(0, len(lines), BLOCK_BYTES):
            self._send(lines[start : start + BLOCK_BYTES])
        reach("in_data")
        if not fence.is_open():
            raise LeaseLostError("the lease ended before the final dot")
        self._expect_silence()
        self._enter(Stage.FINAL_DOT, FINAL_REPLY_SECONDS)
        self._send(b".\r\n")
        return self._read()

    def reset(self) -> None:
        self._command(self.stage, "RSET")

    def _open(self) -> None:
        self._settle_socket(self._attempt(self._dial))
        if self._backend.use_ssl:
            self.stage = Stage.TLS
            self._attempt(self._wrap)
        self._enter(Stage.GREETING, COMMAND_SECONDS)
        self._require(self._read(), 220)
        self._greet()
        if self._backend.use_tls:
            self._start_tls()
            self._greet()
        if self._backend.username and self._backend.password:
            self._enter(Stage.AUTH, COMMAND_SECONDS)
            self._attempt(self._log_in)

    def _dial(self) -> socket.socket:
        port = self._backend.port or (smtplib.SMTP_SSL_PORT if self._backend.use_ssl else smtplib.SMTP_PORT)
        return socket.create_connection((self._backend.host, port), self._capped(CONNECT_SECONDS))

    def _settle_socket(self, sock: socket.socket) -> None:
        # The dot follows the body in a packet of its own: Nagle would hold it for the server's delayed ACK, 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._smtp.sock = sock

    def _wrap(self) -> None:
        if self._smtp.sock is None:
            raise smtplib.SMTPServerDisconnected("closed before the TLS handshake")
        self._smtp.sock = self._backend.ssl_context.wrap_socket(self._smtp.sock, server_hostname=self._backend.host)
        self._smtp.file = None
        self._limited = None

    def _greet(self) -> None:
        """EHLO, or HELO where the server is too old for it (RFC 5321, section 3.2)."""
        self._enter(Stage.EHLO, COMMAND_SECONDS)
        reply = self._reply(self._smtp.ehlo)
        if reply.code // 100 == 5:
            reply = self._reply(self._smtp.helo)
        self._require(reply, 250)

    def _start_tls(self) -> None:
        """Turn to TLS; never goes on in plain text. Forgets all that was said before it (RFC 3207, section 4.2)."""
        self._enter(Stage.TLS, COMMAND_SECONDS)
        if not self._smtp.has_extn("starttls"):
            raise self._lost(smtplib.SMTPNotSupportedError("the server does not offer STARTTLS"))
        self._require(self._command(Stage.TLS, "STARTTLS"), 220)
        self._attempt(self._wrap)
        self._smtp.ehlo_resp = self._smtp.helo_resp = None
        self._smtp.esmtp_features = {}
        self._smtp.does_esmtp = False

    def _log_in(self) -> None:
        try:
            self._smtp.login(self._backend.username, self._backend.password)
        except UnicodeError:
            # smtplib's text quotes the password.
            raise smtplib.SMTPException("user name or password is not ASCII") from None

    def _require(self, reply: Reply, code: int) -> None:
        if reply.code != code:
            raise ExchangeFailedError(self.answer(self.stage, reply))

    def _expect_silence(self) -> None:
        """Find out what the server has already said or closed: a loss after the final dot would leave it unknown."""
        sock = self._smtp.sock
        # TLS has records of its own that make the socket readable.
        if sock is None or isinstance(sock, ssl.SSLSocket) or not _is_readable(sock):
            return
        raise ExchangeFailedError(self.answer(self.stage, self._read()))


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
