"""The line to an SMTP server: every exchange has a stage and a time-out, and every loss is told as what it was."""

import smtplib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.utils import DNS_NAME

from mailqueue.delivery.classify import parse_reply
from mailqueue.delivery.outcomes import Reply, Stage
from mailqueue.delivery.rules import RULES, Rule
from mailqueue.delivery.secrets import Secrets
from mailqueue.delivery.smtp_socket import GarbledReplyError, OutOfStepError, SmtpSocket
from mailqueue.delivery.tally import Answer

T = TypeVar("T")
Heard = tuple[int, bytes]
"""A reply as it came: its code, and its lines without it."""

COMMAND_SECONDS = 60.0
QUIT_SECONDS = 5.0


class ExchangeFailedError(Exception):
    """The session cannot go on: refused, or lost while it waited for a reply."""

    def __init__(self, answer: Answer, *, lost: bool = False) -> None:
        super().__init__(answer.stage, answer.reply)
        self.answer = answer
        self.lost = lost
        """True where no usable reply came at all."""
        self.is_out_of_step = False
        """The replies to commands that were written ahead may not be those that they seem to be, or do not come."""


class _Smtplib(smtplib.SMTP):
    """smtplib's greetings and log-ins, over our socket: there is only one buffer."""

    line: SmtpSocket | None = None

    def send(self, s: str | bytes) -> None:  # type: ignore[override]
        self.present().send(s.encode(self.command_encoding) if isinstance(s, str) else s)

    def getreply(self) -> Heard:
        return self.present().read()

    def present(self) -> SmtpSocket:
        if self.line is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        return self.line


class SmtpLine:
    """smtplib's commands with our time-outs. Raises `ExchangeFailedError` where no usable reply comes."""

    def __init__(self, backend: EmailBackend, *, rules: Sequence[Rule] = RULES) -> None:
        self.stage = Stage.CONNECT
        """The stage last entered: tells a caller what a surprise may have interrupted."""
        self._backend = backend
        self._secrets = Secrets(backend)
        self._rules = rules
        self._smtp = _Smtplib(local_hostname=DNS_NAME.get_fqdn())
        self._socket: SmtpSocket

    def answer(self, stage: Stage, reply: Reply) -> Answer:
        """Judge a reply by the rules of this backend."""
        return Answer.to(stage, reply, rules=self._rules)

    def answer_heard(self, stage: Stage, heard: Heard) -> Answer:
        """Judge a reply as it came."""
        return self.answer(stage, self._parsed(heard))

    def quit(self) -> None:
        """Say goodbye and close; whatever the server makes of it."""
        try:
            with suppress(ExchangeFailedError):
                self._command(self.stage, "QUIT", seconds=QUIT_SECONDS)
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the socket without a word."""
        if self._smtp.line is not None:
            self._smtp.line.close()

    def enter(self, stage: Stage, seconds: float) -> None:
        """Begin a stage, in which whatever is waited for may take so long.

        A time-out in the backend's settings may shorten ours, and never makes it endless.
        """
        self.stage = stage
        self._socket.seconds = min(seconds, self._backend.timeout or seconds)

    def send(self, block: bytes | memoryview) -> None:
        try:
            self._socket.send(block)
        except OSError as error:
            raise self._lost(error) from error

    def hear(self) -> Heard:
        """Read one reply, and leave it as it is."""
        try:
            code, raw = self._socket.read()
        except (OSError, GarbledReplyError) as error:
            raise self._lost(error) from error
        if not 200 <= code <= 599:
            raise self._lost(GarbledReplyError(code, raw))
        return code, raw

    def out_of_step(self, heard: Heard) -> ExchangeFailedError:
        """Tell of a reply that cannot be the one to what was asked."""
        failure = self._lost(OutOfStepError(*heard))
        failure.is_out_of_step = True
        return failure

    def _command(self, stage: Stage, line: str, *, seconds: float = COMMAND_SECONDS) -> Reply:
        self.enter(stage, seconds)
        self.send(f"{line}\r\n".encode("ascii"))
        return self._parsed(self.hear())

    def _reply(self, call: Callable[[], Heard]) -> Reply:
        """Run a command of smtplib's."""
        code, raw = self._attempt(call)
        if not 200 <= code <= 599:
            raise self._lost(GarbledReplyError(code, raw))
        return self._parsed((code, raw))

    def _parsed(self, heard: Heard) -> Reply:
        code, raw = heard
        return parse_reply(code, self._secrets.hide(raw))

    def _attempt(self, call: Callable[[], T]) -> T:
        """Run a step of the opening. ValueError and OverflowError come from host names and ports that cannot be."""
        try:
            return call()
        except smtplib.SMTPAuthenticationError as error:
            reply = parse_reply(error.smtp_code, self._secrets.hide(error.smtp_error))
            raise ExchangeFailedError(self.answer(self.stage, reply)) from error
        except (OSError, ValueError, OverflowError, GarbledReplyError) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> ExchangeFailedError:
        if isinstance(error, GarbledReplyError):
            error = type(error)(error.code, self._secrets.hide(error.raw))
        return ExchangeFailedError(Answer.lost(self.stage, error), lost=True)

    def _use(self, socket: SmtpSocket) -> None:
        self._socket = self._smtp.line = socket
