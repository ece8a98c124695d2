"""What senders do with old mail: they delete it when its time is over, or what it says, in small batches."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from mailqueue.conf import RETAINED, Configuration
from mailqueue.queue.drop import BEGINNING, Place, drop
from mailqueue.queue.enqueue import database_time
from mailqueue.queue.purge import purge
from mailqueue.sender.chores import Chore
from mailqueue.sender.database import first_line
from mailqueue.sender.log import instrument

FIRST_AFTER_SECONDS = 2 * 60
EVERY_SECONDS = 3600
PAUSE_SECONDS = 0.5
"""Between two batches: mail that is sent comes first."""
GLANCE_SECONDS = 0.05
"""The same behind a batch in which there was nothing to do."""
Days = Mapping[str, float | None] | float | None


def retention(given: Days) -> Mapping[str, float]:
    """Return for how many days mail is kept, by how it ended; without what is kept for ever."""
    days = dict.fromkeys(RETAINED, given) if not isinstance(given, Mapping) else given
    return {name: value for name, value in days.items() if value is not None}


class Purger(Chore):
    """Deletes mail whose time is over, and what mail says whose content has had its time.

    A batch is all gone, or not at all. What has been looked at for its content is not looked at again by this process.
    """

    def __init__(
        self,
        *,
        using: str,
        configuration: Configuration,
        first_after: float = FIRST_AFTER_SECONDS,
        every: float = EVERY_SECONDS,
    ) -> None:
        super().__init__(name="mailqueue-purger", using=using, first_after=first_after, every=every)
        self._retention = retention(configuration.RETENTION_DAYS)
        self._body_retention = retention(configuration.BODY_RETENTION_DAYS)
        self._places: dict[tuple[str, ...], Place] = {}

    def start(self) -> None:
        if self._retention or self._body_retention:
            super().start()

    def work(self) -> None:
        now = database_time(self._using)
        for name, days in self._retention.items():
            self._purge(name, before=now - timedelta(days=days))
            if self._stopped.is_set():
                return
        for days in sorted(set(self._body_retention.values())):
            names = tuple(name for name, value in self._body_retention.items() if value == days)
            self._drop(names, before=now - timedelta(days=days))
            if self._stopped.is_set():
                return

    def tell(self, error: Exception) -> None:
        instrument("purge.failed", level=logging.WARNING, error=type(error).__name__, text=first_line(error))

    def _purge(self, name: str, *, before: datetime) -> None:
        count = kept = 0
        try:
            for purged in purge(endings=[name], before=before, using=self._using):
                count, kept = count + purged.count, kept + purged.kept
                if self._stopped.wait(PAUSE_SECONDS):
                    return
        finally:
            if count:
                instrument("mails.purged", outcome=name, count=count)
            if kept:
                instrument("mails.kept", level=logging.WARNING, outcome=name, count=kept)

    def _drop(self, names: tuple[str, ...], *, before: datetime) -> None:
        count = 0
        after = self._places.get(names, BEGINNING)
        try:
            for dropped in drop(endings=names, before=before, using=self._using, after=after):
                count += dropped.count
                self._places[names] = dropped.place
                if self._stopped.wait(PAUSE_SECONDS if dropped.count else GLANCE_SECONDS):
                    return
        finally:
            if count:
                instrument("contents.dropped", count=count)
