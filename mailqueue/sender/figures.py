"""What this sender made of its mail, kept in memory for a moment and then added to what all have done."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from django.db import Error

from mailqueue.models import AttemptOutcome
from mailqueue.queue.figures import FORGOTTEN_AT_ONCE, add, forget_old, wait_class
from mailqueue.queue.settle import Settlement
from mailqueue.queue.work import glance
from mailqueue.sender.database import first_line
from mailqueue.sender.jobs import Job
from mailqueue.sender.log import instrument

WRITE_SECONDS = 15
"""A sender writes its figures at most this often. One that is killed takes those of so many seconds with it."""
FORGET_SECONDS = 3600
COLUMN_OF = {
    AttemptOutcome.SENT: "accepted_count",
    AttemptOutcome.PARTLY_SENT: "accepted_count",
    AttemptOutcome.RETRY: "put_off_count",
    AttemptOutcome.DEFERRED: "put_off_count",
    AttemptOutcome.FAILED: "failed_count",
    AttemptOutcome.UNKNOWN: "unknown_count",
}


class Figures:
    """Counts without asking anybody, and writes from time to time.

    What can't be written is kept for the next time, and stops nothing.
    """

    def __init__(self, *, using: str) -> None:
        self._using = using
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._write_at = self._forget_at = 0.0

    def note(self, job: Job, settlement: Settlement) -> None:
        """Count an attempt that was settled."""
        column = COLUMN_OF.get(settlement.outcome)
        if column is None:
            return
        counts = self._counts[job.claim.backend]
        counts[column] += 1
        if column == "accepted_count" and job.claim.number == 1 and job.claim.due_at is not None:
            accepted_at = time.monotonic() if job.accepted_at is None else job.accepted_at
            counts[wait_class(accepted_at - job.claim.due_at)] += 1

    def note_unknown(self, backends: Iterable[str]) -> None:
        """Count attempts that dead senders have left."""
        for backend in backends:
            self._counts[backend]["unknown_count"] += 1

    @property
    def due_at(self) -> float:
        """When to write next (monotonic seconds); never while there is nothing to write."""
        return self._write_at if self._counts else float("inf")

    def write_if_due(self) -> None:
        if time.monotonic() >= self._write_at:
            self.write()

    def write(self) -> None:
        """Add what was counted, and delete some of what is too old. Where that fails, the next time will do."""
        self._write_at = time.monotonic() + WRITE_SECONDS
        try:
            self._write()
        except Error as error:
            instrument(
                "figures.not_written", level=logging.WARNING, error=type(error).__name__, text=first_line(error)
            )

    def _write(self) -> None:
        if self._counts:
            with glance(self._using) as cursor:
                add(cursor, self._counts)
            self._counts.clear()
        if self._write_at >= self._forget_at:
            self._forget_at = self._write_at + FORGET_SECONDS
            with glance(self._using) as cursor:
                if forget_old(cursor) == FORGOTTEN_AT_ONCE:
                    self._forget_at = self._write_at
