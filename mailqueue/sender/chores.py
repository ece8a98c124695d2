"""What a sender does from time to time in a thread of its own: it may take long, and the loop waits for nobody."""

import random
import threading

from django.db import connections


class Chore:
    """Works again and again, for as long as the process lives or until it is told to stop.

    A subclass says what is to be done, and how a failure is told.
    """

    def __init__(self, *, name: str, using: str, first_after: float, every: float) -> None:
        self._using = using
        self._pause = first_after
        self._every = every
        self._stopped = threading.Event()
        # A daemon: a process that was told to leave does not wait for a storage.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def work(self) -> None:
        raise NotImplementedError

    def tell(self, error: Exception) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no more. What is under way is not waited for, and ends with the process."""
        self._stopped.set()

    def _run(self) -> None:
        # Senders that were started together do not work together.
        while not self._stopped.wait(self._pause * random.uniform(1, 1.5)):  # noqa: S311 - no secret
            self._pause = self._every
            try:
                try:
                    self.work()
                finally:
                    connections[self._using].close()  # this thread's own
            except Exception as error:  # noqa: BLE001 - whatever a storage or the database raises, there is a next time
                self.tell(error)
