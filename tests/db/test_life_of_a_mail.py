"""The life of a mail as a state machine: whatever happens in whatever order, no state is illegal and nothing is lost.

Each example is one transaction, rolled back in its end. The database's clock can't be stopped or moved: time passes by
moving the times in the rows.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from post_office.models import STATUS, Email

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Blame, Outcome, RecipientOutcome, Reply, Stage, Trouble, Verdict
from mailqueue.models import Attempt, AttemptOutcome, StopReason
from mailqueue.queue import orders
from mailqueue.queue.claim import Claim
from mailqueue.queue.history import History, read_histories
from mailqueue.queue.reap import reap
from mailqueue.queue.release import release
from mailqueue.queue.settle import Settlement, settle
from mailqueue.queue.start import expired, renew, start
from mailqueue.sender.conclude import conclude
from mailqueue.sender.journal import Acceptance
from mailqueue.sender.patience import LEASE_LOST
from tests.support.mail_model import Mail, Try
from tests.support.mails import OTHER, SENDER, claimed, end_lease, make_mail, settlement, turn

LEASE_SECONDS = 3600
HOUR = timedelta(hours=1)
ADDRESSES = ("ann@example.com", "bob@example.com", "cid@example.com")
PRIORITIES = (2, 1, 0)
SENT, RETRY, FAIL = Verdict.SENT, Verdict.RETRY, Verdict.FAIL

logger = logging.getLogger(__name__)

picks = st.integers(0, 5)
answers = st.just((SENT,) * 3) | st.tuples(*[st.sampled_from((SENT, RETRY, FAIL))] * 3)

FACTS = """
SELECT e.id, e.status, coalesce(e.scheduled_time <= now(), true), coalesce(s.reason, ''), (
    SELECT coalesce(json_agg(json_build_array(a.number, a.sender, a.outcome, a.claimed_at, a.started_at, a.finished_at)
                             ORDER BY a.id), '[]')::text
    FROM mailqueue_attempt a WHERE a.email_id = e.id)
