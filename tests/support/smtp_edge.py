"""Django's own SMTP backend with all of smtplib, up to the socket: what it refuses before a server speaks."""

import smtplib
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend


class Unplugged(smtplib.SMTP):
    """A connection to a server that takes everything."""

    def __init__(self) -> None:
        super().__init__(local_hostname="localhost")
        self.sock = self
        self.sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def getreply(self) -> tuple[int, bytes]:
        return (354 if self.sent.endswith(b"\r\ndata\r\n") else 250, b"ok")

    def close(self) -> None:
        """There is nothing to close."""


def sent_by_django(messages: list[EmailMessage]) -> int | type[Exception]:
    """Return what Django's SMTP backend returns, or the class of what it raises."""
    backend: Any = SmtpBackend(alias="test", host="localhost", port=25)
    backend.connection = Unplugged()
    try:
        count: int = backend.send_messages(messages)
    except Exception as error:  # noqa: BLE001 - the classes are what is compared
        return type(error)
    return count
