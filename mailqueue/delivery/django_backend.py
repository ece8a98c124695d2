"""Delivers letters through any Django e-mail backend: an API of a mail service, a file, a project's own class."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from mailqueue.delivery.backend_errors import opening_failed, sending_failed
from mailqueue.delivery.judgements import RETRY, SENT
from mailqueue.delivery.letter import Fence, Letter
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.delivery.rules import RULES, Rule
from mailqueue.delivery.secrets import Secrets
from mailqueue.delivery.service_status import refused_by_service, service_id
from mailqueue.delivery.smtp import IDLE_SECONDS, LIFE_SECONDS, MAILS_PER_CONNECTION
from mailqueue.delivery.smtplib_traps import Overheard
from mailqueue.delivery.tally import Answer, Tally


class DjangoCarrier:
    """A `Carrier` around one Django backend at a time, kept open as an SMTP connection is. Owned by one thread."""

    takes_turns = False

    def __init__(
        self,
        make_backend: Callable[[], BaseEmailBackend],
        *,
        rules: Sequence[Rule] = RULES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_backend = make_backend
        self._rules = rules
        self._clock = clock
        self._backend: BaseEmailBackend | None = None
        self._secrets = Secrets(None)
        self._opened_at = self._used_at = 0.0
        self._mail_count = 0

    def deliver(self, letter: Letter, fence: Fence) -> Outcome:
        """Deliver one letter. Never raises: a backend may raise anything, and that is judged."""
        outcome = self._delivered(letter, fence)
        return self._secrets.hide_in(outcome)

    def _delivered(self, letter: Letter, fence: Fence) -> Outcome:
        try:
            message = addressed(letter)
        except BaseException as error:  # noqa: BLE001 - a build may raise anything, SystemExit too
            return Answer.lost(Stage.BUILD, error).outcome()
        try:
            return self._deliver(message, fence)
        except Exception as error:  # noqa: BLE001 - the outer guard: the connection's thread lives
            self.close()
            return Answer.surprise(Stage.DATA, error).outcome()

    def _deliver(self, message: EmailMessage, fence: Fence) -> Outcome:
        try:
            backend = self._opened()
        except Exception as error:  # noqa: BLE001 - nothing has been sent, whatever it is
            self.close()
            return opening_failed(error, rules=self._rules)
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
        with suppress(BaseException):  # what was sent is sent, whatever it raises
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
            self._secrets = Secrets(self._backend)
            self._backend.open()
            self._opened_at = self._clock()
            self._mail_count = 0
        self._mail_count += 1
        return self._backend

    def _send(self, backend: BaseEmailBackend, message: EmailMessage) -> Outcome:
        try:
            with Overheard(backend) as heard:
                sent = backend.send_messages([message])
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            self.close()
            return sending_failed(error, recipients=message.recipients(), rules=self._rules)
        finally:
            self._used_at = self._clock()
        if sent:
            return self._taken(message, heard)
        text = "the backend reported no error, and that it sent nothing"
        return Answer(Stage.DATA, Reply(0, text), RETRY).outcome()

    def _taken(self, message: EmailMessage, heard: Overheard) -> Outcome:
        recipients = message.recipients()
        refused = heard.refused(recipients, rules=self._rules) | refused_by_service(message)
        tally = Tally(accepted=[address for address in recipients if address not in refused], refused=refused)
        outcome = tally.outcome(Answer(Stage.FINAL_DOT, heard.reply, SENT) if tally.accepted else None)
        known_as = service_id(message)
        return replace(outcome, queue_id=known_as) if known_as else outcome


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
