"""LISTEN: being told of new mail. Proven alive by a NOTIFY of our own, for a pooler may swallow it in silence."""

import logging
import time
from typing import Any

from django.db import Error, connections

from mailqueue.conf import Configuration
from mailqueue.outbox.notice import CHANNEL
from mailqueue.queue.work import watching
from mailqueue.sender.log import instrument

PROVE_EVERY_SECONDS = 60
PROOF_TIMEOUT_SECONDS = 5


def listen_alias(configuration: Configuration, *, using: str) -> str | None:
    """Return the database alias to listen on, or None where only polling can work.

    Django's setting for poolers in transaction mode (DISABLE_SERVER_SIDE_CURSORS) rules out LISTEN on that alias.
    """
    if configuration.LISTEN_DATABASE != "":
        return configuration.LISTEN_DATABASE
    is_pooled = connections[using].settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
    return None if is_pooled else using


class Listener:
    """Listens on a connection that may be the loop's own."""

    def __init__(self, alias: str | None, *, sender: str, is_shared: bool) -> None:
        self.alias = alias
        self._is_shared = is_shared
        self.is_proven = False
        self._sender = sender
        self._raw: Any = None
        self._was_notified = False
        self._asked_at: float | None = None
        self._prove_at = 0.0

    def attach(self) -> None:
        """Start to listen, also again after the connection was lost.

        On a connection of its own, a failure is said and polling serves until the next try.
        """
        if self.alias is None:
            return
        try:
            self._attach(self.alias)
        except Error as error:
            if self._is_shared:
                raise
            instrument("listen.failed", level=logging.WARNING, database=self.alias, error=type(error).__name__)
            self.detach()
            self._prove_at = time.monotonic() + PROVE_EVERY_SECONDS

    def _attach(self, alias: str) -> None:
        connection = connections[alias]
        connection.ensure_connection()
        if connection.connection is self._raw:
            return
        self.is_proven = False
        self._raw = connection.connection
        self._raw.add_notify_handler(self._receive)
        with watching(alias), connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")

    def fileno(self) -> int | None:
        """Return what to wait on."""
        return None if self._raw is None or self._raw.closed else int(self._raw.fileno())

    def take_notice(self) -> bool:
        """Read what has arrived; return whether anybody queued mail since the last call."""
        if self._raw is not None and not self._raw.closed:
            with connections[self.alias or ""].wrap_database_errors:
                self._raw.pgconn.consume_input()
                while notification := self._raw.pgconn.notifies():
                    self._note(bytes(notification.extra).decode())
        was_notified, self._was_notified = self._was_notified, False
        return was_notified

    def prove(self) -> None:
        """Once a minute, send a NOTIFY to ourselves; without an answer in time, polling takes over."""
        now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at > PROOF_TIMEOUT_SECONDS:
            self.is_proven, self._asked_at = False, None
        if now < self._prove_at or self.alias is None:
            return
        self._prove_at = now + PROVE_EVERY_SECONDS
        if self._raw is None or self._raw.closed:
            self.attach()
        if self._raw is None:
            return
        self._asked_at = now
        with watching(self.alias), connections[self.alias].cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, self._sender])

    def detach(self) -> None:
        """Forget a connection that was lost."""
        self._raw, self._asked_at, self.is_proven = None, None, False
        self._prove_at = 0.0

    def _receive(self, notification: Any) -> None:
        self._note(notification.payload)

    def _note(self, payload: str) -> None:
        if payload == self._sender:
            self.is_proven, self._asked_at = True, None
        elif not payload:
            self._was_notified = True
