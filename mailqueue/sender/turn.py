"""One turn of the loop: in one commit, settle what is done, start what comes next, and claim more."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.db import Error
from post_office.models import Email

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Verdict
from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.outbox.identity import fix_identity
from mailqueue.outbox.messages import letter_of, load, recipients_of
from mailqueue.queue.claim import Claim
from mailqueue.queue.health import Health, probe_again
from mailqueue.queue.history import History, read_histories
from mailqueue.queue.release import release
from mailqueue.queue.settle import Settlement, settle
from mailqueue.queue.start import expired, renew, start
from mailqueue.queue.work import work
from mailqueue.sender.breaker import WELL, judge_backend
from mailqueue.sender.clock import boot_time
from mailqueue.sender.conclude import conclude, discreet
from mailqueue.sender.jobs import Job, Lease, options_of
from mailqueue.sender.log import instrument
from mailqueue.sender.look import look
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Effects, Plan, Result

WIPED = "It was sensitive: what it said was wiped when it was sent or expired, and nothing is left to send."
MOST_SURPRISES = 3
"""How often a mail is tried that fails in a way nobody foresaw."""


class Turn:
    """The database's side of the loop. Keeps nothing between turns but what it last read of the backends."""

    def __init__(self, *, options: Options, configuration: Configuration) -> None:
        self.options = options
        self.configuration = configuration
        self.health: dict[str, Health] = {}

    def run(self, plan: Plan) -> Effects:
        """Carry out the plan in one transaction. When it raises, nothing has happened, or the same plan may be
        carried out once more: a commit whose answer was lost does no harm.
        """
        effects = Effects(asked_at=boot_time())
        with work(self.options.using) as cursor:
            self._settle(cursor, plan.results, effects)
            self._renew(cursor, plan, effects)
            stranded = [claim for claim in plan.starting if claim.backend in effects.shut]
            returning = [claim.attempt_id for claim in (*plan.returning, *stranded)]
            release(cursor, returning, sender=self.options.sender)
            self._start(cursor, [claim for claim in plan.starting if claim not in stranded], effects)
            if plan.claim_limit > 0:
                effects.found = look(
                    cursor,
                    limit=plan.claim_limit,
                    avoiding=effects.shut,
                    options=self.options,
                    configuration=self.configuration,
                )
        self.health.update(effects.found.health | effects.health)
        return effects

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
        outcome = Outcome(
            Verdict.FAIL if is_last else Verdict.RETRY,
            Stage.BUILD,
            blame=Blame.MESSAGE,
            reply=Reply(0, f"{type(error).__name__} in the sender"),
            error=type(error).__name__,
        )
        return conclude(claim, outcome, recipients=[""], history=history, configuration=self.configuration)

    def _settle(self, cursor: Any, results: list[Result], effects: Effects) -> None:
        if not results:
            return
        results = [(job, _tellable(job, outcome)) for job, outcome in results]
        settlements = [(job, self.conclusion(job, outcome)) for job, outcome in results]
        sensitive = {job.claim.email_id for job, _ in results if job.is_sensitive}
        closed = settle(cursor, [s for _, s in settlements], log_level=self.options.log_level, sensitive=sensitive)
        effects.settlements = [(job, s) for job, s in settlements if s.attempt_id in closed]
        effects.lost = [job for job, s in settlements if s.attempt_id not in closed]
        # In one order, for every sender locks these rows.
        for backend in sorted({job.claim.backend for job, _ in results}):
            judge_backend(
                cursor,
                backend,
                [outcome for job, outcome in results if job.claim.backend == backend],
                health=self.health.get(backend, WELL),
                delays=self.configuration.PROBE_DELAYS,
                effects=effects,
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
        )

    def _renew(self, cursor: Any, plan: Plan, effects: Effects) -> None:
        ids = [job.claim.attempt_id for job in plan.renewing] + [claim.attempt_id for claim in plan.renewing_stock]
        if ids:
            seconds = self.configuration.LEASE_SECONDS
            effects.renewed = renew(cursor, ids, sender=self.options.sender, lease_seconds=seconds)

    def _start(self, cursor: Any, claims: list[Claim], effects: Effects) -> None:
        if not claims:
            return
        # Mails are locked before their attempts, as by those who cancel: in the other order the two could deadlock.
        emails = load([claim.email_id for claim in claims], using=self.options.using)
        fix_identity(emails.values(), using=self.options.using)
        live = start(cursor, claims, sender=self.options.sender, lease_seconds=self.configuration.LEASE_SECONDS)
        if refused := [claim for claim in claims if claim.attempt_id not in live]:
            sensitive = {pk for pk, email in emails.items() if (options := options_of(email)) and options.is_sensitive}
            self._turn_away(cursor, refused, sensitive=sensitive)
        starting = [claim for claim in claims if claim.attempt_id in live and claim.email_id in emails]
        histories = read_histories(cursor, [claim.email_id for claim in starting if claim.number > 1])
        for claim in starting:
            history = histories.get(claim.email_id, History())
            effects.started.append(self._job(claim, emails[claim.email_id], history, asked_at=effects.asked_at))

    def _turn_away(self, cursor: Any, claims: list[Claim], *, sensitive: Collection[int]) -> None:
        """Settle what expired before it could start, and hand back whatever else must not start now."""
        late = expired(cursor, claims, sender=self.options.sender)
        settle(cursor, [_expiry(claim) for claim in claims if claim.attempt_id in late], sensitive=sensitive)
        rest = [claim.attempt_id for claim in claims if claim.attempt_id not in late]
        release(cursor, rest, sender=self.options.sender)
        for claim in claims:
            if self.health.get(claim.backend, WELL).is_shut:
                probe_again(cursor, claim.backend)
            if claim.attempt_id in late:
                instrument("mail.expired", email=claim.email_id, attempt=claim.number)

    def _job(self, claim: Claim, email: Email, history: History, *, asked_at: float) -> Job:
        lease = Lease(asked_at=asked_at, seconds=self.configuration.LEASE_SECONDS)
        return Job(claim, email, letter_of(email, recipients=history.pending(recipients_of(email))), history, lease)


def outcome_without_sending(job: Job) -> Outcome | None:
    """Return the outcome of a mail that has nobody to go to, or nothing left to say; None for all others."""
    if job.is_wiped:
        return Outcome(Verdict.FAIL, Stage.BUILD, blame=Blame.MESSAGE, reply=Reply(0, WIPED))
    if job.letter.recipients:
        return None
    if recipients_of(job.email):
        return Outcome(Verdict.SENT, Stage.DONE)
    return Outcome(Verdict.FAIL, Stage.BUILD, blame=Blame.MESSAGE, reply=Reply(0, "The mail has no recipients."))


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


def _expiry(claim: Claim) -> Settlement:
    return Settlement(
        attempt_id=claim.attempt_id,
        email_id=claim.email_id,
        token=claim.token,
        outcome=AttemptOutcome.EXPIRED,
        stop=StopReason.EXPIRED,
        note="Its time ran out before it could be sent.",
    )