FROM post_office_email e LEFT JOIN mailqueue_mailstate s ON s.email_id = e.id ORDER BY e.id
"""


@dataclass(eq=False)
class Job:
    """What a sender knows of a mail that it has started."""

    claim: Claim
    mail: Mail
    attempt: Try
    history: History
    pending: list[str]
    has_passed: bool = False
    """The lease was looked at, and the final dot may go out."""
    outcome: Outcome | None = None
    results: dict[str, Verdict] = field(default_factory=dict)


@dataclass(eq=False)
class Sender:
    """What one sender process keeps in its memory, and in its journal."""

    name: str
    stock: list[Claim] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    @property
    def answered(self) -> list[Job]:
        return [job for job in self.jobs if job.outcome]

    @property
    def unanswered(self) -> list[Job]:
        return [job for job in self.jobs if not job.outcome]


class LifeOfMails(RuleBasedStateMachine):
    """Two senders, a few mails, people, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.cursor = connection.cursor()
        self.mails: dict[int, Mail] = {}
        self.tries: dict[int, tuple[Mail, Try]] = {}
        self.names = (f"host.{number}.x" for number in count())
        self.senders = [Sender(next(self.names)), Sender(next(self.names))]
        self.dead: list[Sender] = []
        self.last_settlements: list[Settlement] = []

    def teardown(self) -> None:
        try:
            self.everything_ends()
        finally:
            self.cursor.close()
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    @initialize(is_resent=st.booleans(), size=st.integers(1, 3))
    def begin_with_a_mail(self, is_resent: bool, size: int) -> None:
        self.is_resent = is_resent
        self.configuration = Configuration(UNKNOWN_OUTCOME="resend" if is_resent else "hold")
        self.enqueue(size, priority=1, is_due=True, may_expire=False)

    # What programs and people do.

    @rule(size=st.integers(1, 3), priority=st.sampled_from(PRIORITIES), is_due=st.booleans(), may_expire=st.booleans())
    def enqueue(self, size: int, priority: int, is_due: bool, may_expire: bool) -> None:
        row = make_mail(
            to=list(ADDRESSES[:size]),
            priority=priority,
            scheduled_time=None if is_due else timezone.now() + HOUR,
            expires_at=timezone.now() + 2 * HOUR if may_expire else None,
        )
        self.mails[row.pk] = Mail(list(ADDRESSES[:size]), priority, is_due, may_expire)

    @precondition(lambda self: self.mails)
    @rule(pick=picks, reason=st.sampled_from((StopReason.CANCELLED, StopReason.HELD)))
    def cancel_or_hold(self, pick: int, reason: StopReason) -> None:
        email_id, mail = self.pick_mail(pick)
        is_held = mail.status == STATUS.failed and mail.reason == StopReason.HELD
        may_stop = mail.in_lane or (is_held and reason == StopReason.CANCELLED)
        is_stopped = may_stop and mail.withdraw()
        if is_stopped:
            mail.stop(reason)
            mail.reason = reason
        if reason == StopReason.CANCELLED:
            stopped = orders.cancel([email_id], by="grace", using="default")
        else:
            stopped = orders.hold([email_id], note="", by="grace", using="default")
        assert [email_id] * is_stopped == stopped

    @precondition(lambda self: self.mails)
    @rule(pick=picks)
    def requeue(self, pick: int) -> None:
        email_id, mail = self.pick_mail(pick)
        is_queued = mail.withdraw() and not mail.has_expired
        if is_queued:
            mail.requeue()
        assert [email_id] * is_queued == orders.requeue([email_id], using="default")

    @precondition(lambda self: any(not mail.in_lane for mail in self.mails.values()))
    @rule(pick=picks)
    def set_back_by_hand(self, pick: int) -> None:
        stopped = [email_id for email_id, mail in self.mails.items() if not mail.in_lane]
        email_id = stopped[pick % len(stopped)]
        self.mails[email_id].set_back()
        Email.objects.filter(pk=email_id).update(status=STATUS.queued)

    # What senders do.

    @precondition(lambda self: self.mails)
    @rule(pick=picks, limit=st.integers(1, 3), is_started=st.booleans())
    def claim(self, pick: int, limit: int, is_started: bool) -> None:
        sender = self.senders[pick % 2]
        for priority in PRIORITIES:
            self.claim_lane(sender, priority=priority, limit=limit)
        if is_started:
            self.start_some(sender, limit=limit)

    def claim_lane(self, sender: Sender, *, priority: int, limit: int) -> int:
        free = [pk for pk, mail in self.mails.items() if mail.is_claimable and mail.priority == priority]
        claims = claimed(self.cursor, priority=priority, limit=limit, sender=sender.name, lease_seconds=LEASE_SECONDS)
        assert {claim.email_id for claim in claims} <= set(free)
        assert len(claims) == min(limit, len(free))
        for claim in claims:
            mail = self.mails[claim.email_id]
            attempt = Try(sender.name)
            mail.tries.append(attempt)
            self.tries[claim.attempt_id] = (mail, attempt)
        sender.stock += claims
        return len(claims)

    @precondition(lambda self: any(mail.in_lane for mail in self.mails.values()))
    @rule(pick=picks, said=st.lists(answers, min_size=1, max_size=3))
    def send_without_trouble(self, pick: int, said: list[tuple[Verdict, ...]]) -> None:
        """What senders do nearly always: every step at once, and again when it is time for the next try."""
        sender = self.senders[pick % 2]
        for words in said:
            self.make_all_due()
            self.claim(pick, limit=3, is_started=False)
            self.start_some(sender, limit=len(sender.stock))
            while sender.unanswered:
                self.hear(sender, words, dies=False)
            self.settle_all(sender)

    @precondition(lambda self: any(sender.stock for sender in self.senders))
    @rule(pick=picks, limit=st.integers(1, 3))
    def start(self, pick: int, limit: int) -> None:
        self.start_some(self.pick_sender(pick, "stock"), limit=limit)

    def start_some(self, sender: Sender, *, limit: int) -> None:
        claims, sender.stock = sender.stock[:limit], sender.stock[limit:]
        expected = {c.attempt_id for c in claims if self.mail_of(c).may_start(self.attempt_of(c))}
        live = start(self.cursor, claims, sender=sender.name, lease_seconds=LEASE_SECONDS)
        assert expected == live
        self.turn_away([claim for claim in claims if claim.attempt_id not in live], sender=sender)
        starting = [claim for claim in claims if claim.attempt_id in live]
        histories = read_histories(self.cursor, [claim.email_id for claim in starting])
        for claim in starting:
            self.begin(sender, claim, histories.get(claim.email_id, History()))

    def turn_away(self, claims: Sequence[Claim], *, sender: Sender) -> None:
        """As a turn of the sender does with claims that must not start now."""
        late = expired(self.cursor, claims, sender=sender.name)
        expected = {c.attempt_id for c in claims if self.mail_of(c).is_too_late(self.attempt_of(c))}
        assert expected == late
        for claim in claims:
            mail, attempt = self.tries[claim.attempt_id]
            if claim.attempt_id not in late:
                mail.drop(attempt)
            elif mail.close(attempt, AttemptOutcome.EXPIRED):
                mail.stop(StopReason.EXPIRED)
        ending = [c for c in claims if c.attempt_id in late]
        settle(self.cursor, [settlement(c, AttemptOutcome.EXPIRED, stop=StopReason.EXPIRED) for c in ending])
        release(self.cursor, [c.attempt_id for c in claims if c not in ending], sender=sender.name)

    def begin(self, sender: Sender, claim: Claim, history: History) -> None:
        mail, attempt = self.tries[claim.attempt_id]
        attempt.is_started = True
        pending = history.pending(mail.recipients)
        assert mail.pending == pending
        job = Job(claim, mail, attempt, history, pending)
        if not pending:
            job.outcome = Outcome(SENT, Stage.DONE)
        sender.jobs.append(job)

    @precondition(lambda self: any(sender.unanswered for sender in self.senders))
    @rule(pick=picks)
    def reach_the_final_dot(self, pick: int) -> None:
        """The last look at the lease. A process may be stopped right behind it, for any time."""
        for job in self.pick_sender(pick, "unanswered").unanswered:
            job.has_passed = job.has_passed or job.attempt.is_live

    @precondition(lambda self: any(sender.unanswered for sender in self.senders))
    @rule(pick=picks, said=answers, then=st.sampled_from(("", "settle", "settle", "die")))
    def answer(self, pick: int, said: tuple[Verdict, ...], then: str) -> None:
        """The server says something about each recipient; or the sender dies before it has noted that down."""
        sender = self.pick_sender(pick, "unanswered")
        self.hear(sender, said, dies=then == "die")
        if then == "settle":
            self.settle_all(sender)

    def hear(self, sender: Sender, said: tuple[Verdict, ...], *, dies: bool) -> None:
        job = sender.unanswered[0]
        results = dict(zip(job.pending, said, strict=False))
        if not self.may_finish(job):
            return
        job.mail.take(job.attempt, [address for address, verdict in results.items() if verdict == SENT])
        if dies:
            sender.jobs.remove(job)
            self.die(sender)
            return
        job.results = results
        job.outcome = Outcome(
            RETRY,
            Stage.RCPT,
            blame=Blame.RECIPIENT,
            recipients={address: RecipientOutcome(verdict, Reply(250)) for address, verdict in results.items()},
        )

    @precondition(lambda self: any(sender.unanswered for sender in self.senders))
    @rule(pick=picks, is_taken=st.booleans())
    def lose_the_answer(self, pick: int, is_taken: bool) -> None:
        """The connection is lost behind the final dot."""
        job = self.pick_sender(pick, "unanswered").unanswered[0]
        if self.may_finish(job):
            job.mail.take(job.attempt, job.pending if is_taken else [])
            job.outcome = Outcome(Verdict.UNKNOWN, Stage.FINAL_DOT, blame=Blame.MESSAGE)

    @precondition(lambda self: any(sender.unanswered for sender in self.senders))
    @rule(pick=picks, is_in_session=st.booleans())
    def be_turned_away_by_the_server(self, pick: int, is_in_session: bool) -> None:
        job = self.pick_sender(pick, "unanswered").unanswered[0]
        stage = Stage.RCPT if is_in_session else Stage.CONNECT
        trouble = Trouble.NONE if is_in_session else Trouble.CONNECT
        job.outcome = Outcome(Verdict.DEFER, stage, blame=Blame.BACKEND, trouble=trouble)

    def may_finish(self, job: Job) -> bool:
        """Ask the fence before the final dot; behind it the mail goes nowhere, and its sender knows that."""
        if not job.has_passed and not job.attempt.is_live:
            job.outcome = Outcome(Verdict.DEFER, Stage.BODY, blame=Blame.BACKEND, error=LEASE_LOST)
            return False
        return True

    @precondition(lambda self: any(sender.answered for sender in self.senders))
    @rule(pick=picks)
    def settle(self, pick: int) -> None:
        self.settle_all(self.pick_sender(pick, "answered"))

    def settle_all(self, sender: Sender) -> None:
        jobs = sender.answered
        settlements = [self.conclusion(job) for job in jobs]
        expected = {job.claim.attempt_id for job in jobs if self.conclude_in_the_model(job)}
        assert expected == settle(self.cursor, settlements)
        sender.jobs = sender.unanswered
        self.last_settlements = settlements

    @precondition(lambda self: self.last_settlements)
    @rule()
    def settle_once_more(self) -> None:
        """As after a commit whose answer was lost."""
        settle(self.cursor, self.last_settlements)

    def conclusion(self, job: Job) -> Settlement:
        assert job.outcome
        return conclude(
            job.claim, job.outcome, recipients=job.pending, history=job.history, configuration=self.configuration
        )

    def conclude_in_the_model(self, job: Job) -> bool:
        mail, attempt = job.mail, job.attempt
        assert job.outcome
        if job.outcome.verdict == Verdict.UNKNOWN:
            return mail.lose(attempt, is_resent=self.is_resent)
        if job.outcome.verdict == Verdict.DEFER:
            waits = job.outcome.stage == Stage.RCPT
            return mail.defer(attempt, waits=waits)
        return mail.settle(attempt, job.results, refused=job.history.refused, known=job.history.accepted)

    @precondition(lambda self: any(sender.stock for sender in self.senders))
    @rule(pick=picks)
    def hand_back(self, pick: int) -> None:
        sender = self.pick_sender(pick, "stock")
        release(self.cursor, [claim.attempt_id for claim in sender.stock], sender=sender.name)
        for claim in sender.stock:
            self.mail_of(claim).drop(self.attempt_of(claim))
        sender.stock = []

    @precondition(lambda self: any(sender.unanswered or sender.stock for sender in self.senders))
    @rule(pick=picks)
    def renew_leases(self, pick: int) -> None:
        sender = self.senders[pick % 2]
        ids = [claim.attempt_id for claim in sender.stock] + [job.claim.attempt_id for job in sender.unanswered]
        live = renew(self.cursor, ids, sender=sender.name, lease_seconds=LEASE_SECONDS)
        assert {number for number in ids if self.is_held(number)} == live

    def is_held(self, attempt_id: int) -> bool:
        mail, attempt = self.tries[attempt_id]
        return attempt in mail.tries and attempt.is_open and attempt.is_live

    # What goes wrong, and what is done about it.

    @precondition(lambda self: any(sender.stock or sender.jobs for sender in self.senders))
    @rule(pick=picks)
    def crash(self, pick: int) -> None:
        self.die(self.senders[pick % 2])

    def die(self, sender: Sender) -> None:
        self.senders[self.senders.index(sender)] = Sender(next(self.names))
        self.dead.append(sender)

    @precondition(lambda self: self.dead)
    @rule(pick=picks)
    def read_the_journal_of_a_dead_sender(self, pick: int) -> None:
        """Another sender of its host does that: what the dead one knew to be accepted is settled, the rest reaped."""
        sender = self.dead.pop(pick % len(self.dead))
        proofs = [(job, conclusion) for job in sender.answered if (conclusion := self.conclusion(job)).is_accepted]
        expected = {job.claim.attempt_id for job, _ in proofs if self.conclude_in_the_model(job)}
        acceptances = [Acceptance.of(conclusion).settlement() for _, conclusion in proofs]
        assert expected == settle(self.cursor, acceptances)
        self.reap_in_both([sender.name])

    @precondition(lambda self: any(mail.open for mail in self.mails.values()))
    @rule()
    def reap_what_is_there(self) -> None:
        self.reap()

    def reap(self) -> None:
        self.reap_in_both([])

    def reap_in_both(self, dead: list[str]) -> None:
        returned, unknown = [], []
        for email_id, mail in self.mails.items():
            attempt = mail.open
            if attempt is None or (attempt.is_live and attempt.sender not in dead):
                continue
            (unknown if attempt.is_started else returned).append(email_id)
            if attempt.is_started:
                mail.become_unknown(attempt, is_resent=self.is_resent)
            else:
                mail.drop(attempt)
        reaped = reap(self.cursor, configuration=self.configuration, dead_senders=dead)
        assert (returned, unknown) == (sorted(reaped.returned), sorted(reaped.unknown))

    # Time.

    @precondition(lambda self: any(mail.open for mail in self.mails.values()))
    @rule(pick=picks, is_reaped=st.booleans())
    def let_leases_end(self, pick: int, is_reaped: bool) -> None:
        held = [mail.open.sender for mail in self.mails.values() if mail.open]
        self.end_leases(held[pick % len(held)])
        if is_reaped:
            self.reap()

    def end_leases(self, name: str) -> None:
        self.cursor.execute(
            "UPDATE mailqueue_attempt SET lease_until = now() - interval '1 second' WHERE sender = %s", [name]
        )
        for _, attempt in self.tries.values():
            attempt.is_live &= attempt.sender != name

    @precondition(lambda self: any(not mail.is_due for mail in self.mails.values()))
    @rule(pick=picks, is_at_work=st.booleans())
    def let_scheduled_times_come(self, pick: int, is_at_work: bool) -> None:
        self.make_all_due()
        if is_at_work:
            self.claim(pick, limit=3, is_started=True)

    def make_all_due(self) -> None:
        Email.objects.filter(scheduled_time__gt=timezone.now()).update(scheduled_time=timezone.now() - HOUR)
        for mail in self.mails.values():
            mail.is_due = True

    @precondition(lambda self: any(mail.may_expire and not mail.has_expired for mail in self.mails.values()))
    @rule(pick=picks)
    def let_a_mail_expire(self, pick: int) -> None:
        fresh = [pk for pk, mail in self.mails.items() if mail.may_expire and not mail.has_expired]
        email_id = fresh[pick % len(fresh)]
        self.mails[email_id].has_expired = True
        Email.objects.filter(pk=email_id).update(expires_at=timezone.now() - HOUR)

    # What holds after each step.

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        self.cursor.execute(FACTS)
        facts = self.cursor.fetchall()
        assert list(self.mails) == [email_id for email_id, *_ in facts]
        for email_id, status, is_due, reason, text in facts:
            mail, attempts = self.mails[email_id], json.loads(text)
            is_stopped = status == STATUS.failed
            assert (mail.status, mail.reason if is_stopped else "") == (status, reason if is_stopped else "")
            assert mail.is_due == is_due or not mail.in_lane
            check_attempts(mail, attempts)
            check_status(status, reason, outcomes=[outcome for _, _, outcome, *_ in attempts])
            # The session's time zone is the same for all of them: texts compare as times do.
            times = [moment for *_, claimed, started, finished in attempts for moment in (claimed, started, finished)]
            assert sorted(filter(None, times)) == list(filter(None, times))

    @invariant()
    def nobody_gets_a_mail_again_but_by_an_order_or_behind_an_unknown_attempt(self) -> None:
        for mail in self.mails.values():
            assert mail.unexplained_copies == 0
            assert self.is_resent or all(len(takes) == 1 for takes in mail.takes.values())

    def everything_ends(self) -> None:
        """Let all senders die, time pass, and one more sender work: every mail is sent, or stopped for a reason."""
        if not hasattr(self, "configuration"):
            return
        for sender in [*self.senders, *self.dead]:
            self.end_leases(sender.name)
        self.reap()
        for _ in range(3):
            self.make_all_due()
            self.send_all()
        assert not [mail for mail in self.mails.values() if mail.in_lane]

    def send_all(self) -> None:
        self.senders = [Sender(next(self.names)), Sender(next(self.names))]
        self.claim(0, limit=len(self.mails), is_started=False)
        sender = self.senders[0]
        self.start_some(sender, limit=len(sender.stock))
        while sender.unanswered:
            self.hear(sender, (SENT,) * 3, dies=False)
        self.settle_all(sender)

    def pick_mail(self, pick: int) -> tuple[int, Mail]:
        return list(self.mails.items())[pick % len(self.mails)]

    def pick_sender(self, pick: int, having: str) -> Sender:
        able = [sender for sender in self.senders if getattr(sender, having)]
        return able[pick % len(able)]

    def mail_of(self, claim: Claim) -> Mail:
        return self.tries[claim.attempt_id][0]

    def attempt_of(self, claim: Claim) -> Try:
        return self.tries[claim.attempt_id][1]


