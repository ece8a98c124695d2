"""One turn of the loop: in one commit, settle what is done, start what comes next, and claim more."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.db import Error

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Verdict
from mailqueue.faults import reach
from mailqueue.models import AttemptOutcome
from mailqueue.queue.claim import Claim
from mailqueue.queue.health import probe_again
from mailqueue.queue.history import History, read_histories
from mailqueue.queue.release import release
from mailqueue.queue.settle import LogLevel, Settlement, settle
from mailqueue.queue.start import renew
from mailqueue.queue.usual import Turned, turn_over
from mailqueue.queue.work import glance, is_out_of_memory, work
from mailqueue.sender.breaker import PASSING_SECONDS, Breaker
from mailqueue.sender.clock import boot_time
from mailqueue.sender.conclude import conclude, discreet
from mailqueue.sender.cursors import Cursors
from mailqueue.sender.jobs import Job
from mailqueue.sender.limits import Limits
from mailqueue.sender.look import look
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Effects, Plan, Result
from mailqueue.sender.share import Share
from mailqueue.sender.start import Starter
from mailqueue.sender.tide import Tide

MOST_SURPRISES = 3
"""How often a mail is tried that fails in a way nobody foresaw."""


class Turn:
    """The database's side of the loop."""

    def __init__(
        self,
        *,
        options: Options,
        configuration: Configuration,
        limits: Limits | None = None,
        busy_count: Callable[[str], int] = lambda _backend: 0,
    ) -> None:
        self.options = options
        self.configuration = configuration
        self.limits = limits or Limits(options=options, configuration=configuration)
        self.tides: defaultdict[str, Tide] = defaultdict(Tide)
        """What each backend said lately."""
        self._busy_count = busy_count
        self.share = Share(options=options, limits=self.limits)
        self._cursors = Cursors()
        self._starter = Starter(options=options, configuration=configuration, limits=self.limits)

    def run(self, plan: Plan) -> Effects:
        """Carry out the plan in one transaction. When it raises, nothing has happened, or the same plan may be
        carried out once more: a commit whose answer was lost does no harm.

        A mere look and a usual turn need no transaction: each of their statements may stand alone, and what is claimed
        or started by one that was not heard of is dealt with as after a lost commit.
        """
        effects = Effects(asked_at=boot_time())
        starting = self.share.within_rate(plan.starting, effects)
        is_usual = self._is_usual(plan, starting)
        with (glance if plan.is_look or is_usual else work)(self.options.using) as cursor:
            turned = self._turn_over(cursor, plan, starting) if is_usual else None
            self._settle(cursor, plan.results, effects, closed_ids=turned.closed if turned else None)
            self._renew(cursor, plan, effects)
            stranded = [claim for claim in starting if claim.backend in effects.shut]
            returning = [claim.attempt_id for claim in (*plan.returning, *stranded)]
            release(cursor, returning, sender=self.options.sender)
            for backend in sorted({claim.backend for claim in plan.returning if claim.is_probe}):
                probe_again(cursor, backend)
            starting = [claim for claim in starting if claim not in stranded]
            effects.started = self._starter.start(cursor, starting, asked_at=effects.asked_at, turned=turned)
            if plan.is_showing_up or plan.rooms is not None:
                self.share.show_up(cursor, effects)
            if plan.rooms is not None:
                self._look(cursor, plan, effects)
        if plan.rooms is not None:
            self._cursors = effects.found.cursors
        self.share.owe(effects.started)
        self.share.settle_up(plan.results)
        self.share.learn(effects)
        return effects

    def _is_usual(self, plan: Plan, starting: Sequence[Claim]) -> bool:
        """Whether there is only mail that was sent in full, and mail to start, all of the usual kind.

        Then one statement does it all, and nothing that it says can keep the rest from being done.
        """
        is_plain = not (plan.returning or plan.renewing or plan.renewing_stock)
        return (
            bool(starting)
            and is_plain
            and self.options.log_level < LogLevel.EVERYTHING
            and all(claim.has_identity for claim in starting)
            and all(_is_sent_in_full(job) for job, _ in plan.results)
            and not any(
                self._is_followed_by_more(backend) for backend in {job.claim.backend for job, _ in plan.results}
            )
        )

    def _is_followed_by_more(self, backend: str) -> bool:
        """Whether something is written about a backend that takes mail: that it is well again, or bears more."""
        health = self.limits.of(backend)
        return health.is_troubled or health.connection_limit is not None

    def _turn_over(self, cursor: Any, plan: Plan, starting: Sequence[Claim]) -> Turned:
        if plan.results:
            _reach_settling()
        return turn_over(
            cursor,
            [job.accepted_as for job, _ in plan.results if job.accepted_as],
            starting,
            sender=self.options.sender,
            lease_seconds=self.configuration.LEASE_SECONDS,
        )

    def _look(self, cursor: Any, plan: Plan, effects: Effects) -> None:
        effects.found = look(
            cursor,
            rooms=plan.rooms or {},
            above=plan.above,
            avoiding=effects.shut,
            cursors=self._cursors,
            options=self.options,
            configuration=self.configuration,
            is_alone=plan.is_look,
        )

    def leave(self) -> None:
        """Give up this sender's share."""
        self.share.leave()

    def give_up(self, part: Plan, error: Exception) -> Effects:
        """Settle the one mail of a plan that can't be carried out: in plain words, or tried a few times and failed."""
        effects = Effects(asked_at=boot_time())
        with work(self.options.using) as cursor:
            settle(cursor, [self.conclusion(job, _in_plain_words(outcome)) for job, outcome in part.results])
            for claim in part.starting:
                history = read_histories(cursor, [claim.email_id]).get(claim.email_id, History())
                settle(cursor, [self._unworkable(claim, error, history=history)])
            release(cursor, [claim.attempt_id for claim in part.returning], sender=self.options.sender)
        return effects

    def hand_back(self, claims: Sequence[Claim]) -> None:
        """Hand back claims for which nothing was sent. Where even that fails, they go back when their lease ends."""
        with suppress(Error), work(self.options.using) as cursor:
            release(cursor, [claim.attempt_id for claim in claims], sender=self.options.sender)

    def _unworkable(self, claim: Claim, error: Exception, *, history: History) -> Settlement:
        is_last = history.counted + 1 >= MOST_SURPRISES
        name = MemoryError.__name__ if is_out_of_memory(error) else type(error).__name__
        outcome = Outcome(
            Verdict.FAIL if is_last else Verdict.RETRY,
            Stage.BUILD,
            blame=Blame.MESSAGE,
            reply=Reply(0, f"{name} in the sender"),
            error=name,
        )
        return conclude(claim, outcome, recipients=[""], history=history, configuration=self.configuration)

    def _settle(
        self, cursor: Any, results: list[Result], effects: Effects, *, closed_ids: Collection[int] | None
    ) -> None:
        if not results:
            return
        results = [(job, _tellable(job, outcome)) for job, outcome in results]
        settlements = [(job, job.accepted_as or self.conclusion(job, outcome)) for job, outcome in results]
        sensitive = {job.claim.email_id for job, _ in results if job.is_sensitive}
        closed = settle(
            cursor,
            [s for _, s in settlements],
            log_level=self.options.log_level,
            sensitive=sensitive,
            closed_ids=closed_ids,
        )
        if closed_ids is None:
            _reach_settling()
        effects.settlements = [(job, s) for job, s in settlements if s.attempt_id in closed]
        effects.lost = [job for job, s in settlements if s.attempt_id not in closed]
        for job, outcome in results:
            self.tides[job.claim.backend].note(outcome, recipient_count=len(job.letter.recipients))
        # In one order, for every sender locks these rows.
        for backend in sorted({job.claim.backend for job, _ in results}):
            breaker = Breaker(
                cursor,
                backend,
                limits=self.limits,
                tide=self.tides[backend],
                configuration=self.configuration,
                effects=effects,
            )
            breaker.judge(
                [(job, outcome) for job, outcome in results if job.claim.backend == backend],
                busy_count=self._busy_count(backend),
            )

    def conclusion(self, job: Job, outcome: Outcome) -> Settlement:
        """Decide what becomes of a mail; asks nobody, and may be called from any thread."""
        return conclude(
            job.claim,
            _tellable(job, outcome),
            recipients=job.letter.recipients,
            history=job.history,
            configuration=self.configuration,
            unknown_outcome=job.options.unknown_outcome if job.options else "",
            others_pass=self.tides[job.claim.backend].is_passing(seconds=PASSING_SECONDS),
        )

    def _renew(self, cursor: Any, plan: Plan, effects: Effects) -> None:
        ids = [job.claim.attempt_id for job in plan.renewing] + [claim.attempt_id for claim in plan.renewing_stock]
        if ids:
            seconds = self.configuration.LEASE_SECONDS
            effects.renewed = renew(cursor, ids, sender=self.options.sender, lease_seconds=seconds)


def _reach_settling() -> None:
    reach("settling")


def _is_sent_in_full(job: Job) -> bool:
    settlement = job.accepted_as
    return settlement is not None and settlement.outcome == AttemptOutcome.SENT and not job.is_sensitive


def _tellable(job: Job, outcome: Outcome) -> Outcome:
    return discreet(outcome) if job.is_sensitive else outcome


def _in_plain_words(outcome: Outcome) -> Outcome:
    """Leave out everything that a server said: some text in it may be what the database refuses."""
    return replace(
        outcome,
        reply=Reply(outcome.reply.code),
        recipients={
            address: replace(result, reply=Reply(result.reply.code)) for address, result in outcome.recipients.items()
        },
    )
