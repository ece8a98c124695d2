"""The sender: looks for mail, keeps the connections busy, and goes on whatever happens until it is told to stop."""

import logging
import time
from collections.abc import Callable, Collection

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Outcome, Reply, Stage, Verdict
from mailqueue.queue.claim import Claim
from mailqueue.queue.wipe import removing_by
from mailqueue.queue.work import is_databases_trouble, is_locked
from mailqueue.sender.database import Database, first_line
from mailqueue.sender.jobs import Job
from mailqueue.sender.journal import Acceptance, Journal, journal_folder
from mailqueue.sender.listen import Listener, listen_alias
from mailqueue.sender.log import instrument, logger, without_addresses
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Effects, Plan
from mailqueue.sender.pool import Pool
from mailqueue.sender.reaper import Reaper
from mailqueue.sender.report import report
from mailqueue.sender.rhythm import Rhythm
from mailqueue.sender.stock import Stock
from mailqueue.sender.sweeper import FileRemover, Sweeper
from mailqueue.sender.turn import Turn, outcome_without_sending
from mailqueue.sender.waker import Stop, Waker

GRACE_SECONDS = 30
"""How long a sender that was told to stop waits for what is in flight."""
LAST_MOMENT_SECONDS = 2
"""How long it then waits for deliveries that were told to stop before the final dot."""
NO_ANSWER = Outcome(Verdict.UNKNOWN, Stage.FINAL_DOT, reply=Reply(0, "The sender was stopped before the answer came."))