def check_attempts(mail: Mail, attempts: list[list[Any]]) -> None:
    known = [(attempt.sender, attempt.outcome, attempt.is_started) for attempt in mail.tries]
    assert known == [(sender, outcome, bool(started)) for _, sender, outcome, _, started, _ in attempts]
    assert list(range(1, len(attempts) + 1)) == [number for number, *_ in attempts]
    assert sum(finished is None for *_, finished in attempts) <= 1


def check_status(status: int, reason: str, *, outcomes: list[str | None]) -> None:
    """Check what post_office's status says against what stands beside it."""
    if status == STATUS.sent:
        assert {AttemptOutcome.SENT, AttemptOutcome.PARTLY_SENT} & set(outcomes)
    elif status == STATUS.failed:
        assert reason
        assert None not in outcomes
    else:
        assert status in (STATUS.queued, STATUS.requeued)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("runs", "examples"), [(1, 150), pytest.param(40, 250, marks=pytest.mark.nightly)])
def test_no_order_of_events_leads_to_an_illegal_state(runs: int, examples: int) -> None:
    for run in range(runs):
        logger.info("%d of %d examples", run * examples, runs * examples)
        run_lives(examples)


def run_lives(examples: int) -> None:
    run_state_machine_as_test(
        LifeOfMails,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def stopped_as_unknown(**fields: Any) -> tuple[Email, Claim]:
    """A mail that was started by a sender who lost its lease, and is held for a person."""
    mail = make_mail(**fields)
    with turn() as cursor:
        (claim,) = claimed(cursor)
        start(cursor, [claim], sender=SENDER, lease_seconds=60)
    end_lease(claim)
    with turn() as cursor:
        reap(cursor, configuration=Configuration(UNKNOWN_OUTCOME="hold"))
    return mail, claim


@pytest.mark.django_db
def test_a_proof_that_comes_late_leaves_the_end_of_its_attempt_before_the_next_claim() -> None:
    mail, claim = stopped_as_unknown()
    orders.requeue([mail.pk], using="default")
    with turn() as cursor:
        claimed(cursor, sender=OTHER)
        settle(cursor, [settlement(claim)])
    first, second = Attempt.objects.order_by("id")

    assert first.outcome == AttemptOutcome.SENT
    assert first.finished_at <= second.claimed_at


@pytest.mark.django_db
def test_an_order_is_for_all_who_do_not_have_the_mail_also_when_a_proof_came_behind_the_stop() -> None:
    mail, claim = stopped_as_unknown(to=list(ADDRESSES))
    results = {address: {"verdict": verdict} for address, verdict in zip(ADDRESSES, (SENT, FAIL, RETRY), strict=True)}
    with turn() as cursor:
        late = settlement(claim, AttemptOutcome.RETRY, is_accepted=True, retry_after=60, recipients=results)
        settle(cursor, [late])
    orders.requeue([mail.pk], using="default")
    with turn() as cursor:
        history = read_histories(cursor, [mail.pk])[mail.pk]

    assert ["bob@example.com", "cid@example.com"] == history.pending(ADDRESSES)
