"""The sender: looks for mail, keeps the connections busy, and goes on whatever happens until it is told to stop."""

import logging
import time
from collections.abc import Callable

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Outcome, Reply, Stage, Verdict
from mailqueue.faults import reach
from mailqueue.queue.claim import Claim
from mailqueue.queue.wipe import removing_by
from mailqueue.sender.agenda import Agenda
from mailqueue.sender.database import Database
from mailqueue.sender.deadlines import CONNECT_SECONDS
from mailqueue.sender.execution import Execution
from mailqueue.sender.figures import Figures
from mailqueue.sender.foregone import outcome_without_sending
from mailqueue.sender.jobs import Job
from mailqueue.sender.journal import Acceptance, Journal, journal_folder
from mailqueue.sender.limits import Limits
from mailqueue.sender.listen import Listener, listen_alias
from mailqueue.sender.log import instrument, told_reason
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Effects, Plan
from mailqueue.sender.pool import Pool
from mailqueue.sender.purger import Purger
from mailqueue.sender.reaper import Reaper
from mailqueue.sender.report import report
from mailqueue.sender.rhythm import Rhythm
from mailqueue.sender.sweeper import FileRemover, Sweeper
from mailqueue.sender.turn import Turn
from mailqueue.sender.waker import Stop, Waker

GRACE_SECONDS = 30
"""How long a sender that was told to stop waits for what is in flight."""
LAST_MOMENT_SECONDS = 2
"""How long it then waits for deliveries that were told to stop before the final dot."""
NO_MEMORY_SECONDS = 0.5
"""How long a sender rests that has too little memory even to say what went wrong."""
MAY_HAVE_ARRIVED = (Verdict.SENT, Verdict.UNKNOWN)
NO_ANSWER = Outcome(Verdict.UNKNOWN, Stage.FINAL_DOT, reply=Reply(0, "The sender was stopped before the answer came."))


