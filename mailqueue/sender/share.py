"""This sender's share of what all do together: its sign of life, and what it draws from each backend's rate."""

import logging
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.db import Error

from mailqueue.delivery.backends import configured_aliases
from mailqueue.delivery.outcomes import Outcome, Pace
from mailqueue.queue.claim import Claim
from mailqueue.queue.health import Health, introduce
from mailqueue.queue.presence import forget_old, leave, note_alive, read_presence
from mailqueue.queue.rate import draw
from mailqueue.queue.work import work
from mailqueue.sender.jobs import Job
from mailqueue.sender.limits import SESSION_BEGAN, Limits
from mailqueue.sender.log import instrument
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Effects, Result
from mailqueue.version import __version__

SHOW_UP_SECONDS = 15
"""How often a sender says that it lives."""
CHARGED_AT_MOST = 100
"""So many recipients of one mail are charged when it starts. Not every server takes more in one message (RFC 5321,
section 4.5.3.1.8); what was offered beyond is charged when it is known."""


class Share:
    """Keeps `limits` in step with what all senders know."""

    def __init__(self, *, options: Options, limits: Limits) -> None:
        self._options = options
        self._limits = limits
        self._owed: Counter[str] = Counter()
        self._seen_at = float("-inf")

    def within_rate(self, claims: Sequence[Claim], effects: Effects) -> list[Claim]:
        """Return those that the rate of their backend lets start now.

        What is drawn is committed by itself: the row that all senders draw from is locked for a moment only.
        """
        metered = self._metered(claim.backend for claim in claims)
        allowed = [claim for claim in claims if claim.backend not in metered]
        for backend in sorted(metered):
            wanting = [claim for claim in claims if claim.backend == backend]
            with work(self._options.using) as cursor:
                grant = draw(
                    cursor,
                    backend,
                    wanted=len(wanting),
                    owed=self._owed[backend],
                    limits=self._limits.rate(backend),
                )
            del self._owed[backend]
            allowed += wanting[: grant.count]
            effects.postponed += wanting[grant.count :]
            if grant.wait_seconds:
                effects.waits[backend] = grant.wait_seconds
        return allowed

    def owe(self, jobs: Sequence[Job]) -> None:
        """Note the recipients of started mails that no draw has paid for: all but the first of each."""
        metered = self._metered(job.claim.backend for job in jobs)
        for job in jobs if metered else ():
            if job.claim.backend in metered:
                self._owed[job.claim.backend] += _charged(job)

    def settle_up(self, results: Sequence[Result]) -> None:
        """Correct what was charged by who was really offered to the server."""
        metered = self._metered(job.claim.backend for job, _ in results)
        for job, outcome in results if metered else ():
            if job.claim.backend in metered:
                self._owed[job.claim.backend] += max(_offered_count(job, outcome) - 1, 0) - _charged(job)

    def _metered(self, backends: Iterable[str]) -> set[str]:
        return {backend for backend in set(backends) if self._limits.is_metered(backend)}

    @property
    def due_at(self) -> float:
        """When to show up next (monotonic seconds)."""
        return self._seen_at + SHOW_UP_SECONDS

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.due_at

    def show_up(self, cursor: Any, effects: Effects) -> None:
        """Say that this sender lives, and read who else does, from time to time."""
        is_due = self.is_due
        if self._seen_at < 0:
            introduce(cursor, [alias for alias in configured_aliases() if self._options.serves(alias)])
            forget_old(cursor)
        if is_due:
            effects.presence = note_alive(
                cursor,
                name=self._options.sender,
                host=socket.gethostname(),
                version=__version__,
                backends=self._options.backends,
                connection_count=self._options.concurrency,
            )
        elif any(self._limits.most_connections(backend) is not None for backend in self._limits.health):
            effects.presence = read_presence(cursor)
        effects.showed_up = is_due

    def leave(self) -> None:
        """Give up this sender's share. Where that fails, it ends by itself after a moment."""
        with suppress(Error), work(self._options.using) as cursor:
            leave(cursor, name=self._options.sender)

    def learn(self, effects: Effects) -> None:
        """Take in what a turn found out, now that it is committed."""
        if effects.showed_up:
            self._seen_at = time.monotonic()
        self._tell_of_pauses(effects.found.health)
        for backend, known in effects.health.items():
            self._limits.correct(backend, known)
        self._limits.learn(effects.found.health)
        if effects.presence is not None:
            self._limits.presence = effects.presence
        for backend, seconds in effects.waits.items():
            self._limits.wait(backend, seconds=seconds)

    def _tell_of_pauses(self, health: Mapping[str, Health]) -> None:
        for backend, known in health.items():
            if known.is_paused and not self._limits.of(backend).is_paused:
                instrument("backend.paused", level=logging.WARNING, backend=backend)
            elif self._limits.of(backend).is_paused and not known.is_paused:
                instrument("backend.resumed", backend=backend)


def _charged(job: Job) -> int:
    return max(min(len(job.letter.recipients), CHARGED_AT_MOST) - 1, 0)


def _offered_count(job: Job, outcome: Outcome) -> int:
    if outcome.stage not in SESSION_BEGAN:
        return 0
    if not outcome.recipients:
        return len(job.letter.recipients)
    return sum(result.pace != Pace.AT_ONCE for result in outcome.recipients.values())
