"""One turn of the loop on a real Postgres, and the threads beside it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.db import DatabaseError, DataError, connection
from django.utils import timezone
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.conf import Configuration
from mailqueue.delivery.backends import canonical
from mailqueue.delivery.outcomes import Blame, Outcome, RecipientOutcome, Reply, Stage, Trouble, Verdict
from mailqueue.models import Attempt, AttemptOutcome, BackendHealth, MailState, StopReason
from mailqueue.outbox.messages import letter_of, load
from mailqueue.queue.claim import Claim
from mailqueue.queue.health import Health
from mailqueue.queue.history import History
from mailqueue.queue.settle import settle
from mailqueue.queue.start import start
from mailqueue.sender import pool as pool_module
from mailqueue.sender.clock import boot_time
from mailqueue.sender.foregone import outcome_without_sending
from mailqueue.sender.jobs import Job, Lease
from mailqueue.sender.journal import Acceptance, Journal
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Plan
from mailqueue.sender.pool import Pool
from mailqueue.sender.reaper import Reaper
from mailqueue.sender.turn import Turn
from tests.support.mails import SENDER, claimed, end_lease, make_mail, outcomes, settlement, turn
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_session")]
SENT = Outcome(Verdict.SENT, Stage.DONE, reply=Reply(250, "ok"))
CONFIGURATION = Configuration()


def options() -> Options:
    return Options(concurrency=1, using="default", sender=SENDER)


def make_turn() -> Turn:
    return Turn(options=options(), configuration=CONFIGURATION)


def claim_one() -> Claim:
    with turn() as cursor:
        (claim,) = claimed(cursor, limit=1)
    return claim


def job_of(claim: Claim) -> Job:
    email = load([claim.email_id], using="default")[claim.email_id]
    lease = Lease(asked_at=boot_time(), seconds=60)
    return Job(claim, email, letter_of(email, recipients=list(email.to)), History(), lease)


def unreadable(mail: Email) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE post_office_email SET expires_at = 'infinity' WHERE id = %s", [mail.pk])


def test_a_backend_that_answered_opens_again_even_when_its_turn_had_to_be_repeated() -> None:
    make_mail()
    result = (job_of(claim_one()), SENT)
    bad = make_mail()
    unreadable(bad)
    poison = claim_one()
    BackendHealth.objects.create(alias="default", failure_count=5, shut_at=timezone.now())
    a_turn = make_turn()
    a_turn.limits.learn({"default": Health(failure_count=5, is_shut=True)})
    with pytest.raises(DatabaseError):
        a_turn.run(Plan(results=[result], starting=[poison]))
    a_turn.run(Plan(results=[result]))

    assert None is BackendHealth.objects.get().shut_at


def test_what_nobody_foresaw_is_not_fatal_at_once_because_of_an_outage_before() -> None:
    mail = make_mail()
    for number in range(4):
        Attempt.objects.create(
            email=mail,
            number=number,
            token="0" * 32,
            outcome=AttemptOutcome.DEFERRED,
            sender=SENDER,
            claimed_at=timezone.now(),
            lease_until=timezone.now(),
            finished_at=timezone.now(),
        )
    claim = claim_one()
    make_turn().give_up(Plan(starting=[claim]), ValueError("boo"))
    mail.refresh_from_db()

    assert (STATUS.requeued, "retry") == (mail.status, outcomes(mail)[-1])


def test_who_has_the_mail_stays_known_when_the_servers_words_cannot_be_written() -> None:
    mail = make_mail(to=["ann@example.com", "bob@example.com"])
    results = {
        "ann@example.com": RecipientOutcome(Verdict.SENT, Reply(250, "\ud800")),
        "bob@example.com": RecipientOutcome(Verdict.RETRY, Reply(450, "\ud800")),
    }
    outcome = Outcome(Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, reply=Reply(450, "\ud800"), recipients=results)
    part = Plan(results=[(job_of(claim_one()), outcome)])
    a_turn = make_turn()
    with pytest.raises(DataError) as refused:
        a_turn.run(part)
    a_turn.give_up(part, refused.value)

    recipients = Attempt.objects.get(email=mail).recipients
    assert {"ann@example.com": "sent", "bob@example.com": "retry"} == {a: r["verdict"] for a, r in recipients.items()}


def point_to(settings: Settings, path: str) -> str:
    """Make a delivering backend of this class and return its alias."""
    if django.VERSION >= (6, 1):
        settings.MAILERS = {**settings.MAILERS, "rude": {"BACKEND": path}}
    else:
        settings.POST_OFFICE = {"BACKENDS": {**settings.POST_OFFICE["BACKENDS"], "rude": path}}
    return "rude"


def test_a_backend_that_raises_what_is_no_exception_costs_no_connection(settings: Settings) -> None:
    alias = point_to(settings, "tests.support.rude_backend.EmailBackend")
    mail = make_mail()
    email = load([mail.pk], using="default")[mail.pk]
    pool = Pool(1, accepted=lambda *_: None, wake=lambda: None)
    found = []
    for number in (1, 2):
        claim = Claim(number, mail.pk, 1, "0" * 32, alias, 1)
        lease = Lease(asked_at=boot_time(), seconds=60)
        pool.give(Job(claim, email, letter_of(email, recipients=list(mail.to)), History(), lease))
        found += wait_until(pool.finished)
        pool.forget(pool.finished())
    pool.stop(timeout=10)

    # It was past the fence: nobody can tell whether the backend had sent it.
    assert [Verdict.UNKNOWN, Verdict.UNKNOWN] == [outcome.verdict for _, outcome in found]


def test_a_result_that_was_put_aside_rests_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "ASIDE_SECONDS", (100, 200))
    make_mail()
    job = job_of(claim_one())
    pool = Pool(1, accepted=lambda *_: None, wake=lambda: None)
    pool.finish(job, SENT)
    pool.put_aside(job)
    first = pool.next_aside_at
    pool.put_aside(job)
    pool.stop(timeout=10)

    assert ([], True) == (pool.finished(), pool.next_aside_at > first + 50)
    pool.forget([(job, SENT)])
    assert pool.next_aside_at == float("inf")


def reaper_of(folder: Path, journal: Journal, *, held: Sequence[int] = ()) -> Reaper:
    return Reaper(folder, journal=journal, options=options(), configuration=CONFIGURATION, held=lambda: held)


def leave_journal(folder: Path, *acceptances: Acceptance) -> Path:
    journal = Journal(folder, sender="host.9.dead")
    for acceptance in acceptances:
        journal.write(acceptance)
    os.close(journal._fd)
    return journal.path


def test_what_a_dead_sender_left_unknown_is_counted_for_its_backend(tmp_path: Path) -> None:
    make_mail()
    claim = claim_one()
    with turn() as cursor:
        start(cursor, [claim], sender=SENDER, lease_seconds=60)
    end_lease(claim)
    counted: list[str] = []
    reaper = Reaper(
        tmp_path,
        journal=Journal(tmp_path, sender=SENDER),
        options=options(),
        configuration=CONFIGURATION,
        note_unknown=counted.extend,
    )
    reaper.reap_if_due()

    assert ["default"] == counted


def test_the_proof_in_a_dead_journal_settles_the_mail_and_the_journal_goes(tmp_path: Path) -> None:
    mail = make_mail()
    claim = claim_one()
    path = leave_journal(tmp_path, Acceptance.of(settlement(claim, reply_code=250, reply="ok")))
    own = Journal(tmp_path, sender=SENDER)
    reaper_of(tmp_path, own).reap_if_due()
    mail.refresh_from_db()
    own.close(is_settled=True)

    assert (STATUS.sent, False) == (mail.status, path.exists())


def test_a_journal_of_another_database_is_left_for_those_who_know_it(tmp_path: Path) -> None:
    make_mail()
    claim = claim_one()
    stranger = Claim(claim.attempt_id, claim.email_id, 1, "1" * 32, "default", 1)
    path = leave_journal(tmp_path, Acceptance.of(settlement(stranger)))
    own = Journal(tmp_path, sender=SENDER)
    reaper_of(tmp_path, own).reap_if_due()
    own.close(is_settled=True)

    assert (True, None) == (path.exists(), Attempt.objects.get().outcome)


def test_a_journal_that_nobody_knew_for_long_goes(tmp_path: Path) -> None:
    make_mail()
    claim = claim_one()
    stranger = Claim(claim.attempt_id, claim.email_id, 1, "1" * 32, "default", 1)
    path = leave_journal(tmp_path, Acceptance.of(settlement(stranger)))
    os.utime(path, (0, 0))
    own = Journal(tmp_path, sender=SENDER)
    reaper_of(tmp_path, own).reap_if_due()
    own.close(is_settled=True)

    assert not path.exists()


@pytest.mark.parametrize(("age", "expected"), [(None, True), (0, False)])
def test_a_journal_with_a_line_that_nobody_could_read_is_left_until_it_is_old(
    age: int | None, expected: bool, tmp_path: Path
) -> None:
    mail = make_mail()
    path = leave_journal(tmp_path, Acceptance.of(settlement(claim_one())))
    path.write_bytes(path.read_bytes() + b'{"of": "another version"}\n')
    if age is not None:
        os.utime(path, (age, age))
    own = Journal(tmp_path, sender=SENDER)
    reaper_of(tmp_path, own).reap_if_due()
    mail.refresh_from_db()
    own.close(is_settled=True)

    assert (STATUS.sent, expected) == (mail.status, path.exists())


def test_beside_a_dead_journal_a_sender_leaves_alone_what_it_is_sending_itself(tmp_path: Path) -> None:
    mail = make_mail()
    claim = claim_one()
    with turn() as cursor:
        start(cursor, [claim], sender=SENDER, lease_seconds=60)
    end_lease(claim)
    leave_journal(tmp_path)
    own = Journal(tmp_path, sender=SENDER)
    reaper_of(tmp_path, own, held=[claim.attempt_id]).reap_if_due()
    own.close(is_settled=True)

    assert [None] == outcomes(mail)


def shut_turn() -> Turn:
    BackendHealth.objects.create(alias="default", failure_count=5, shut_at=timezone.now())
    a_turn = make_turn()
    a_turn.limits.learn({"default": Health(failure_count=5, is_shut=True)})
    return a_turn


def test_a_probe_whose_mail_was_cancelled_meanwhile_is_made_again_at_once() -> None:
    mail = make_mail()
    claim = claim_one()
    Email.objects.filter(pk=mail.pk).update(status=STATUS.failed)
    effects = shut_turn().run(Plan(starting=[claim]))

    assert ([], False) == (effects.started, BackendHealth.objects.get().probe_at is None)
    assert not Attempt.objects.exists()


def test_a_probe_whose_mail_could_not_be_built_is_made_again_at_once() -> None:
    make_mail()
    failed = Outcome(Verdict.FAIL, Stage.BUILD, Blame.MESSAGE, reply=Reply(0, "no such template"))
    shut_turn().run(Plan(results=[(job_of(claim_one()), failed)]))

    assert None is not BackendHealth.objects.get().probe_at


def test_a_probe_whose_mail_had_nobody_left_opens_nothing_and_is_made_again_at_once() -> None:
    mail = make_mail()
    job = job_of(claim_one())
    job = replace(job, letter=letter_of(job.email, recipients=[]), history=History(accepted=set(mail.to)))
    outcome = outcome_without_sending(job)
    assert outcome is not None
    shut_turn().run(Plan(results=[(job, outcome)]))
    backend, attempt = BackendHealth.objects.get(), Attempt.objects.get()

    assert (False, False) == (backend.shut_at is None, backend.probe_at is None)
    assert ("sent", "") == (attempt.outcome, attempt.stage)


def test_a_mail_all_of_whose_recipients_were_refused_failed_under_whatever_spelling() -> None:
    mail = make_mail(to=["ann@example.com", "Ann <ann@EXAMPLE.com>"])
    history = History(refused={"ann@example.com"})
    pending = history.pending(["ann@example.com", "Ann <ann@EXAMPLE.com>"])
    job = replace(job_of(claim_one()), history=history)
    job = replace(job, letter=letter_of(job.email, recipients=pending))
    outcome = outcome_without_sending(job)
    assert outcome is not None
    shut_turn().run(Plan(results=[(job, outcome)]))

    assert [] == pending
    assert ("failed", STATUS.failed) == (Attempt.objects.get().outcome, Email.objects.get(pk=mail.pk).status)


@pytest.mark.parametrize("identity", [{}, {"message_id": "<1@example.com>", "headers": {"Date": "now"}}])
def test_a_mail_that_expired_while_it_was_tried_is_claimed_at_once_and_stopped(identity: dict[str, Any]) -> None:
    mail = make_mail(**identity)
    claim = claim_one()
    with turn() as cursor:
        start(cursor, [claim], sender=SENDER, lease_seconds=60)
        Email.objects.update(expires_at=timezone.now() - timedelta(hours=1))
        settle(cursor, [settlement(claim, AttemptOutcome.RETRY, retry_after=600.0)])
    effects = make_turn().run(Plan(starting=[claim_one()]))

    assert ([], ["retry", "expired"]) == (effects.started, outcomes(mail))
    assert StopReason.EXPIRED == MailState.objects.get().reason


def test_a_usual_turn_settles_what_was_accepted_and_starts_what_comes_next() -> None:
    identity = {"message_id": "<1@example.com>", "headers": {"Date": "now"}}
    make_mail(**identity)
    job = job_of(claim_one())
    job.accepted_as = settlement(job.claim)
    make_mail(**identity)
    following = claim_one()
    effects = make_turn().run(Plan(results=[(job, SENT)], starting=[following]))

    assert [job.accepted_as] == [settled for _, settled in effects.settlements]
    assert [following] == [started.claim for started in effects.started]


def test_claims_are_handed_back() -> None:
    make_mail()
    make_turn().hand_back([claim_one()])

    assert not Attempt.objects.exists()


def test_a_backend_that_is_shut_in_the_turn_that_looks_is_told_with_the_mail_that_waits_for_it() -> None:
    for _ in range(6):
        make_mail()
    refused = Outcome(
        Verdict.DEFER, Stage.CONNECT, Blame.BACKEND, Trouble.CONNECT, Reply(0, "Connection refused"), "OSError"
    )
    with turn() as cursor:
        claims = [replace(claim, backend=canonical("")) for claim in claimed(cursor, limit=5)]
    results = [(job_of(claim), refused) for claim in claims]
    effects = make_turn().run(Plan(results=results, rooms={canonical(""): 10}))

    assert ({canonical(""): "connect: Connection refused"}, []) == (effects.found.shut, effects.found.claims)