class Sender:
    """One sender process: this loop has the database connection, the pool has the mail servers."""

    def __init__(self, *, options: Options, configuration: Configuration, stop: Stop, waker: Waker) -> None:
        self.options = options
        self.configuration = configuration
        self._stop = stop
        self._waker = waker
        self._limits = Limits(options=options, configuration=configuration)
        self._pool = Pool(options.concurrency, accepted=self._note_acceptance, wake=waker.wake)
        self._turn = Turn(
            options=options,
            configuration=configuration,
            limits=self._limits,
            busy_count=self._pool.busy_count,
        )
        self._agenda = Agenda(options=options, limits=self._limits, pool=self._pool)
        self._execution = Execution(
            turn=self._turn, pool=self._pool, agenda=self._agenda, take_effect=self._take_effect
        )
        alias = listen_alias(configuration, using=options.using)
        self._listener = Listener(alias, sender=options.sender, is_shared=alias == options.using)
        self._database = Database(options, listener=self._listener, waker=waker)
        folder = journal_folder(configuration.STATE_DIR, using=options.using)
        self._journal = Journal(folder, sender=options.sender)
        self._figures = Figures(using=options.using)
        self._reaper = Reaper(
            folder,
            journal=self._journal,
            options=options,
            configuration=configuration,
            held=self._known_attempts,
            note_unknown=self._figures.note_unknown,
        )
        self._sweeper = Sweeper(using=options.using)
        self._purger = Purger(using=options.using, configuration=configuration)
        self._remover = FileRemover()
        self._rhythm = Rhythm(poll_seconds=configuration.POLL_SECONDS, listener=self._listener)
        self._renew_at = 0.0
        self._is_drained = self._is_stopping = False
        self._shut: dict[str, str] = {}

    def run(self) -> None:
        """Send until told to stop, or until the queue is empty where that was asked.

        Raises nothing for what a mail, a server or the database does.
        """
        with self._waker.signals(self._stop), removing_by(self._remover.remove):
            instrument("sender.started", sender=self.options.sender, concurrency=self.options.concurrency)
            if not self.options.is_until_empty:
                self._sweeper.start()
                self._purger.start()
            self._reconnect()
            while not self._is_finished():
                self._safely(self._step)
            self._wind_up()
        instrument("sender.stopped", sender=self.options.sender)

    def _is_finished(self) -> bool:
        self._stop.ask_if_orphaned()
        if self._pool.running or self._agenda.stock:
            # One more try to connect would take too long.
            least = CONNECT_SECONDS if self._database.is_away else 0
            return self._stop.is_asked and (self._stop.is_urgent or self._grace_left() <= least)
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
            self._execution.carry_out(plan)
        self._database.note_success()
        self._figures.write_if_due()

    def _announce_stop(self) -> None:
        if self._stop.is_asked and not self._is_stopping:
            self._is_stopping = True
            instrument("sender.stopping", sender=self.options.sender, in_flight=len(self._pool.running))

    def _pause(self) -> float:
        """Return how long there is nothing to do unless somebody wakes us (seconds)."""
        if self._pool.finished() or self._agenda.returning or self._next_claims():
            return 0
        until = [self._renew_at, self._reaper.due_at, self._pool.next_aside_at, self._turn.share.due_at]
        until.append(self._figures.due_at)
        until += self._agenda.startable_at()
        if self._is_accepting() and self._agenda.needs_look():
            until.append(self._rhythm.look_at)
        elif self._is_accepting() and self._agenda.overtakable():
            until.append(self._rhythm.glance_at)
        if self._stop.is_asked:
            until.append(time.monotonic() + max(self._grace_left(), 0))
        return max(min(until) - time.monotonic(), 0)

    def _is_accepting(self) -> bool:
        return not self._stop.is_asked

    def _plan(self) -> Plan:
        now = time.monotonic()
        plan = Plan(results=self._pool.finished(), returning=list(self._agenda.returning))
        plan.is_showing_up = self._turn.share.is_due
        if self._is_accepting():
            plan.starting = self._next_claims()
            if self._rhythm.is_due and self._agenda.needs_look(besides=plan.starting):
                plan.rooms = self._agenda.rooms(besides=plan.starting)
            elif self._rhythm.is_glance_due and (above := self._agenda.overtakable(besides=plan.starting)):
                plan.rooms, plan.above = self._agenda.rooms_above(above), above
        else:
            plan.returning += self._agenda.stock
        if now >= self._renew_at:
            plan.renewing = self._unfinished(plan)
            plan.renewing_stock = [c for c in self._agenda.stock if c not in plan.starting + plan.returning]
            self._renew_at = now + self.configuration.LEASE_SECONDS / 3
        return plan

    def _next_claims(self) -> list[Claim]:
        """Return what the next turn is to start; when nothing more is to be sent, what it is to hand back."""
        return self._agenda.next_claims() if self._is_accepting() else list(self._agenda.stock)

    def _unfinished(self, plan: Plan) -> list[Job]:
        finished = {job.claim.attempt_id for job, _ in plan.results}
        return [job for attempt_id, job in self._pool.running.items() if attempt_id not in finished]

    def _take_effect(self, plan: Plan, effects: Effects) -> None:
        """Make what a committed turn did true in this process. Asks no database, and so can't be cut short."""
        if effects.found.claims:
            reach("claimed")
        self._pool.forget(plan.results)
        postponed = {claim.attempt_id for claim in effects.postponed}
        started = [claim for claim in plan.starting if claim.attempt_id not in postponed]
        self._agenda.remove([*started, *plan.returning])
        for job in effects.started:
            self._send(job)
        self._extend_leases(plan, effects)
        self._agenda.stock.add(effects.found.claims)
        if plan.above:
            self._rhythm.note_glance()
        elif plan.rooms is not None:
            self._take_in(effects)
        self._note_results(plan)
        for job, settlement in effects.settlements:
            self._figures.note(job, settlement)
        self._agenda.strand(effects.shut)
        if plan.results or effects.started or effects.found.claims:
            self._rhythm.note_work()
        report(effects)
        self._agenda.stock.count_sent(job.claim.backend for job, _ in plan.results)
        self._journal.forget(job.claim.attempt_id for job, _ in plan.results)

    def _note_results(self, plan: Plan) -> None:
        """Let each backend have as many connections as it now bears, and tell a person of much refused mail."""
        for job, outcome in plan.results:
            self._limits.note(job.claim.backend, outcome)
        for backend in {job.claim.backend for job, _ in plan.results}:
            if self._limits.most_connections(backend) is not None:
                self._pool.trim(backend, most=self._limits.connections(backend))
            if warning := self._turn.tides[backend].take_policy_warning():
                refused, total = warning
                instrument(
                    "backend.refuses_content", level=logging.ERROR, backend=backend, refused=refused, mails=total
                )

    def _send(self, job: Job) -> None:
        reach("started")
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
        self._agenda.stock.remove([c for c in plan.renewing_stock if c.attempt_id not in effects.renewed])

    def _take_in(self, effects: Effects) -> None:
        found = effects.found
        self._shut = found.shut
        self._rhythm.note_look(found)
        is_idle = not (
            found.claims or found.held_count or found.is_resting or self._pool.running or self._agenda.stock
        )
        self._is_drained = self.options.is_until_empty and is_idle

    def _note_acceptance(self, job: Job, outcome: Outcome) -> None:
        """Called by the connections, before anything else happens to the mail."""
        conclusion = self._turn.conclusion(job, outcome)
        if conclusion.is_accepted:
            reach("accepted")
            job.accepted_at = time.monotonic()
            job.accepted_as = conclusion
            self._journal.write(Acceptance.of(conclusion))
            reach("journaled")

    def _safely(self, act: Callable[[], None]) -> None:
        """Do something that may go wrong in any way; then say so, wait, and go on with a new connection."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the outer guard: the sender stops when it is told to
            try:
                self._database.note_failure(error)
                self._reconnect()
            except MemoryError:  # what takes it all may need it for a moment only
                self._waker.wait(NO_MEMORY_SECONDS)

    def _reconnect(self) -> None:
        """Connect, however long it takes, unless there is no time left for it."""
        if self._database.reconnect(self._known_attempts(), is_given_up=self._is_finished):
            self._renew_at = 0.0
            self._reaper.rest()
            self._rhythm.wake()

    def _known_attempts(self) -> list[int]:
        return [*self._pool.running, *(claim.attempt_id for claim in self._agenda)]

    def _wind_up(self) -> None:
        """Stop deliveries that are still under way, settle what is known, and let go."""
        self._sweeper.stop()
        self._purger.stop()
        self._pool.revoke()
        deadline = time.monotonic() + LAST_MOMENT_SECONDS
        is_working = self._settle_last(Plan(returning=list(self._agenda)))
        while is_working and self._pool.running and time.monotonic() < deadline:
            if not self._pool.finished():
                self._waker.wait(deadline - time.monotonic())
            is_working = self._settle_last(Plan(results=self._pool.finished()))
        is_settled = not self._pool.running and not list(self._agenda)
        if not is_settled:
            self._abandon()
        self._pool.stop(timeout=LAST_MOMENT_SECONDS if is_settled else 0)
        self._journal.close(is_settled=is_settled)
        if self.options.is_until_empty:
            for backend, reason in self._shut.items():
                instrument(
                    "backend.not_waited_for", level=logging.WARNING, backend=backend, reason=told_reason(reason)
                )
        if is_working:
            self._figures.write()
            self._turn.leave()
        self._database.close()
        self._remover.stop(timeout=LAST_MOMENT_SECONDS)

    def _abandon(self) -> None:
        """Leave deliveries to servers that do not answer: hand back what can't have been sent, own up to the rest."""
        unsent, unknown = self._pool.revoke()
        plan = Plan(
            results=[*self._pool.finished(), *((job, NO_ANSWER) for job in unknown)],
            returning=[job.claim for job in unsent],
        )
        if not self._settle_last(plan):
            self._journal.write_unsent([*self._agenda, *plan.returning, *self._refused()])

    def _refused(self) -> list[Claim]:
        """Return what no server has taken, and what the database does not know that of."""
        results = self._pool.finished()
        return [job.claim for job, outcome in results if not (job.accepted_as or outcome.verdict in MAY_HAVE_ARRIVED)]

    def _settle_last(self, plan: Plan) -> bool:
        """Carry out a plan if the database is there; return whether it was."""
        if self._database.is_away:
            return False
        try:
            if not plan.is_empty:
                self._execution.carry_out(plan)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process is about to end
            self._database.note_failure(error)
            return False
        return True
