"""The sweep of attachment files, in a thread of its own: it may take long, and the loop waits for nobody."""

import logging
import random
import threading

from django.db import connections

from mailqueue.outbox.sweep import sweep
from mailqueue.sender.database import first_line
from mailqueue.sender.log import instrument

FIRST_AFTER_SECONDS = 5 * 60
EVERY_SECONDS = 24 * 3600


class Sweeper:
    """Sweeps from time to time, for as long as the process lives or until it is told to stop."""

    def __init__(self, *, using: str, first_after: float = FIRST_AFTER_SECONDS, every: float = EVERY_SECONDS) -> None:
        self._using = using
        self._pause = first_after
        self._every = every
        self._stopped = threading.Event()
        # A daemon: a process that was told to leave does not wait for a storage.
        self._thread = threading.Thread(target=self._run, name="mailqueue-sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more. A sweep that is under way is not waited for, and ends with the process."""
        self._stopped.set()

    def _run(self) -> None:
        # Senders that were started together do not sweep together.
        while not self._stopped.wait(self._pause * random.uniform(1, 1.5)):  # noqa: S311 - no secret
            self._pause = self._every
            self._sweep()

    def _sweep(self) -> None:
        try:
            try:
                count = sweep(using=self._using)
            finally:
                connections[self._using].close()  # this thread's own
        except Exception as error:  # noqa: BLE001 - whatever a storage raises, tomorrow is another day
            instrument("sweep.failed", level=logging.WARNING, error=type(error).__name__, text=first_line(error))
        else:
            if count:
                instrument("attachments.swept", count=count)
