"""Cleaning up behind dead senders: their journals first, then what they held."""

import logging
import time
from pathlib import Path

from django.db import Error, connections, transaction

from mailqueue.conf import Configuration
from mailqueue.queue.reap import reap
from mailqueue.queue.settle import settle
from mailqueue.sender.journal import DeadJournal, Journal, dead_journals
from mailqueue.sender.log import instrument
from mailqueue.sender.options import Options

LONGEST_PAUSE_SECONDS = 30


class Reaper:
    """Looks for the dead at start, and from time to time."""

    def __init__(self, folder: Path, *, journal: Journal, options: Options, configuration: Configuration) -> None:
        self.due_at = 0.0
        self._folder = folder
        self._journal = journal
        self._options = options
        self._configuration = configuration

    def reap_if_due(self) -> None:
        """Settle what dead senders of this host knew, then close what any dead sender left open."""
        if time.monotonic() < self.due_at:
            return
        journals = list(dead_journals(self._folder, besides=self._journal.path))
        try:
            self._reap(journals)
        except Error:
            for journal in journals:
                journal.leave()
            raise
        for journal in journals:
            journal.remove()
        self.due_at = time.monotonic() + min(self._configuration.LEASE_SECONDS / 4, LONGEST_PAUSE_SECONDS)

    def _reap(self, journals: list[DeadJournal]) -> None:
        using = self._options.using
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            proven = [acceptance.settlement() for journal in journals for acceptance in journal.acceptances]
            settled = settle(cursor, proven, log_level=self._options.log_level)
            reaped = reap(
                cursor, configuration=self._configuration, dead_senders=[journal.sender for journal in journals]
            )
        if settled:
            instrument("attempts.proven", count=len(settled))
        if reaped.returned:
            instrument("claims.returned", count=len(reaped.returned))
        for email_id in reaped.unknown:
            instrument("attempt.unknown", level=logging.WARNING, email=email_id)
