"""Sends what is due here and now, as a sender would: inside a test's own transaction, which stays as it is.

The only place of `mailqueue.testing` that knows the inside of a sender.
"""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from django.db import Error, connections, router
from django.db.models import Count
from post_office.models import Email
from post_office.settings import get_config

from mailqueue.conf import configuration
from mailqueue.delivery.backends import configured_aliases
from mailqueue.models import Attempt, SenderProcess
from mailqueue.queue.claim import Claim
from mailqueue.queue.settle import LogLevel
from mailqueue.queue.work import PLANNING
from mailqueue.sender.foregone import outcome_without_sending
from mailqueue.sender.jobs import Job
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Effects, Plan
from mailqueue.sender.pool import Pool
from mailqueue.sender.report import report
from mailqueue.sender.turn import Turn

OURS = ("lock_timeout", "idle_in_transaction_session_timeout", *PLANNING)
"""What a turn sets for its transaction, which here may be the test's."""
LAST_MOMENT_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How the attempts of one `drain` ended. Mail that was not due, or may not be sent now, had none."""

    sent: int = 0
    """The server took the mail for everybody."""
    partly_sent: int = 0
    """For some, and for the others never will."""
    retry: int = 0
    """Refused for now, by the mail's own fault or a recipient's: it waits for its next try."""
    failed: int = 0
    """Refused for good."""
    deferred: int = 0
    """Put off, or held, for reasons that are not the mail's: it cost no try."""
    unknown: int = 0
    """Nobody knows whether the server took it."""
    expired: int = 0
    """Its `expires_at` had passed."""

    @property
    def attempts(self) -> int:
        """All of them together."""
        return sum(asdict(self).values())


def drain(*, limit: int | None = None, seconds: float = 30.0, concurrency: int = 1) -> Drained:
    """Send all mail that is due, in this process, and say how it went.

    It is claimed, started and settled on the test's own connection to the database, in the test's own transaction if
    there is one, and delivered by `concurrency` connections in other threads, which do not touch the database. With
    one, mail goes out in the order of the queue. Mail that is scheduled, or waits for its next try, stays.

    At most `limit` attempts are begun. A backend that asks for a pause is waited for as long as `seconds` allow.

    Raises:
        AssertionError: after so many `seconds` a server has not answered, or there is no end of mail.
        Error: what the database says of a row that can't be worked on.
    """
    draining = Draining(limit=limit, seconds=seconds, concurrency=concurrency)
    try:
        draining.run()
    finally:
        draining.end()
    return draining.summary()


