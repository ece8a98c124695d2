"""Delivers letters through any Django e-mail backend: an API of a mail service, a file, a project's own class."""

import smtplib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from mailqueue.delivery.classify import judge, judge_http, parse_reply
from mailqueue.delivery.letter import Fence, Letter, UnreadableError
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.delivery.rules import COUNTED, FAIL, RETRY, UNKNOWN
from mailqueue.delivery.smtp import IDLE_SECONDS, LIFE_SECONDS, MAILS_PER_CONNECTION
from mailqueue.delivery.tally import Answer, Tally, reason

_SMTP_STAGES: tuple[tuple[type[smtplib.SMTPResponseException], Stage], ...] = (
    (smtplib.SMTPConnectError, Stage.GREETING),
    (smtplib.SMTPHeloError, Stage.EHLO),
    (smtplib.SMTPAuthenticationError, Stage.AUTH),
    (smtplib.SMTPSenderRefused, Stage.MAIL),
    (smtplib.SMTPDataError, Stage.DATA),
)
_LOST = (ConnectionError, TimeoutError, smtplib.SMTPServerDisconnected)
_NEVER_CONNECTED = ("ConnectTimeout", "ConnectTimeoutError", "NewConnectionError", "ConnectError")
"""Names that requests, urllib3 and httpx give to a request that never left."""


