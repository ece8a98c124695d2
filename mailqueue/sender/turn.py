"""One turn of the loop: in one commit, settle what is done, start what comes next, and claim more."""

import logging
from typing import Any

from django.db import connections, transaction
from post_office.models import Email

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.outbox.identity import fix_identity
from mailqueue.outbox.messages import letter_of, load, recipients_of
from mailqueue.queue.claim import Claim
from mailqueue.queue.health import Health, record_success, record_trouble
from mailqueue.queue.history import History, read_histories
from mailqueue.queue.release import release
from mailqueue.queue.settle import Settlement, settle
from mailqueue.queue.start import expired, renew, start
from mailqueue.sender.clock import boot_time
from mailqueue.sender.conclude import conclude
from mailqueue.sender.jobs import Job, Lease
from mailqueue.sender.log import instrument
from mailqueue.sender.look import look
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Effects, Plan, Result

MOST_SURPRISES = 3
"""How often a mail is tried that fails in a way nobody foresaw."""
SESSION_BEGAN = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.FINAL_DOT, Stage.DONE})


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
        with transaction.atomic(using=self.options.using), self._cursor() as cursor:
            self._settle(cursor, plan.results, effects)
            self._renew(cursor, plan, effects)
            stranded = [claim for claim in plan.starting if claim.backend in effects.shut]
            returning = [claim.attempt_id for claim in (*plan.returning, *stranded)]
            release(cursor, returning, sender=self.options.sender)
            self._start(cursor, [claim for claim in plan.starting if claim not in stranded], effects)
            if plan.claim_limit > 0:
                effects.found = look(
                    cursor, limit=plan.claim_limit, options=self.options, configuration=self.configuration
                )
        self.health.update(effects.found.health)
        return effects

    def give_up(self, part: Plan, error: Exception) -> Effects:
        """Settle the one mail of a plan that can't be carried out: tried again a few times, then failed."""
        effects = Effects(asked_at=boot_time())
        claims = [*part.starting, *(job.claim for job, _ in part.results)]
        verdict = Verdict.SENT if any(o.verdict == Verdict.SENT for _, o in part.results) else Verdict.RETRY
        with transaction.atomic(using=self.options.using), self._cursor() as cursor:
            settle(cursor, [self._unworkable(claim, error, verdict=verdict) for claim in claims])
        return effects

    def _unworkable(self, claim: Claim, error: Exception, *, verdict: Verdict) -> Settlement:
        is_last = claim.number >= MOST_SURPRISES and verdict == Verdict.RETRY
        outcome = Outcome(
            Verdict.FAIL if is_last else verdict,
            Stage.BUILD if verdict == Verdict.RETRY else Stage.DONE,
            blame=Blame.MESSAGE,
            reply=Reply(0, f"{type(error).__name__} in the sender"),
            error=type(error).__name__,
        )
        return conclude(claim, outcome, recipients=[""], history=History(), configuration=self.configuration)

    def _cursor(self) -> Any:
        return connections[self.options.using].cursor()

    def _settle(self, cursor: Any, results: list[Result], effects: Effects) -> None:
        if not results:
            return
        settlements = [(job, self.conclusion(job, outcome)) for job, outcome in results]
        closed = settle(cursor, [s for _, s in settlements], log_level=self.options.log_level)
        effects.settlements = [(job, s) for job, s in settlements if s.attempt_id in closed]
        effects.lost = [job for job, s in settlements if s.attempt_id not in closed]
        for backend in {job.claim.backend for job, _ in results}:
            self._judge_backend(cursor, backend, [o for job, o in results if job.claim.backend == backend], effects)

    def conclusion(self, job: Job, outcome: Outcome) -> Settlement:
        """Decide what becomes of a mail; asks nobody, and may be called from any thread."""
        return conclude(
            job.claim,
            outcome,
            recipients=job.letter.recipients,
            history=job.history,
            configuration=self.configuration,
        )

    def _judge_backend(self, cursor: Any, backend: str, outcomes: list[Outcome], effects: Effects) -> None:
        fatal = [o for o in outcomes if o.trouble == Trouble.SHUT]
        is_answering = any(o.trouble == Trouble.NONE and o.stage in SESSION_BEGAN for o in outcomes)
        failures = [] if is_answering else [o for o in outcomes if o.trouble == Trouble.CONNECT]
        if is_answering and not fatal and backend in self.health:
            del self.health[backend]
            if record_success(cursor, backend):
                effects.opened.add(backend)
        if not (fatal or failures):
            return
        self.health.setdefault(backend, Health())
        worst = (fatal or failures)[-1]
        was_shut = record_trouble(
            cursor,
            backend,
            count=len(failures) or 1,
            at_once=bool(fatal),
            reason=f"{worst.stage}: {worst.reply}".removesuffix(": ") or worst.error,
            delays=self.configuration.PROBE_DELAYS,
        )
        if was_shut:
            effects.shut.add(backend)
            instrument("backend.shut", level=logging.ERROR, backend=backend, stage=worst.stage, error=worst.error)

    def _renew(self, cursor: Any, plan: Plan, effects: Effects) -> None:
        ids = [job.claim.attempt_id for job in plan.renewing] + [claim.attempt_id for claim in plan.renewing_stock]
        if ids:
            seconds = self.configuration.LEASE_SECONDS
            effects.renewed = renew(cursor, ids, sender=self.options.sender, lease_seconds=seconds)

    def _start(self, cursor: Any, claims: list[Claim], effects: Effects) -> None:
        if not claims:
            return
        sender, seconds = self.options.sender, self.configuration.LEASE_SECONDS
        live = start(cursor, claims, sender=sender, lease_seconds=seconds)
        refused = [claim for claim in claims if claim.attempt_id not in live]
        if refused:
            self._turn_away(cursor, refused)
        starting = [claim for claim in claims if claim.attempt_id in live]
        emails = load([claim.email_id for claim in starting], using=self.options.using)
        fix_identity(emails.values(), using=self.options.using)
        histories = read_histories(cursor, [claim.email_id for claim in starting if claim.number > 1])
        for claim in starting:
            if email := emails.get(claim.email_id):
                history = histories.get(claim.email_id, History())
                effects.started.append(self._job(claim, email, history, asked_at=effects.asked_at))

    def _turn_away(self, cursor: Any, claims: list[Claim]) -> None:
        """Settle what expired before it could start, and hand back whatever else must not start now."""
        late = expired(cursor, claims, sender=self.options.sender)
        settle(cursor, [_expiry(claim) for claim in claims if claim.attempt_id in late])
        rest = [claim.attempt_id for claim in claims if claim.attempt_id not in late]
        release(cursor, rest, sender=self.options.sender)
        for claim in claims:
            if claim.attempt_id in late:
                instrument("mail.expired", email=claim.email_id, attempt=claim.number)

    def _job(self, claim: Claim, email: Email, history: History, *, asked_at: float) -> Job:
        lease = Lease(asked_at=asked_at, seconds=self.configuration.LEASE_SECONDS)
        return Job(claim, email, letter_of(email, recipients=history.pending(recipients_of(email))), history, lease)


def outcome_without_sending(job: Job) -> Outcome | None:
    """Return the outcome of a mail that has nobody to go to, None for all others."""
    if job.letter.recipients:
        return None
    if recipients_of(job.email):
        return Outcome(Verdict.SENT, Stage.DONE)
    return Outcome(Verdict.FAIL, Stage.BUILD, blame=Blame.MESSAGE, reply=Reply(0, "The mail has no recipients."))


def _expiry(claim: Claim) -> Settlement:
    return Settlement(
        attempt_id=claim.attempt_id,
        email_id=claim.email_id,
        token=claim.token,
        outcome=AttemptOutcome.EXPIRED,
        stop=StopReason.EXPIRED,
        note="Its time ran out before it could be sent.",
    )
