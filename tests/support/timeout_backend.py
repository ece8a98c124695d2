"""A delivering backend that says, in an error, how long sockets wait that are made without a time-out."""

import socket
from typing import Any

from django.core.mail.backends.base import BaseEmailBackend


class EmailBackend(BaseEmailBackend):
    def send_messages(self, _: Any) -> int:
        raise ValueError(f"a socket waits for {socket.getdefaulttimeout()} seconds")