class DjangoCarrier:
    """A `Carrier` around one Django backend at a time, kept open as an SMTP connection is. Owned by one thread."""

    def __init__(
        self, make_backend: Callable[[], BaseEmailBackend], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make_backend = make_backend
        self._clock = clock
        self._backend: BaseEmailBackend | None = None
        self._opened_at = self._used_at = 0.0
        self._mail_count = 0

    def deliver(self, letter: Letter, fence: Fence) -> Outcome:
        """Deliver one letter. Never raises: a backend may raise anything, and that is judged."""
        try:
            message = addressed(letter)
        except Exception as error:  # noqa: BLE001 - a build may raise anything
            return Answer.lost(Stage.BUILD, error).outcome()
        try:
            return self._deliver(message, fence)
        except Exception as error:  # noqa: BLE001 - the outer guard: the connection's thread lives
            self.close()
            return Answer.lost(Stage.DATA, error).outcome()

    def _deliver(self, message: EmailMessage, fence: Fence) -> Outcome:
        try:
            backend = self._opened()
        except Exception as error:  # noqa: BLE001 - nothing has been sent, whatever it is
            self.close()
            return _opening_failed(error)
        if not fence.is_open():
            text = "the lease ended before the sending began"
            return Outcome(Verdict.DEFER, Stage.CONNECT, Blame.BACKEND, Trouble.NONE, Reply(0, text), "LeaseLost")
        return self._send(backend, message)

    def is_connected(self) -> bool:
        return self._backend is not None

    def close(self) -> None:
        """Close the backend, if one is open, and forget it: some are of no use after their close()."""
        backend, self._backend = self._backend, None
        if backend is None:
            return
        with suppress(Exception):  # what was sent is sent
            backend.close()

    def expire(self) -> None:
        """Close the backend if it is used up, too old or idle for too long; to be called while there is no mail."""
        now = self._clock()
        used_up = self._mail_count >= MAILS_PER_CONNECTION or now - self._opened_at >= LIFE_SECONDS
        if used_up or now - self._used_at >= IDLE_SECONDS:
            self.close()

    def _opened(self) -> BaseEmailBackend:
        self.expire()
        if self._backend is None:
            self._backend = self._make_backend()
            self._backend.open()
            self._opened_at = self._clock()
            self._mail_count = 0
        self._mail_count += 1
        return self._backend

    def _send(self, backend: BaseEmailBackend, message: EmailMessage) -> Outcome:
        try:
            sent = backend.send_messages([message])
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            self.close()
            return sending_failed(error, recipients=message.recipients())
        finally:
            self._used_at = self._clock()
        if sent:
            return Outcome(Verdict.SENT, Stage.DONE)
        text = "the backend reported no error, and that it sent nothing"
        return Answer(Stage.DATA, Reply(0, text), RETRY).outcome()


def addressed(letter: Letter) -> EmailMessage:
    """Build the message and give it the letter's envelope, which a Django backend knows only from the message.

    The headers stay as they were: what would change in them is kept as an extra header.
    """
    message = letter.build()
    shown = {"From": message.from_email, "To": ", ".join(map(str, message.to)), "Cc": ", ".join(map(str, message.cc))}
    wanted = dict.fromkeys(letter.recipients)
    if list(wanted) != message.recipients():
        given = [address for address in message.recipients() if address in wanted]
        message.to = [address for address in message.to if address in wanted]
        message.cc = [address for address in message.cc if address in wanted]
        message.bcc = [address for address in message.bcc if address in wanted]
        message.bcc += [address for address in wanted if address not in given]
        _keep_headers(message, {name: shown[name] for name in ("To", "Cc")})
    # None leaves the sender to a template that the mail service keeps.
    shown_from: str | None = message.from_email
    if shown_from is not None and letter.envelope_from != shown_from:
        message.from_email = letter.envelope_from
        _keep_headers(message, {"From": shown["From"]})
    return message


def _keep_headers(message: EmailMessage, shown: dict[str, str]) -> None:
    kept = {name: value for name, value in shown.items() if value}
    message.extra_headers = kept | message.extra_headers


def sending_failed(error: Exception, *, recipients: Sequence[str] = ()) -> Outcome:
    """Judge what a backend raised while it was sending: by SMTP stage, by HTTP status, or by how the line was lost."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _recipients_refused(error, recipients)
    answer = _answered(error)
    if answer is not None:
        return answer.outcome()
    causes = tuple(_causes(error))
    if any(isinstance(cause, UnreadableError) for cause in causes):
        return Answer.raised(Stage.BUILD, error, FAIL).outcome()
    if any(_never_connected(cause) for cause in causes):
        return Answer.raised(Stage.CONNECT, error, COUNTED).outcome()
    if any(isinstance(cause, _LOST) for cause in causes):
        # Nobody can tell from outside of the backend whether the mail had been taken.
        return Answer.raised(Stage.FINAL_DOT, error, UNKNOWN).outcome()
    return Answer.raised(Stage.DATA, error, RETRY).outcome()


def _opening_failed(error: Exception) -> Outcome:
    answer = _answered(error)
    if answer is not None and answer.judgement.blame is Blame.BACKEND:
        return answer.outcome()
    stage = Stage.TLS if isinstance(error, smtplib.SMTPNotSupportedError) else Stage.CONNECT
    return Answer.lost(stage, error).outcome()


def _answered(error: Exception) -> Answer | None:
    """The answer of a server, where the exception holds one."""
    name = type(error).__name__
    for kind, stage in _SMTP_STAGES:
        if isinstance(error, kind):
            reply = parse_reply(error.smtp_code, error.smtp_error)
            return Answer(stage, reply, judge(stage=stage, reply=reply), name)
    status = _http_status(error)
    if status is None:
        return None
    return Answer(Stage.DATA, Reply(status, reason(error), is_exception=True), judge_http(status), name)


def _http_status(error: Exception) -> int | None:
    for source in (error, getattr(error, "response", None)):
        status = getattr(source, "status_code", None)
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return None


def _recipients_refused(error: smtplib.SMTPRecipientsRefused, recipients: Sequence[str]) -> Outcome:
    """Judge a refusal of all recipients. smtplib names them as it sent them, in the order of the message's."""
    answers = [Answer.to(Stage.RCPT, parse_reply(code, raw)) for code, raw in error.recipients.values()]
    ending = [answer for answer in answers if answer.judgement.close]
    if ending or not answers:
        return (ending[0] if ending else Answer.raised(Stage.RCPT, error, RETRY)).outcome()
    names = recipients if len(recipients) == len(answers) else list(error.recipients)
    return Tally(refused=dict(zip(names, answers, strict=True))).outcome()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _never_connected(error: BaseException) -> bool:
    return isinstance(error, ConnectionRefusedError) or type(error).__name__ in _NEVER_CONNECTED
