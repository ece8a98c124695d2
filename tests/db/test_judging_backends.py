"""What the outcomes of one turn do to the backend that all senders share."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone
from post_office.models import Email

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Blame, Outcome, Pace, Reply, Stage, Trouble, Verdict
from mailqueue.models import BackendHealth, SenderProcess
from mailqueue.outbox.messages import letter_of, load
from mailqueue.queue.claim import Claim
from mailqueue.queue.health import read_health
from mailqueue.queue.history import History
from mailqueue.queue.presence import note_alive
from mailqueue.sender.clock import boot_time
from mailqueue.sender.jobs import Job, Lease
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Effects, Plan
from mailqueue.sender.turn import Turn
from tests.support.mails import SENDER, claimed, make_mail, turn

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_session")]

SENT = Outcome(Verdict.SENT, Stage.DONE, reply=Reply(250, "Ok"))
CROWDED = Outcome(Verdict.DEFER, Stage.GREETING, Blame.BACKEND, Trouble.CROWDED, Reply(421, "too many connections"))
THROTTLED = Outcome(Verdict.DEFER, Stage.MAIL, Blame.BACKEND, Trouble.THROTTLED, Reply(454, "slow down", "4.7.0"))
PUT_OFF = Outcome(Verdict.RETRY, Stage.FINAL_DOT, Blame.MESSAGE, reply=Reply(451, "later", "4.3.0"))
SURPRISE = Outcome(Verdict.RETRY, Stage.BUILD, Blame.MESSAGE, error="ZeroDivisionError", pace=Pace.THREE_TIMES)


def a_turn(*, busy: int = 0) -> Turn:
    options = Options(concurrency=8, using="default", sender=SENDER)
    return Turn(options=options, configuration=Configuration(), busy_count=lambda _backend: busy)


def job_of(claim: Claim) -> Job:
    email: Email = load([claim.email_id], using="default")[claim.email_id]
    lease = Lease(asked_at=boot_time(), seconds=60)
    return Job(claim, email, letter_of(email, recipients=list(email.to)), History(), lease)


def settled(sender: Turn, outcomes: Sequence[Outcome]) -> Effects:
    for _ in outcomes:
        make_mail()
    with turn() as cursor:
        claims = claimed(cursor, limit=len(outcomes))
    return sender.run(Plan(results=[(job_of(claim), o) for claim, o in zip(claims, outcomes, strict=True)]))


def events(effects: Effects) -> list[str]:
    return [event.name for event in effects.events]


def test_a_server_with_too_many_connections_gets_half_of_what_all_senders_use() -> None:
    with turn() as cursor:
        for name in (SENDER, "host.2.other"):
            note_alive(cursor, name=name, host="host", version="1", backends=(), connection_count=8)
    sender = a_turn(busy=3)
    sender.run(Plan(rooms={}))
    effects = settled(sender, [CROWDED])

    assert (4, 1, ["backend.crowded"]) == (
        BackendHealth.objects.get(alias="default").connection_limit,
        BackendHealth.objects.get(alias="default").failure_count,
        events(effects),
    )


def test_a_server_that_is_busy_in_the_middle_of_a_mail_gets_half_the_connections_and_no_failure() -> None:
    busy = Outcome(Verdict.DEFER, Stage.RCPT, Blame.BACKEND, Trouble.BUSY, Reply(421, "closing"))
    settled(a_turn(busy=7), [busy])

    assert [(4, 0)] == list(BackendHealth.objects.values_list("connection_limit", "failure_count"))


def test_a_server_that_complains_of_the_rate_is_given_a_rest() -> None:
    BackendHealth.objects.create(alias="default")
    sender = a_turn()
    effects = settled(sender, [SENT, THROTTLED])

    assert ({"default": 1.0}, ["backend.throttled"]) == (effects.waits, events(effects))
    assert sender.limits.is_resting("default")


def test_the_server_s_own_hint_is_the_length_of_the_rest() -> None:
    BackendHealth.objects.create(alias="default")
    hinted = Outcome(Verdict.DEFER, Stage.MAIL, Blame.BACKEND, Trouble.THROTTLED, Reply(454, "", retry_after=90))

    assert {"default": 90} == settled(a_turn(), [hinted]).waits


def test_a_server_that_puts_off_most_mail_within_a_minute_is_given_a_rest() -> None:
    BackendHealth.objects.create(alias="default")
    few, many = settled(a_turn(), [PUT_OFF] * 5), settled(a_turn(), [PUT_OFF] * 25)

    assert ([], ["backend.throttled"]) == (events(few), events(many))


def test_an_answer_in_calm_times_allows_one_connection_more() -> None:
    sender = a_turn(busy=7)
    settled(sender, [CROWDED])
    BackendHealth.objects.update(connections_changed_at="2026-01-01T00:00:00Z")
    with turn() as cursor:
        sender.limits.learn(read_health(cursor))
    settled(sender, [SENT])

    assert [(5, 0)] == list(BackendHealth.objects.values_list("connection_limit", "failure_count"))


@pytest.mark.parametrize(
    ("outcome", "is_due"),
    [
        (Outcome(Verdict.FAIL, Stage.BUILD, Blame.MESSAGE, reply=Reply(0, "no template")), True),
        (Outcome(Verdict.DEFER, Stage.RCPT, Blame.BACKEND, Trouble.BUSY, Reply(421, "closing")), False),
    ],
)
def test_a_probe_is_made_again_at_once_only_where_it_never_reached_the_server(outcome: Outcome, is_due: bool) -> None:
    later = timezone.now() + timedelta(minutes=5)
    BackendHealth.objects.create(alias="default", shut_at=timezone.now(), failure_count=5, probe_at=later)
    sender = a_turn()
    with turn() as cursor:
        sender.limits.learn(read_health(cursor))
    settled(sender, [outcome])

    assert is_due == (BackendHealth.objects.get().probe_at < later)


def test_a_probe_that_is_handed_back_is_made_again_at_once() -> None:
    BackendHealth.objects.create(
        alias="default", shut_at=timezone.now(), probe_at=timezone.now() + timedelta(minutes=5)
    )
    make_mail()
    with turn() as cursor:
        (claim,) = claimed(cursor, limit=1)
    a_turn().run(Plan(returning=[replace(claim, is_probe=True)]))

    assert BackendHealth.objects.get().probe_at <= timezone.now()


def test_one_mail_that_is_throttled_again_and_again_while_others_pass_slows_nobody_down() -> None:
    BackendHealth.objects.create(alias="default")
    sender = a_turn()
    settled(sender, [SENT])
    make_mail()
    with turn() as cursor:
        (claim,) = claimed(cursor, limit=1)
    job = job_of(claim)
    job.history.deferred = 2
    effects = sender.run(Plan(results=[(job, THROTTLED)]))

    assert ({}, []) == (effects.waits, events(effects))


def test_a_sender_shows_up_also_when_it_has_nothing_to_look_for() -> None:
    a_turn().run(Plan(is_showing_up=True))

    assert [SENDER] == list(SenderProcess.objects.values_list("name", flat=True))


def test_what_nobody_foresaw_is_told_to_a_person() -> None:
    assert ["mail.surprised"] == events(settled(a_turn(), [SURPRISE]))
