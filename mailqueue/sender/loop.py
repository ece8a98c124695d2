"""The sender: looks for mail, keeps the connections busy, and goes on whatever happens until it is told to stop."""

import logging
import random
import time
from collections.abc import Callable

from django.db import Error, connections, transaction

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Outcome
from mailqueue.queue.release import release_all_but
from mailqueue.sender.jobs import Job
from mailqueue.sender.journal import Acceptance, Journal, journal_folder
from mailqueue.sender.listen import Listener, listen_alias
from mailqueue.sender.log import instrument
from mailqueue.sender.options import Options
from mailqueue.sender.pool import Pool
from mailqueue.sender.reaper import Reaper
from mailqueue.sender.stock import Stock
from mailqueue.sender.turn import Effects, Plan, Turn, outcome_without_sending, report
from mailqueue.sender.waker import Stop, Waker

GRACE_SECONDS = 30
"""How long a sender that was told to stop waits for what is in flight."""
LAST_MOMENT_SECONDS = 2
"""How long it then waits for deliveries that were told to stop before the final dot."""
BUSY_POLL_SECONDS = 0.05
BUSY_FOR_SECONDS = 1.0
"""A sender that has just worked looks this often, for this long: writers then need not wake it."""
LISTENING_POLL_SECONDS = 5.0
"""How often a sender looks by itself while LISTEN is proven to work."""
RECONNECT_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5)
JITTER = 0.1