class Sender:
    """One sender process: this loop has the database connection, the pool's threads have the mail servers."""

    def __init__(self, *, options: Options, configuration: Configuration, stop: Stop, waker: Waker) -> None:
        self.options = options
        self.configuration = configuration
        self._stop = stop
        self._waker = waker
        self._stock = Stock(concurrency=options.concurrency)
        self._turn = Turn(options=options, configuration=configuration)
        alias = listen_alias(configuration, using=options.using)
        self._listener = Listener(alias, sender=options.sender, is_shared=alias == options.using)
        self._database = Database(options, listener=self._listener, waker=waker)
        folder = journal_folder(configuration.STATE_DIR, using=options.using)
        self._journal = Journal(folder, sender=options.sender)
        self._reaper = Reaper(folder, journal=self._journal, options=options, configuration=configuration)
        self._pool = Pool(options.concurrency, accepted=self._note_acceptance, wake=waker.wake)
        self._sweeper = Sweeper(using=options.using)
        self._remover = FileRemover()
        self._rhythm = Rhythm(poll_seconds=configuration.POLL_SECONDS, listener=self._listener)
        self._renew_at = 0.0
        self._is_drained = self._is_stopping = False
        self._shut: dict[str, str] = {}
        self._stranded: list[Claim] = []

    def run(self) -> None:
        """Send until told to stop, or until the queue is empty where that was asked.

        Raises nothing for what a mail, a server or the database does.
        """
        instrument("sender.started", sender=self.options.sender, concurrency=self.options.concurrency)
        with self._waker.signals(self._stop), removing_by(self._remover.remove):
            if not self.options.is_until_empty:
                self._sweeper.start()
            self._reconnect()
            while not self._is_finished():
                self._safely(self._step)
            self._wind_up()
        instrument("sender.stopped", sender=self.options.sender)

    def _is_finished(self) -> bool:
        self._stop.ask_if_orphaned()
        if self._pool.running or self._stock:
            return self._stop.is_asked and (self._stop.is_urgent or self._grace_left() <= 0)
        return self._stop.is_asked or self._is_drained

    def _grace_left(self) -> float:
        return GRACE_SECONDS - (time.monotonic() - (self._stop.asked_at or time.monotonic()))

    def _step(self) -> None:
        """Wait for something to do and do it."""
        self._waker.wait(self._pause(), besides=self._listener.fileno())
        if self._listener.take_notice():
            self._rhythm.wake()
        self._announce_stop()
        self._listener.prove()
        self._reaper.reap_if_due()
        plan = self._plan()
        if not plan.is_empty:
            self._carry_out(plan)
        self._database.note_success()

    def _announce_stop(self) -> None:
        if self._stop.is_asked and not self._is_stopping:
            self._is_stopping = True
            instrument("sender.stopping", sender=self.options.sender, in_flight=len(self._pool.running))

    def _pause(self) -> float:
        """Return how long there is nothing to do unless somebody wakes us (seconds)."""
        if self._pool.finished() or self._stranded or (self._stock and self._pool.idle_count):
            return 0
        until = [self._renew_at, self._reaper.due_at, self._pool.next_aside_at]
        if self._is_accepting() and self._stock.has_room:
            until.append(self._rhythm.look_at)
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
            if self._rhythm.is_due:
                plan.claim_limit = self._stock.room(besides=len(plan.starting))
        else:
            plan.returning = list(self._stock)
        plan.returning += self._stranded
        if now >= self._renew_at:
            plan.renewing = self._unfinished(plan)
            plan.renewing_stock = [claim for claim in self._stock if claim not in plan.starting + plan.returning]
            self._renew_at = now + self.configuration.LEASE_SECONDS / 3
        return plan

    def _unfinished(self, plan: Plan) -> list[Job]:
        finished = {job.claim.attempt_id for job, _ in plan.results}
        return [job for attempt_id, job in self._pool.running.items() if attempt_id not in finished]

    def _carry_out(self, plan: Plan) -> None:
        """Run a turn. When something in it can't be done, do the rest without it: one bad mail holds up no other."""
        try:
            effects = self._turn.run(plan)
        except Exception as error:
            parts = plan.parts()
            if is_databases_trouble(error) or not parts:
                raise
            instrument("turn.failed", level=logging.WARNING, error=type(error).__name__, text=first_line(error))
            for part in parts:
                self._carry_out_part(part)
        else:
            self._take_effect(plan, effects)

    def _carry_out_part(self, part: Plan) -> None:
        try:
            effects = self._turn.run(part)
        except Exception as error:
            if is_databases_trouble(error):
                raise
            if is_locked(error) or not self._give_up(part, error):
                self._put_aside(part)
        else:
            self._take_effect(part, effects)

    def _give_up(self, part: Plan, error: Exception) -> bool:
        logger.error("mail.unworkable", exc_info=error, extra={"fields": part.fields()})
        try:
            effects = self._turn.give_up(part, error)
        except Exception as second:
            if is_databases_trouble(second):
                raise
            return False
        self._take_effect(part, effects)
        return True

    def _put_aside(self, part: Plan) -> None:
        """Keep a result until its row can be worked on; hand back a mail that was not started."""
        for job, _ in part.results:
            self._pool.put_aside(job)
        unsent = [*part.starting, *part.returning]
        self._stock.remove(unsent)
        self._stranded = [claim for claim in self._stranded if claim not in unsent]
        self._turn.hand_back(unsent)
        instrument("mail.put_aside", level=logging.WARNING, **part.fields())

    def _take_effect(self, plan: Plan, effects: Effects) -> None:
        """Make what a committed turn did true in this process. Asks no database, and so can't be cut short."""
        self._pool.forget(plan.results)
        self._stock.remove([*plan.starting, *plan.returning])
        self._stranded = [claim for claim in self._stranded if claim not in plan.returning]
        for job in effects.started:
            self._send(job)
        self._extend_leases(plan, effects)
        self._strand(effects.shut)
        if plan.claim_limit > 0:
            self._take_in(effects)
        if plan.results or effects.started or effects.found.claims:
            self._rhythm.note_work()
        report(effects)
        self._stock.count_sent(len(plan.results))
        self._journal.forget(job.claim.attempt_id for job, _ in plan.results)

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

    def _strand(self, shut: Collection[str]) -> None:
        """Set apart what waits for a backend that was shut just now; the next turn hands it back."""
        stranded = [claim for claim in self._stock if claim.backend in shut]
        self._stock.remove(stranded)
        self._stranded += stranded

    def _take_in(self, effects: Effects) -> None:
        found = effects.found
        self._stock.add(found.claims)
        self._shut = found.shut
        self._rhythm.note_look(found)
        is_idle = not (found.claims or found.held_count or self._pool.running or self._stock)
        self._is_drained = self.options.is_until_empty and is_idle

    def _note_acceptance(self, job: Job, outcome: Outcome) -> None:
        """Called by the connections, before anything else happens to the mail."""
        conclusion = self._turn.conclusion(job, outcome)
        if conclusion.is_accepted:
            self._journal.write(Acceptance.of(conclusion))

    def _safely(self, act: Callable[[], None]) -> None:
        """Do something that may go wrong in any way; then say so, wait, and go on with a new connection."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the outer guard: the sender stops when it is told to
            self._database.note_failure(error)
            self._reconnect()

    def _reconnect(self) -> None:
        """Connect, however long it takes, unless there is no time left for it."""
        if self._database.reconnect(self._known_attempts(), is_given_up=self._is_finished):
            self._renew_at = 0.0
            self._rhythm.wake()

    def _known_attempts(self) -> list[int]:
        return [*self._pool.running, *(claim.attempt_id for claim in (*self._stock, *self._stranded))]

    def _wind_up(self) -> None:
        """Stop deliveries that are still under way, settle what is known, and let go."""
        self._sweeper.stop()
        self._pool.revoke()
        deadline = time.monotonic() + LAST_MOMENT_SECONDS
        is_working = self._settle_last(Plan(returning=[*self._stock, *self._stranded]))
        while is_working and self._pool.running and time.monotonic() < deadline:
            if not self._pool.finished():
                self._waker.wait(deadline - time.monotonic())
            is_working = self._settle_last(Plan(results=self._pool.finished()))
        is_settled = not self._pool.running
        if not is_settled:
            self._abandon()
        self._pool.stop(timeout=LAST_MOMENT_SECONDS if is_settled else 0)
        self._journal.close(is_settled=is_settled)
        if self.options.is_until_empty:
            for backend, reason in self._shut.items():
                instrument(
                    "backend.not_waited_for", level=logging.WARNING, backend=backend, reason=without_addresses(reason)
                )
        self._database.close()
        self._remover.stop(timeout=LAST_MOMENT_SECONDS)

    def _abandon(self) -> None:
        """Leave deliveries to servers that do not answer: hand back what can't have been sent, own up to the rest."""
        unsent, unknown = self._pool.revoke()
        plan = Plan(
            results=[*self._pool.finished(), *((job, NO_ANSWER) for job in unknown)],
            returning=[job.claim for job in unsent],
        )
        self._settle_last(plan)

    def _settle_last(self, plan: Plan) -> bool:
        """Carry out a plan if the database is there; return whether it was."""
        try:
            if not plan.is_empty:
                self._carry_out(plan)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process is about to end
            self._database.note_failure(error)
            return False
        return True
