"""MAIL, every RCPT and DATA of one transaction: written one by one, or ahead of their replies (RFC 2920)."""

from mailqueue.delivery.outcomes import Stage
from mailqueue.delivery.smtp_connection import SmtpConnection, encoding_of
from mailqueue.delivery.smtp_line import COMMAND_SECONDS, ExchangeFailedError, Heard
from mailqueue.delivery.wire import SealedLetter

MOST_AHEAD = 100
"""Recipients in one group. Their replies must fit into the buffers of the line: nobody reads them while we write."""
LAST_WORDS_SECONDS = 10.0
"""How long to wait for replies that change nothing any more."""


class Envelope:
    """The commands of a transaction up to DATA, and their replies in the same order.

    DATA is the last of its group: nothing is written behind it before its reply.
    """

    def __init__(self, connection: SmtpConnection, letter: SealedLetter) -> None:
        encoding = encoding_of(letter)
        paths = letter.forward_paths.values()
        self._connection = connection
        self._commands = [
            connection.mail(letter),
            *[f"RCPT TO:{path}\r\n".encode(encoding) for path in paths],
            b"DATA\r\n",
        ]
        self._heard = self._written = 0
        self._is_group = False

    @property
    def is_ahead(self) -> bool:
        """Whether the next command has been written already."""
        return self._heard < self._written

    def hear(self) -> Heard:
        """Return the reply to the next command. Writes it, and those that may go with it, where that is to be done.

        What is lost has the stage of the first reply that is missing. Raises `ExchangeFailedError` also where a reply
        in a group cannot be the one to its command.
        """
        connection, at = self._connection, self._heard
        stage = Stage.MAIL if at == 0 else Stage.DATA if at == len(self._commands) - 1 else Stage.RCPT
        if at == self._written:
            connection.enter(stage, COMMAND_SECONDS)
            self._write()
        connection.stage = stage
        try:
            heard = connection.hear()
        except ExchangeFailedError as failure:
            # Before the first reply it may be a server that closed while the connection was idle.
            failure.is_out_of_step = self._is_group and (at > 0 or not connection.has_pipelined)
            raise
        self._heard = at + 1
        if self._is_group and (at + 1 == self._written or not 200 <= heard[0] < 300):
            self._check(stage, heard)
        return heard

    def skip_to_data(self) -> None:
        """Leave out the recipients who are not offered yet."""
        del self._commands[self._written : -1]

    def abandon(self) -> bool:
        """Hear what is still to come of a transaction that nobody is accepted in; say whether the session can go on.

        Where the server asks for the message all the same it gets an empty one, to nobody (RFC 2920, section 3.1).
        Where it has a recipient for it, it must not.
        """
        self._connection.enter(self._connection.stage, LAST_WORDS_SECONDS)
        code, has_recipient = 0, False
        while self.is_ahead:
            # Behind MAIL everything that is answered so is a recipient: DATA is not.
            has_recipient |= 200 <= code < 300
            code, _ = self.hear()
        if code != 354:
            return True
        if has_recipient:
            return False
        self._connection.lone_dot()
        return True

    def _write(self) -> None:
        group = self._commands[self._written : self._end_of_group()]
        self._written += len(group)
        self._is_group = len(group) > 1
        block = b"".join(group)
        if not block.count(b"\n") == block.count(b"\r") == len(group):
            raise ValueError("a line break in an address")
        self._connection.send(block)

    def _end_of_group(self) -> int:
        if not self._connection.pipelines:
            return self._written + 1
        end = max(self._written, 1) + MOST_AHEAD
        # DATA goes with the last recipients.
        return end if end < len(self._commands) - 1 else len(self._commands)

    def _check(self, stage: Stage, heard: Heard) -> None:
        """Find out that a reply is not the one to the command that it seems to answer."""
        digit = heard[0] // 100
        if digit == (2 if stage is Stage.DATA else 3):
            raise self._connection.out_of_step(heard)
        if self._heard < self._written:
            return
        unread = self._connection.unread()
        # A goodbye is no reply to any of them, and is found later.
        if unread and not unread.startswith(b"4"):
            raise self._connection.out_of_step((-1, unread))
        self._connection.has_pipelined = True
