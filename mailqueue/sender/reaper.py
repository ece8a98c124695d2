"""Cleaning up: behind dead senders, their journals first, then what they held; and keys that have had their time."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from django.db import Error

from mailqueue.conf import Configuration
from mailqueue.queue.keys import forget_old_keys
from mailqueue.queue.reap import Reaped, is_any_dead, reap
from mailqueue.queue.release import release_unsent
from mailqueue.queue.settle import known_attempts, settle
from mailqueue.queue.work import glance, is_databases_trouble, work
from mailqueue.sender.held import tell_unknown_held
from mailqueue.sender.journal import DeadJournal, Journal, dead_journals
from mailqueue.sender.log import instrument, logger
from mailqueue.sender.options import Options

LONGEST_PAUSE_SECONDS = 30
REST_SECONDS = 15
"""So long after the database was away, others that live may not yet have settled what they know."""
KEYS_PAUSE_SECONDS = 3600
KEYS_AT_ONCE = 1000


class Reaper:
    """Looks for the dead at start, and from time to time."""

    def __init__(
        self,
        folder: Path,
        *,
        journal: Journal,
        options: Options,
        configuration: Configuration,
        held: Callable[[], Sequence[int]] = list,
        note_unknown: Callable[[Iterable[str]], object] = list,
    ) -> None:
        self.due_at = 0.0
        self._keys_due_at = 0.0
        self._folder = folder
        self._journal = journal
        self._options = options
        self._configuration = configuration
        self._held = held
        """Gives the open attempts that this sender knows of: it settles them itself, however late."""
        self._note_unknown = note_unknown
        """Takes the backends of attempts whose outcome nobody knows."""

    def rest(self) -> None:
        """Let the living settle first, after the database was away. A sender that has just started does not wait."""
        if self.due_at:
            self.due_at = max(self.due_at, time.monotonic() + REST_SECONDS)

    def reap_if_due(self) -> None:
        """Settle what dead senders of this host knew, then close what any dead sender left open."""
        if time.monotonic() < self.due_at:
            return
        # Set first: what can't be reaped must not keep the sender from sending.
        self.due_at = time.monotonic() + min(self._configuration.LEASE_SECONDS / 4, LONGEST_PAUSE_SECONDS)
        for journal in dead_journals(self._folder, besides=self._journal.path):
            self._safely(self._settle_journal, journal)
        self._safely(self._reap)
        self._safely(self._forget_keys)

    def _safely(self, act: Callable[..., None], *arguments: DeadJournal) -> None:
        try:
            act(*arguments)
        except Error as error:
            if is_databases_trouble(error):
                raise
            logger.error("reap.failed", exc_info=error, extra={"fields": {"error": type(error).__name__}})

    def _settle_journal(self, journal: DeadJournal) -> None:
        """Settle what a dead sender of this host knew. What it had claimed goes back without waiting for its lease."""
        proven = [acceptance.settlement() for acceptance in journal.acceptances]
        is_ours = False
        try:
            with work(self._options.using) as cursor:
                settled = settle(cursor, proven, log_level=self._options.log_level)
                returned = release_unsent(cursor, [(one.attempt_id, one.token) for one in journal.unsent])
                is_ours = len(known_attempts(cursor, proven)) == len({s.attempt_id for s in proven})
                reaped = reap(
                    cursor, configuration=self._configuration, dead_senders=[journal.sender], besides=self._held()
                )
        except Error:
            journal.leave()
            raise
        if (is_ours and journal.is_understood) or journal.is_old:
            journal.remove()
        else:
            journal.leave()
        if settled:
            instrument("attempts.proven", count=len(settled))
        self._note_unknown(reaped.unknown_backends)
        _report(reaped, returned=returned)

    def _reap(self) -> None:
        with glance(self._options.using) as cursor:
            if not is_any_dead(cursor, besides=self._held()):
                return
        with work(self._options.using) as cursor:
            reaped = reap(cursor, configuration=self._configuration, besides=self._held())
        self._note_unknown(reaped.unknown_backends)
        _report(reaped)

    def _forget_keys(self) -> None:
        """Delete old keys, a few at a time: the next ones follow with the next look for the dead."""
        if time.monotonic() < self._keys_due_at:
            return
        self._keys_due_at = time.monotonic() + KEYS_PAUSE_SECONDS
        with work(self._options.using) as cursor:
            count = forget_old_keys(cursor, retention_days=self._configuration.KEY_RETENTION_DAYS, limit=KEYS_AT_ONCE)
        if count == KEYS_AT_ONCE:
            self._keys_due_at = 0.0


def _report(reaped: Reaped, *, returned: int = 0) -> None:
    if count := len(reaped.returned) + returned:
        instrument("claims.returned", count=count)
    for email_id in reaped.unknown:
        instrument("attempt.unknown", level=logging.WARNING, email=email_id)
    for email_id in reaped.held:
        tell_unknown_held(email_id)
