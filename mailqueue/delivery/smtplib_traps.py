"""What Django's SMTP backend and smtplib keep to themselves, for a project's own backends that are built on them."""

import smtplib
from collections.abc import Mapping, Sequence
from email.utils import parseaddr
from typing import Any, Self

from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend

from mailqueue.delivery.classify import parse_reply
from mailqueue.delivery.outcomes import Reply, Stage
from mailqueue.delivery.rules import Rule
from mailqueue.delivery.tally import Answer

TIMEOUT_SECONDS = 60
"""Django's own default is to wait for ever."""


def with_timeout(backend: BaseEmailBackend) -> BaseEmailBackend:
    """See to it that a Django SMTP backend does not wait for a silent server for ever."""
    if isinstance(backend, SmtpBackend) and backend.timeout is None:
        backend.timeout = TIMEOUT_SECONDS
    return backend


class Overheard:
    """Listens to the open connection of a backend while it sends one mail.

    Django's SMTP backend throws away whom the server refused while it took others, and the server's last words.
    """

    def __init__(self, backend: BaseEmailBackend) -> None:
        connection = getattr(backend, "connection", None)
        self._connection: Any = connection if isinstance(connection, smtplib.SMTP) else None
        self._names: list[str] = []
        self._refusals: Mapping[str, tuple[int, bytes]] = {}
        self.reply = Reply(0)
        """What the server said when it took the mail, where that could be heard."""

    def __enter__(self) -> Self:
        if self._connection is not None:
            self._sendmail, self._data = self._connection.sendmail, self._connection.data
            self._connection.sendmail, self._connection.data = self._hear_sendmail, self._hear_data
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.sendmail, self._connection.data = self._sendmail, self._data

    def refused(self, recipients: Sequence[str], *, rules: Sequence[Rule]) -> dict[str, Answer]:
        """Return the answers to those of the mail's recipients who were refused.

        smtplib names them as it was given them, mostly in the order of the message's.
        """
        names = {parseaddr(recipient)[1]: recipient for recipient in recipients}
        if len(self._names) == len(recipients):
            names |= dict(zip(self._names, recipients, strict=True))
        return {
            names.get(name) or names.get(parseaddr(name)[1], name): Answer.to(
                Stage.RCPT, parse_reply(code, raw), rules=rules
            )
            for name, (code, raw) in self._refusals.items()
        }

    def _hear_sendmail(self, from_addr: str, to_addrs: Any, *arguments: Any, **options: Any) -> Any:
        self._names = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
        self._refusals = self._sendmail(from_addr, self._names, *arguments, **options)
        return self._refusals

    def _hear_data(self, message: Any) -> Any:
        code, raw = self._data(message)
        self.reply = parse_reply(code, raw)
        return code, raw
