"""What senders do with attachment files, in threads of their own: it may take long, and the loop waits for nobody."""

import logging
import queue
import random
import threading
from collections.abc import Sequence
from contextlib import suppress

from django.db import Error, connections

from mailqueue.outbox.sweep import sweep
from mailqueue.queue.wipe import remove_files
from mailqueue.sender.database import first_line
from mailqueue.sender.log import instrument

FIRST_AFTER_SECONDS = 5 * 60
EVERY_SECONDS = 24 * 3600


class FileRemover:
    """Removes the files of wiped mail one after the other. Its thread is started by the first of them.

    What is left when the process ends stays for the sweep.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Sequence[str], str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mailqueue-remover", daemon=True)

    def remove(self, names: Sequence[str], *, using: str) -> None:
        """Have files removed; returns at once."""
        self._waiting.put((names, using))
        if self._thread.ident is None:
            self._thread.start()

    def stop(self, *, timeout: float) -> None:
        """Remove what was asked for so far, for at most this long (seconds), and no more."""
        self._waiting.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while (asked := self._waiting.get()) is not None:
            names, using = asked
            remove_files(names, using=using)
            with suppress(Error):
                connections[using].close()  # this thread's own


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
