"""One open SMTP session, driven command by command, so that the stage of every reply and every loss is known."""

import smtplib
import socket
import ssl
from collections.abc import Sequence

from django.core.mail.backends.smtp import EmailBackend

from mailqueue.delivery.letter import Fence
from mailqueue.delivery.outcomes import Reply, Stage
from mailqueue.delivery.rules import RULES, Rule
from mailqueue.delivery.smtp_line import COMMAND_SECONDS, ExchangeFailedError, Heard, SmtpLine
from mailqueue.delivery.smtp_socket import SmtpSocket
from mailqueue.delivery.wire import SealedLetter, stuffed
from mailqueue.faults import reach

CONNECT_SECONDS = 15.0
DATA_BLOCK_SECONDS = 120.0
"""For each block of `BLOCK_BYTES` (RFC 5321, section 4.5.3.2.5): a long message on a slow line may take longer."""
FINAL_REPLY_SECONDS = 300.0
JUST_NOW_SECONDS = 0.05
"""A server that answered so lately is not asked whether it is still there."""
BLOCK_BYTES = 65_536
FINAL_DOT = b".\r\n"


class LeaseLostError(Exception):
    """The fence closed before the final dot: the mail may already be somebody else's."""


class SmtpConnection(SmtpLine):
    """A session that has greeted, gone through TLS and logged in, as the Django backend's settings say.

    Raises `ExchangeFailedError` from the constructor and from every command that gets no usable reply.
    """

    def __init__(
        self,
        backend: EmailBackend,
        *,
        rules: Sequence[Rule] = RULES,
        tls_session: ssl.SSLSession | None = None,
        may_pipeline: bool = True,
    ) -> None:
        super().__init__(backend, rules=rules)
        self._offered_session = tls_session
        try:
            self._open()
        except BaseException:
            self.drop()
            raise
        features = self._smtp.esmtp_features
        self.offers_utf8 = "smtputf8" in features
        self.offers_eight_bits = "8bitmime" in features
        self.size_limit = _size_limit(features.get("size", ""))
        """The most octets that the server takes (RFC 1870); 0 where it names no limit."""
        self.pipelines = may_pipeline and "pipelining" in features
        self.has_pipelined = False
        """It has answered a group of commands in order."""
        self._wants_size = "size" in features

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        return self._socket.tls_session

    def mail(self, letter: SealedLetter) -> bytes:
        """The command that opens a transaction."""
        size = f" SIZE={len(letter.content)}" if self._wants_size else ""
        # RFC 6531, section 3.4: the parameter is what allows UTF-8 in this command and in those for the recipients.
        utf8 = " SMTPUTF8" if letter.needs_utf8 else ""
        has_eight_bits = letter.needs_utf8 or (self.offers_eight_bits and letter.has_eight_bits)
        body = " BODY=8BITMIME" if has_eight_bits else ""
        return f"MAIL FROM:{letter.reverse_path}{utf8}{body}{size}\r\n".encode(encoding_of(letter))

    def expect_no_more(self) -> None:
        """Find out before a transaction whether the server has said goodbye, or what nobody asked for."""
        if not self._socket.has_news(since=JUST_NOW_SECONDS):
            return
        self.enter(Stage.MAIL, COMMAND_SECONDS)
        heard = self.hear()
        if heard[0] == 421:
            raise ExchangeFailedError(self.answer_heard(Stage.MAIL, heard))
        failure = self.out_of_step(heard)
        # Some say goodbye with another 4xx.
        failure.is_out_of_step = heard[0] // 100 != 4
        raise failure

    def unread(self) -> bytes:
        """What has come behind the last reply that was read."""
        return self._socket.unread

    def body(self, content: bytes, fence: Fence) -> Reply:
        """Send the message, ask the fence, send the final dot; give the reply to it.

        Raises LeaseLostError, the final dot unsent, when the fence is closed. From the dot on only the reply tells
        whether the server has taken the mail: every loss there has the stage FINAL_DOT. What is short goes out with
        its dot in one write.
        """
        lines = stuffed(content)
        self.enter(Stage.BODY, DATA_BLOCK_SECONDS)
        is_short = len(lines) <= BLOCK_BYTES
        if not is_short:
            self._send_blocks(memoryview(lines))
        reach("in_data")
        if not fence.is_open():
            raise LeaseLostError("the lease ended before the final dot")
        self._expect_silence()
        self._finish(lines + FINAL_DOT if is_short else FINAL_DOT, is_whole=is_short)
        return self._parsed(self.hear())

    def lone_dot(self) -> Heard:
        """End a message of which nothing was sent (RFC 2920, section 3.1)."""
        self.send(FINAL_DOT)
        return self.hear()

    def reset(self) -> None:
        self._command(self.stage, "RSET")

    def _send_blocks(self, lines: memoryview) -> None:
        for start in range(0, len(lines), BLOCK_BYTES):
            self.send(lines[start : start + BLOCK_BYTES])

    def _finish(self, rest: bytes, *, is_whole: bool) -> None:
        """Send what ends in the final dot.

        Where a whole message is refused by the socket at the first octet, none of it has gone out, and nobody has it.
        Not so in TLS, which may have sent a part before it raises, and not when some of it is on its way.
        """
        self.enter(Stage.FINAL_DOT, FINAL_REPLY_SECONDS)
        try:
            count = self._socket.send_some(rest)
        except OSError as error:
            if is_whole and not self._socket.is_encrypted:
                self.stage = Stage.BODY
            raise self._lost(error) from error
        if count < len(rest):
            self.send(memoryview(rest)[count:])

    def _open(self) -> None:
        self._use(SmtpSocket(self._attempt(self._dial)))
        if self._backend.use_ssl:
            self.enter(Stage.TLS, COMMAND_SECONDS)
            self._attempt(self._encrypt)
        self.enter(Stage.GREETING, COMMAND_SECONDS)
        self._require(self._parsed(self.hear()), 220)
        self._greet()
        if self._backend.use_tls:
            self._start_tls()
            self._greet()
        if self._backend.username and self._backend.password:
            self.enter(Stage.AUTH, COMMAND_SECONDS)
            self._attempt(self._log_in)

    def _dial(self) -> socket.socket:
        port = self._backend.port or (smtplib.SMTP_SSL_PORT if self._backend.use_ssl else smtplib.SMTP_PORT)
        seconds = min(CONNECT_SECONDS, self._backend.timeout or CONNECT_SECONDS)
        return socket.create_connection((self._backend.host, port), seconds)

    def _encrypt(self) -> None:
        self._socket.encrypt(self._backend.ssl_context, host=self._backend.host, session=self._offered_session)

    def _greet(self) -> None:
        """EHLO, or HELO where the server is too old for it (RFC 5321, section 3.2)."""
        self.enter(Stage.EHLO, COMMAND_SECONDS)
        reply = self._reply(self._smtp.ehlo)
        if reply.code // 100 == 5:
            reply = self._reply(self._smtp.helo)
        self._require(reply, 250)

    def _start_tls(self) -> None:
        """Turn to TLS; never goes on in plain text. Forgets all that was said before it (RFC 3207, section 4.2)."""
        self.enter(Stage.TLS, COMMAND_SECONDS)
        if not self._smtp.has_extn("starttls"):
            raise self._lost(smtplib.SMTPNotSupportedError("the server does not offer STARTTLS"))
        self._require(self._command(Stage.TLS, "STARTTLS"), 220)
        self._attempt(self._encrypt)
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
        if self._socket.has_news():
            raise ExchangeFailedError(self.answer_heard(self.stage, self.hear()))


def encoding_of(letter: SealedLetter) -> str:
    return "utf-8" if letter.needs_utf8 else "ascii"


def _size_limit(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= 20 else 0  # RFC 1870: at most 20 digits