class Draining:
    """One `drain`: a sender's turns, without a sender's connection, journal, signals and patience."""

    def __init__(self, *, limit: int | None, seconds: float, concurrency: int) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._left = limit
        self._using = router.db_for_write(Email)
        self._options = Options(
            concurrency=concurrency,
            using=self._using,
            is_until_empty=True,
            log_level=LogLevel(get_config().get("LOG_LEVEL", LogLevel.FAILURES)),
        )
        # A lease that outlives the drain needs no renewal.
        lease_seconds = max(configuration().LEASE_SECONDS, 2 * seconds)
        self._woken = threading.Event()
        self._pool = Pool(concurrency, accepted=lambda *_: None, wake=self._woken.set)
        self._turn = Turn(
            options=self._options,
            configuration=replace(configuration(), LEASE_SECONDS=lease_seconds),
            busy_count=self._pool.busy_count,
        )
        self._limits = self._turn.limits
        self._claims: list[Claim] = []

    def run(self) -> None:
        """Take turns until nothing is left to do."""
        while time.monotonic() <= self._deadline:
            has_settled, effects = self._take_turn()
            # What was settled may have opened a backend: look again.
            if not has_settled and not self._goes_on(effects):
                return
            if not has_settled:
                self._wait()
        raise AssertionError(f"drain() was not done after {self._seconds} s; {self._under_way()}")

    def end(self) -> None:
        """Leave nothing behind: no claim, no thread, no share in what a backend allows."""
        unsent, _ = self._pool.revoke()
        self._pool.stop(timeout=0 if self._pool.running else LAST_MOMENT_SECONDS)
        with UndisturbedTransaction(self._using):
            self._turn.hand_back([*self._claims, *(job.claim for job in unsent)])
            self._turn.leave()
            SenderProcess.objects.using(self._using).filter(name=self._options.sender).delete()

    def summary(self) -> Drained:
        attempts = Attempt.objects.using(self._using).filter(sender=self._options.sender)
        counts = attempts.closed().order_by().values_list("outcome").annotate(Count("pk"))
        return Drained(**dict(counts))

    def _take_turn(self) -> tuple[bool, Effects]:
        """Settle, start and claim what there is; return whether anything was settled, and what the turn did."""
        plan = Plan(results=self._pool.finished(), starting=self._next(), returning=self._outs())
        if not self._claims and self._pool.idle_count and self._left != 0:
            most = self._options.concurrency if self._left is None else min(self._left, self._options.concurrency)
            plan.rooms = {alias: most for alias in configured_aliases() if not self._is_out(alias)}
        with UndisturbedTransaction(self._using):
            effects = self._turn.run(plan)
        self._take_effect(plan, effects)
        report(effects)
        return bool(plan.results), effects

    def _take_effect(self, plan: Plan, effects: Effects) -> None:
        self._pool.forget(plan.results)
        for job, outcome in plan.results:
            self._limits.note(job.claim.backend, outcome)
        self._drop(plan.returning)
        self._drop(claim for claim in plan.starting if claim not in effects.postponed)
        self._claims += effects.found.claims
        for job in effects.started:
            self._send(job)

    def _send(self, job: Job) -> None:
        if self._left is not None:
            self._left -= 1
        outcome = outcome_without_sending(job)
        if outcome is None:
            self._pool.give(job)
        else:
            self._pool.finish(job, outcome)

    def _drop(self, claims: Iterable[Claim]) -> None:
        gone = {claim.attempt_id for claim in claims}
        self._claims = [claim for claim in self._claims if claim.attempt_id not in gone]

    def _next(self) -> list[Claim]:
        """Return what may start now."""
        chosen: list[Claim] = []
        for claim in self._claims:
            busy_count = self._pool.busy_count(claim.backend) + sum(c.backend == claim.backend for c in chosen)
            is_free = busy_count < self._limits.connections(claim.backend)
            if is_free and not self._limits.is_resting(claim.backend) and len(chosen) < self._pool.idle_count:
                chosen.append(claim)
        return chosen if self._left is None else chosen[: self._left]

    def _outs(self) -> list[Claim]:
        """Return what is better given back: its backend takes nothing now, or the limit is reached."""
        if self._left == 0:
            return list(self._claims)
        return [claim for claim in self._claims if self._is_out(claim.backend) and not claim.is_probe]

    def _is_out(self, backend: str) -> bool:
        """Whether nothing of a backend starts in our time. A sender has other mail to send meanwhile; we wait."""
        health = self._limits.of(backend)
        is_closed = health.is_shut or health.is_paused or self._limits.connections(backend) == 0
        return is_closed or self._limits.rested_at(backend) > self._deadline

    def _goes_on(self, effects: Effects) -> bool:
        if self._pool.running or self._claims or effects.found.held_count:
            return True
        return effects.found.is_resting and self._left != 0 and self._rested_at() < self._deadline

    def _rested_at(self) -> float:
        """When the first backend that rests takes mail again (monotonic seconds)."""
        ends = [self._limits.rested_at(alias) for alias in configured_aliases() if self._limits.is_resting(alias)]
        return min(ends, default=time.monotonic())

    def _wait(self) -> None:
        """Wait for something to do, or the end of our time."""
        self._woken.clear()
        if self._pool.finished() or self._next() or self._outs():
            return
        until = self._deadline if self._pool.running else min(self._rested_at(), self._deadline)
        self._woken.wait(max(until - time.monotonic(), 0))

    def _under_way(self) -> str:
        count = len(self._pool.running)
        return f"{count} {'mail is' if count == 1 else 'mails are'} being delivered"


class UndisturbedTransaction:
    """Undoes what a turn sets for its transaction: in a test's, it would last to the end of the test."""

    def __init__(self, using: str) -> None:
        self._connection = connections[using]
        self._before: tuple[str, ...] = ()

    def __enter__(self) -> None:
        if self._connection.in_atomic_block:
            with self._connection.cursor() as cursor:
                cursor.execute(f"SELECT {', '.join('current_setting(%s)' for _ in OURS)}", OURS)
                self._before = cursor.fetchone()

    def __exit__(self, *_: object) -> None:
        if self._before and not self._connection.needs_rollback:
            with suppress(Error), self._connection.cursor() as cursor:
                for name, value in zip(OURS, self._before, strict=True):
                    cursor.execute("SELECT set_config(%s, %s, true)", [name, value])
