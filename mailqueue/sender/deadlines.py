"""Nothing that this process waits for is waited for without end: limits on connecting, and on sockets of others."""

import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

SOCKET_SECONDS = 300.0
"""For connections that a project's own backend makes without a time-out. Our own have limits that are given."""
CONNECT_SECONDS = 5
"""How long one try to connect to the database may take, where no shorter time is set."""
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 20_000}
"""The system finds out within 20 seconds that packets are dropped (libpq's names and units)."""


@contextmanager
def deadlines(*, databases: Collection[str]) -> Iterator[None]:
    """For the time of the block, limit what is connected from now on, in all threads of this process.

    A pool of connections is left out: a sender has one connection, and must be able to close it for good.
    """
    default = socket.getdefaulttimeout()
    given = {alias: connections[alias].settings_dict.get("OPTIONS", {}) for alias in databases}
    socket.setdefaulttimeout(SOCKET_SECONDS)
    for alias, options in given.items():
        connections[alias].settings_dict["OPTIONS"] = limited(options)
    try:
        yield
    finally:
        socket.setdefaulttimeout(default)
        for alias, options in given.items():
            connections[alias].settings_dict["OPTIONS"] = options


def limited(options: dict[str, Any]) -> dict[str, Any]:
    """Return the OPTIONS of a database with limits; what is set shorter stays."""
    given = int(options.get("connect_timeout") or 0)
    seconds = min(given, CONNECT_SECONDS) if given > 0 else CONNECT_SECONDS
    kept = {name: value for name, value in options.items() if name != "pool"}
    return {**KEEPALIVE, **kept, "connect_timeout": seconds}
