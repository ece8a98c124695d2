"""One mail transaction on an open session (RFC 5321, section 3.3): what was said to it becomes one outcome."""

from mailqueue.delivery.judgements import THROTTLED, TOO_MANY_RECIPIENTS
from mailqueue.delivery.letter import Fence
from mailqueue.delivery.outcomes import Outcome, Stage
from mailqueue.delivery.smtp_connection import SmtpConnection
from mailqueue.delivery.smtp_envelope import Envelope
from mailqueue.delivery.smtp_line import ExchangeFailedError, Heard
from mailqueue.delivery.tally import Answer, Tally
from mailqueue.delivery.wire import SealedLetter


class Transaction:
    """Hands one letter over. The replies mean the same whether the commands were written ahead of them or not."""

    def __init__(self, connection: SmtpConnection, letter: SealedLetter, fence: Fence, *, tally: Tally) -> None:
        self._connection = connection
        self._letter = letter
        self._fence = fence
        self._tally = tally
        self._envelope = Envelope(connection, letter)
        self.ends_session = False
        """Afterwards: the connection must not be used again."""
        self.is_out_of_step = False
        """Afterwards: as in `ExchangeFailedError`."""

    def run(self) -> Outcome:
        """Raises `ExchangeFailedError` where the session can't go on and nobody has the mail."""
        self._connection.expect_no_more()
        opened = self._envelope.hear()
        if not _is_positive(opened):
            # Its answer is the mail's. Those to what was written behind it speak of a wrong order only.
            refusal = self._going_on(Stage.MAIL, opened)
            self._back_out()
            return refusal.outcome()
        self._name_recipients()
        if not self._tally.accepted:
            self._back_out()
            return self._tally.outcome()
        return self._tally.outcome(self._hand_over())

    def _name_recipients(self) -> None:
        """Offer every recipient, until the server takes no more. What was written ahead is offered already.

        A reply that ends the session ends it for all of them: nobody has the mail then.
        """
        tally = self._tally
        for recipient in self._letter.forward_paths:
            if tally.is_over and not self._envelope.is_ahead:
                tally.unoffered.append(recipient)
                continue
            heard = self._envelope.hear()
            if _is_positive(heard):
                tally.accepted.append(recipient)
                continue
            answer = self._going_on(Stage.RCPT, heard)
            if tally.is_over and answer.judgement in (THROTTLED, TOO_MANY_RECIPIENTS):
                # Without pipelining he would not have been offered.
                tally.unoffered.append(recipient)
            else:
                tally.refuse(recipient, answer)
        self._envelope.skip_to_data()

    def _hand_over(self) -> Answer:
        """Send the message itself; give the answer that holds for every recipient who was accepted."""
        ready = self._envelope.hear()
        if ready[0] != 354:
            answer = self._ended(self._connection.answer_heard(Stage.DATA, ready))
            self._back_out()
            return answer
        try:
            reply = self._connection.body(self._letter.content, self._fence)
        except ExchangeFailedError as failure:
            if failure.answer.stage is not Stage.FINAL_DOT:
                raise
            return self._ended(failure.answer)
        return self._ended(self._connection.answer(Stage.FINAL_DOT, reply))

    def _back_out(self) -> None:
        """Leave the transaction, and the session ready for the next one; if need be, without it."""
        if self.ends_session:
            return
        self.ends_session = True
        try:
            if self._envelope.abandon():
                self._connection.reset()
                self.ends_session = False
        except ExchangeFailedError as failure:
            self.is_out_of_step = failure.is_out_of_step

    def _going_on(self, stage: Stage, heard: Heard) -> Answer:
        """Give back a refusal after which the session can go on; raise ExchangeFailedError for any other."""
        answer = self._connection.answer_heard(stage, heard)
        if answer.judgement.close:
            raise ExchangeFailedError(answer)
        return answer

    def _ended(self, answer: Answer) -> Answer:
        self.ends_session |= answer.judgement.close
        return answer


def _is_positive(heard: Heard) -> bool:
    return 200 <= heard[0] < 300
