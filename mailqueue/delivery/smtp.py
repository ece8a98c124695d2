"""Delivers letters over SMTP on one connection that is kept, and says what became of every recipient."""

import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial

from django.core.mail.backends.smtp import EmailBackend

from mailqueue import waits
from mailqueue.delivery.judgements import LOST
from mailqueue.delivery.letter import Fence, Letter
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.delivery.rules import RULES, Rule
from mailqueue.delivery.smtp_connection import LeaseLostError, SmtpConnection
from mailqueue.delivery.smtp_line import ExchangeFailedError
from mailqueue.delivery.smtp_pipelining import DISTRUST, Distrust, Server
from mailqueue.delivery.smtp_transaction import Transaction
from mailqueue.delivery.tally import Answer, Tally
from mailqueue.delivery.unsendable import not_without_utf8, too_large
from mailqueue.delivery.wire import Memory, SealedLetter, seal

MAILS_PER_CONNECTION = 100
LIFE_SECONDS = 60.0
IDLE_SECONDS = 8.0


class SmtpCarrier:
    """A `Carrier` that speaks SMTP with the settings of a Django SMTP backend."""

    def __init__(
        self,
        backend: EmailBackend,
        *,
        rules: Sequence[Rule] = RULES,
        clock: Callable[[], float] = time.monotonic,
        distrust: Distrust = DISTRUST,
    ) -> None:
        # Who makes his own kind of backend may do in it what he likes.
        self.takes_turns = type(backend) is EmailBackend
        self._backend = backend
        self._rules = rules
        self._clock = clock
        self._distrust = distrust
        self._tls_session: tuple[ssl.SSLSession, ssl.SSLContext] | None = None
        self._connection: SmtpConnection | None = None
        self._memory = Memory()
        self._opened_at = self._used_at = 0.0
        self._mail_count = 0

    def __repr__(self) -> str:
        return f"<SmtpCarrier {self._backend.host}:{self._backend.port}>"

    def deliver(self, letter: Letter, fence: Fence) -> Outcome:
        """Deliver one letter. Never raises: what nobody foresaw is judged by the stage that it interrupted."""
        try:
            sealed = seal(letter, self._backend, self._memory)
        except BaseException as error:  # noqa: BLE001 - templates, storages, message classes; SystemExit ends nobody
            return Answer.lost(Stage.BUILD, error).outcome()
        try:
            return self._deliver(sealed, fence)
        except Exception as error:  # noqa: BLE001 - the outer guard: the connection lives
            stage = self._connection.stage if self._connection else Stage.CONNECT
            self._drop()
            return Answer.surprise(stage, error).outcome()

    def is_connected(self) -> bool:
        return self._connection is not None

    def close(self) -> None:
        """Say goodbye and close the connection, if there is one; keep no mail in memory."""
        self._memory = Memory()
        connection = self._take()
        if connection is not None:
            connection.quit()

    def expire(self) -> None:
        """Close the connection if it is used up, too old or idle for too long; to be called while there is no mail."""
        now = self._clock()
        used_up = self._mail_count >= MAILS_PER_CONNECTION or now - self._opened_at >= LIFE_SECONDS
        if used_up or now - self._used_at >= IDLE_SECONDS:
            self.close()

    def _deliver(self, letter: SealedLetter, fence: Fence) -> Outcome:
        """Try on the connection that is there, and once more on a new one when it is lost before the final dot."""
        self.expire()
        lost_before = False
        while True:
            reused = self._connection is not None
            try:
                connection = self._connection or self._connect()
                outcome = self._transact(connection, letter, fence)
            except ExchangeFailedError as failure:
                self._drop()
                answer = failure.answer
                self._note(is_out_of_step=failure.is_out_of_step)
                if reused and _closed_while_idle(failure):
                    continue
                if lost_before or not failure.lost or answer.judgement != LOST:
                    return answer.outcome()
                lost_before = True
            except LeaseLostError as error:
                self._drop()
                return _lease_lost(error)
            else:
                self._used_at = self._clock()
                return outcome

    def _connect(self) -> SmtpConnection:
        session = self._earlier_session()
        try:
            self._connection = self._open(session)
        except ExchangeFailedError as failure:
            if session is None or failure.answer.stage is not Stage.TLS:
                raise
            # It may be the old session that failed.
            self._connection = self._open(None)
        self._opened_at = self._used_at = self._clock()
        self._mail_count = 0
        return self._connection

    def _earlier_session(self) -> ssl.SSLSession | None:
        """Where the context is another, so is what it trusts."""
        (session, context), self._tls_session = self._tls_session or (None, None), None
        return session if context is not None and context is self._backend.ssl_context else None

    def _open(self, session: ssl.SSLSession | None) -> SmtpConnection:
        may_pipeline = not self._distrust.covers(self._server)
        opening = partial(
            SmtpConnection, self._backend, rules=self._rules, tls_session=session, may_pipeline=may_pipeline
        )
        return waits.blocking(opening)

    def _transact(self, connection: SmtpConnection, letter: SealedLetter, fence: Fence) -> Outcome:
        """One mail transaction, unless what the server offers rules it out."""
        connection.stage = Stage.MAIL
        tally = Tally()
        if letter.needs_utf8 and not connection.offers_utf8:
            tally = Tally(refused=not_without_utf8(letter))
            if letter.without_utf8 is None:
                return tally.outcome()
            letter = letter.without_utf8
        if not connection.offers_eight_bits and letter.has_eight_bits:
            letter = waits.blocking(letter.in_seven_bits)
        if 0 < connection.size_limit < len(letter.content):
            return too_large(letter, limit=connection.size_limit)
        self._mail_count += 1
        transaction = Transaction(connection, letter, fence, tally=tally)
        outcome = transaction.run()
        self._note(is_out_of_step=transaction.is_out_of_step)
        if transaction.ends_session:
            self._drop()
        return outcome

    @property
    def _server(self) -> Server:
        return self._backend.host, self._backend.port

    def _note(self, *, is_out_of_step: bool) -> None:
        if is_out_of_step:
            self._distrust.note(self._server)

    def _take(self) -> SmtpConnection | None:
        """Give up the connection that is about to be closed; keep its TLS session for the next one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            session = connection.tls_session
            self._tls_session = (session, self._backend.ssl_context) if session else None
        return connection

    def _drop(self) -> None:
        connection = self._take()
        if connection is not None:
            connection.drop()


def _closed_while_idle(failure: ExchangeFailedError) -> bool:
    """A server that closes an idle connection is found out by the next MAIL: gone, or 421 4.4.2 (RFC 3463, X.4.2)."""
    answer = failure.answer
    return answer.stage is Stage.MAIL and (
        failure.lost or (answer.reply.code, answer.reply.enhanced) == (421, "4.4.2")
    )


def _lease_lost(error: LeaseLostError) -> Outcome:
    return Outcome(Verdict.DEFER, Stage.BODY, Blame.BACKEND, Trouble.NONE, Reply(0, str(error)), "LeaseLost")
