"""What senders do with old mail, in a thread of its own: they delete it when its time is over, in small batches."""

import logging
import random
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import connections

from mailqueue.conf import RETAINED, Configuration
from mailqueue.queue.enqueue import database_time
from mailqueue.queue.purge import DONE, purge
from mailqueue.sender.database import first_line
from mailqueue.sender.log import instrument

FIRST_AFTER_SECONDS = 2 * 60
EVERY_SECONDS = 3600
PAUSE_SECONDS = 0.5
"""Between two batches: mail that is sent comes first."""


def retention(configuration: Configuration) -> Mapping[str, float]:
    """Return for how many days mail is kept, by how it ended; without what is kept for ever."""
    given = configuration.RETENTION_DAYS
    days = dict.fromkeys(RETAINED, given) if not isinstance(given, Mapping) else given
    return {name: value for name, value in days.items() if value is not None}


class Purger:
    """Purges from time to time, for as long as the process lives or until it is told to stop."""

    def __init__(
        self,
        *,
        using: str,
        configuration: Configuration,
        first_after: float = FIRST_AFTER_SECONDS,
        every: float = EVERY_SECONDS,
    ) -> None:
        self._using = using
        self._retention = retention(configuration)
        self._pause = first_after
        self._every = every
        self._stopped = threading.Event()
        # A daemon: a process that was told to leave does not wait for a storage. A batch is all gone, or not at all.
        self._thread = threading.Thread(target=self._run, name="mailqueue-purger", daemon=True)

    def start(self) -> None:
        if self._retention:
            self._thread.start()

    def stop(self) -> None:
        """Purge no more. A batch that is under way is not waited for."""
        self._stopped.set()

    def _run(self) -> None:
        # Senders that were started together do not purge together.
        while not self._stopped.wait(self._pause * random.uniform(1, 1.5)):  # noqa: S311 - no secret
            self._pause = self._every
            try:
                try:
                    self._purge()
                finally:
                    connections[self._using].close()  # this thread's own
            except Exception as error:  # noqa: BLE001 - whatever the database says, in an hour it is tried again
                instrument("purge.failed", level=logging.WARNING, error=type(error).__name__, text=first_line(error))

    def _purge(self) -> None:
        now = database_time(self._using)
        for name, days in self._retention.items():
            self._purge_one(name, before=now - timedelta(days=days))
            if self._stopped.is_set():
                return

    def _purge_one(self, name: str, *, before: datetime) -> None:
        count = kept = 0
        try:
            for purged in purge(done=[DONE[name]], before=before, using=self._using):
                count, kept = count + purged.count, kept + purged.kept
                if self._stopped.wait(PAUSE_SECONDS):
                    return
        finally:
            if count:
                instrument("mails.purged", outcome=name, count=count)
            if kept:
                instrument("mails.kept", level=logging.WARNING, outcome=name, count=kept)
