"""What senders do with attachment files, in threads of their own: it may take long, and the loop waits for nobody."""

import logging
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress

from django.db import Error, connections

from mailqueue.outbox.sweep import sweep
from mailqueue.queue.wipe import remove_files
from mailqueue.sender.chores import Chore
from mailqueue.sender.database import first_line
from mailqueue.sender.log import instrument, without_addresses

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


class Sweeper(Chore):
    """Removes the files of writers that were killed."""

    def __init__(self, *, using: str, first_after: float = FIRST_AFTER_SECONDS, every: float = EVERY_SECONDS) -> None:
        super().__init__(name="mailqueue-sweeper", using=using, first_after=first_after, every=every)

    def work(self) -> None:
        if count := sweep(using=self._using):
            instrument("attachments.swept", count=count)

    def tell(self, error: Exception) -> None:
        # A storage speaks of files, and no mail is open here.
        text = first_line(error) or without_addresses(str(error).partition("\n")[0])
        instrument("sweep.failed", level=logging.WARNING, error=type(error).__name__, text=text)
