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
from mailqueue.delivery.tally import Answer

T = TypeVar("T")

COMMAND_SECONDS = 60.0
QUIT_SECONDS = 5.0


class ExchangeFailedError(Exception):
    """The session cannot go on: refused, or lost while it waited for a reply."""

    def __init__(self, answer: Answer, *, lost: bool = False) -> None:
        super().__init__(answer.stage, answer.reply)
        self.answer = answer
        self.lost = lost
        """True where no usable reply came at all."""


class GarbledReplyError(Exception):
    """What the server said is no SMTP reply."""

    def __init__(self, code: int, raw: bytes) -> None:
        super().__init__(f"not an SMTP reply: {code} {raw[:80]!r}")


class SmtpLine:
    """smtplib's commands with our time-outs. Raises `ExchangeFailedError` where no usable reply comes."""

    def __init__(self, backend: EmailBackend, *, rules: Sequence[Rule] = RULES) -> None:
        self.stage = Stage.CONNECT
        """The stage last entered: tells a caller what a surprise may have interrupted."""
        self._backend = backend
        self._secrets = Secrets(backend)
        self._rules = rules
        self._smtp = smtplib.SMTP(local_hostname=DNS_NAME.get_fqdn())
        self._limited: float | None = None

    def answer(self, stage: Stage, reply: Reply) -> Answer:
        """Judge a reply by the rules of this backend."""
        return Answer.to(stage, reply, rules=self._rules)

    def quit(self) -> None:
        """Say goodbye and close; whatever the server makes of it."""
        with suppress(OSError):
            self._enter(self.stage, QUIT_SECONDS)
            self._smtp.docmd("QUIT")
        self.drop()

    def drop(self) -> None:
        """Close the socket without a word."""
        with suppress(OSError):
            self._smtp.close()

    def _command(self, stage: Stage, line: str) -> Reply:
        self._enter(stage, COMMAND_SECONDS)
        return self._reply(lambda: self._smtp.docmd(line))

    def _read(self) -> Reply:
        return self._reply(self._smtp.getreply)

    def _reply(self, call: Callable[[], tuple[int, bytes]]) -> Reply:
        code, raw = self._exchange(call)
        raw = self._secrets.hide(raw)
        if not 200 <= code <= 599:
            raise self._lost(GarbledReplyError(code, raw))
        return parse_reply(code, raw)

    def _send(self, block: bytes | memoryview) -> None:
        self._exchange(lambda: self._smtp.send(block))

    def _exchange(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except OSError as error:
            raise self._lost(error) from error

    def _attempt(self, call: Callable[[], T]) -> T:
        """Run a step of the opening. ValueError and OverflowError come from host names and ports that cannot be."""
        try:
            return call()
        except smtplib.SMTPAuthenticationError as error:
            reply = parse_reply(error.smtp_code, self._secrets.hide(error.smtp_error))
            raise ExchangeFailedError(self.answer(self.stage, reply)) from error
        except (OSError, ValueError, OverflowError) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> ExchangeFailedError:
        """Name what really happened: smtplib calls every loss a disconnection."""
        context = error.__context__ if isinstance(error, smtplib.SMTPServerDisconnected) else None
        cause = context if isinstance(context, OSError) else error
        return ExchangeFailedError(Answer.lost(self.stage, cause), lost=True)

    def _enter(self, stage: Stage, seconds: float) -> None:
        self.stage = stage
        limit = self._capped(seconds)
        if self._smtp.sock is not None and limit != self._limited:
            self._smtp.sock.settimeout(limit)
            self._limited = limit

    def _capped(self, seconds: float) -> float:
        """A time-out in the backend's settings may shorten ours, and never makes it endless."""
        return min(seconds, self._backend.timeout or seconds)