class Sender:
    """One sender process: this loop has the only database connection, the pool's threads have the mail servers."""

    def __init__(self, *, options: Options, configuration: Configuration, stop: Stop, waker: Waker) -> None:
        self.options = options
        self.configuration = configuration
        self._stop = stop
        self._waker = waker
        self._stock = Stock(concurrency=options.concurrency)
        self._turn = Turn(options=options, configuration=configuration)
        alias = listen_alias(configuration, using=options.using)
        self._listener = Listener(alias, sender=options.sender)
        folder = journal_folder(configuration.STATE_DIR, using=options.using)
        self._journal = Journal(folder, sender=options.sender)
        self._reaper = Reaper(folder, journal=self._journal, options=options, configuration=configuration)
        self._pool = Pool(options.concurrency, accepted=self._note_acceptance, wake=waker.wake)
        self._look_at = 0.0
        self._worked_at = float("-inf")
        self._renew_at = 0.0
        self._failure_count = 0
        self._is_drained = False
        self._shut: dict[str, str] = {}

    def run(self) -> bool:
        """Send until told to stop, or until the queue is empty where that was asked; return whether all was in order.

        Raises nothing for what a mail, a server or the database does.
        """
        instrument("sender.started", sender=self.options.sender, concurrency=self.options.concurrency)
        with self._waker.signals(self._stop):
            self._reconnect()
            while not self._is_finished():
                self._safely(self._step)
            is_clean = self._wind_up()
        instrument("sender.stopped", sender=self.options.sender)
        return is_clean

    def _is_finished(self) -> bool:
        if self._pool.running or self._stock:
            return self._stop.is_asked and (self._stop.is_urgent or self._grace_left() <= 0)
        return self._stop.is_asked or self._is_drained

    def _grace_left(self) -> float:
        return GRACE_SECONDS - (time.monotonic() - (self._stop.asked_at or time.monotonic()))

    def _step(self) -> None:
        """Wait for something to do and do it."""
        self._waker.wait(self._pause(), besides=self._listener.fileno())
        if self._listener.take_notice():
            self._look_at = 0.0
        self._stop.ask_if_orphaned()
        self._listener.prove()
        self._reaper.reap_if_due()
        plan = self._plan()
        if not plan.is_empty:
            self._carry_out(plan)
        self._failure_count = 0

    def _pause(self) -> float:
        """Return how long there is nothing to do unless somebody wakes us (seconds)."""
        if self._pool.has_finished or (self._stock and self._pool.idle_count):
            return 0
        until = [self._renew_at, self._reaper.due_at]
        if self._is_accepting() and self._stock.has_room:
            until.append(self._look_at)
        if self._stop.is_asked:
            until.append(time.monotonic() + max(self._grace_left(), 0))
        return max(min(until) - time.monotonic(), 0)

    def _is_accepting(self) -> bool:
        return not self._stop.is_asked

    def _plan(self) -> Plan:
        now = time.monotonic()
        plan = Plan(results=self._pool.finished())
        if self._is_accepting():
            plan.starting = self._stock.next(self._pool.idle_count)
            if now >= self._look_at:
                plan.claim_limit = self._stock.room(besides=len(plan.starting))
        else:
            plan.returning = list(self._stock)
        if now >= self._renew_at:
            plan.renewing = self._unfinished(plan)
            plan.renewing_stock = [claim for claim in self._stock if claim not in plan.starting + plan.returning]
            self._renew_at = now + self.configuration.LEASE_SECONDS / 3
        return plan

    def _unfinished(self, plan: Plan) -> list[Job]:
        finished = {job.claim.attempt_id for job, _ in plan.results}
        return [job for attempt_id, job in self._pool.running.items() if attempt_id not in finished]

    def _carry_out(self, plan: Plan) -> None:
        effects = self._turn.run(plan)
        self._pool.forget(plan.results)
        self._stock.remove([*plan.starting, *plan.returning])
        self._extend_leases(plan, effects)
        self._drop_stock(effects.shut)
        for job in effects.started:
            self._send(job)
        if plan.claim_limit > 0:
            self._take_in(effects)
        if plan.results or effects.started or effects.found.claims:
            self._worked_at = time.monotonic()
        report(effects)
        self._stock.count_sent(len(plan.results))
        if not self._pool.running:
            self._journal.trim()

    def _send(self, job: Job) -> None:
        outcome = outcome_without_sending(job)
        if outcome is None:
            self._pool.give(job)
        else:
            self._pool.finish(job, outcome)

    def _extend_leases(self, plan: Plan, effects: Effects) -> None:
        for job in plan.renewing:
            if job.claim.attempt_id in effects.renewed:
                job.lease.extend(asked_at=effects.asked_at, seconds=self.configuration.LEASE_SECONDS)
            else:
                job.lease.revoke()
        self._stock.remove([c for c in plan.renewing_stock if c.attempt_id not in effects.renewed])

    def _drop_stock(self, shut: set[str]) -> None:
        """Hand back what waits for a backend that was shut just now."""
        if stranded := [claim for claim in self._stock if claim.backend in shut]:
            self._turn.run(Plan(returning=stranded))
            self._stock.remove(stranded)

    def _take_in(self, effects: Effects) -> None:
        found = effects.found
        self._stock.add([claim for claim in found.claims if claim.backend not in effects.shut])
        self._shut = found.shut
        now = time.monotonic()
        if found.is_more_likely:
            self._look_at = now
        elif now - self._worked_at < BUSY_FOR_SECONDS or found.claims:
            self._look_at = now + BUSY_POLL_SECONDS
        else:
            self._look_at = now + self._idle_seconds()
        is_idle = not (found.claims or self._pool.running or self._stock)
        self._is_drained = self.options.is_until_empty and is_idle

    def _idle_seconds(self) -> float:
        seconds = self.configuration.POLL_SECONDS
        if self._listener.is_proven:
            seconds = max(seconds, LISTENING_POLL_SECONDS)
        return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (spreads load, guards nothing)

    def _note_acceptance(self, job: Job, outcome: Outcome) -> None:
        """Called by the connections, before anything else happens to the mail."""
        conclusion = self._turn.conclusion(job, outcome)
        if conclusion.is_accepted:
            self._journal.write(Acceptance.of(conclusion))

    def _safely(self, act: Callable[[], None]) -> None:
        """Do something that may lose the database; then say so, wait, and connect again."""
        try:
            act()
        except Error as error:
            instrument("database.lost", level=logging.ERROR, error=type(error).__name__, text=_first_line(error))
            self._reconnect()

    def _reconnect(self) -> None:
        """Connect, however long it takes; give up only when told to stop."""
        while not (self._stop.is_asked and (self._stop.is_urgent or self._grace_left() <= 0 or self._has_nothing())):
            for alias in {self.options.using, self._listener.alias or self.options.using}:
                connections[alias].close()
            self._listener.detach()
            self._waker.wait(self._reconnect_pause())
            try:
                self._listener.attach()
                self._forget_orphans()
            except Error as error:
                self._failure_count += 1
                instrument(
                    "database.away", level=logging.WARNING, failures=self._failure_count, text=_first_line(error)
                )
            else:
                if self._failure_count:
                    instrument("database.back")
                self._look_at = self._renew_at = 0.0
                return

    def _has_nothing(self) -> bool:
        return not (self._pool.running or self._stock)

    def _reconnect_pause(self) -> float:
        if not self._failure_count:
            return 0
        return RECONNECT_SECONDS[min(self._failure_count, len(RECONNECT_SECONDS)) - 1]

    def _forget_orphans(self) -> None:
        """Hand back claims of ours that we do not know of, because the answer to their commit was lost."""
        known = [*self._pool.running, *(claim.attempt_id for claim in self._stock)]
        using = self.options.using
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            release_all_but(cursor, known, sender=self.options.sender)

    def _wind_up(self) -> bool:
        """Stop deliveries that are still under way, settle what is known, and let go."""
        self._pool.revoke()
        deadline = time.monotonic() + LAST_MOMENT_SECONDS
        while self._pool.running and time.monotonic() < deadline:
            if not self._pool.has_finished:
                self._waker.wait(deadline - time.monotonic())
            self._settle_last()
        self._settle_last()
        is_settled = not self._pool.running
        self._pool.stop(timeout=LAST_MOMENT_SECONDS if is_settled else 0)
        self._journal.close(is_settled=is_settled)
        if self.options.is_until_empty:
            for backend, reason in self._shut.items():
                instrument("backend.not_waited_for", level=logging.WARNING, backend=backend, reason=reason)
        for alias in {self.options.using, self._listener.alias or self.options.using}:
            connections[alias].close()
        return is_settled

    def _settle_last(self) -> None:
        plan = Plan(results=self._pool.finished(), returning=list(self._stock))
        if plan.is_empty:
            return
        try:
            self._carry_out(plan)
        except Error as error:
            instrument("database.lost", level=logging.ERROR, error=type(error).__name__, text=_first_line(error))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
