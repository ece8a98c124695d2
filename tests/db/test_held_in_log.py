"""Mail that waits for a person is told of in the log when it is held, with a fixed word for why and nobody named."""

from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone
from post_office.models import Email
from pytest_django import Settings

from mailqueue.conf import Configuration
from mailqueue.delivery.backends import canonical
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.models import Attempt, RefusedFrom
from mailqueue.ops.states import State, state_of
from mailqueue.outbox.messages import letter_of, load
from mailqueue.queue.claim import Claim
from mailqueue.queue.history import History
from mailqueue.queue.reap import reap
from mailqueue.sender.clock import boot_time
from mailqueue.sender.foregone import outcome_without_sending
from mailqueue.sender.jobs import Job, Lease
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Plan
from mailqueue.sender.reaper import _report as report_reaped
from mailqueue.sender.report import report
from mailqueue.sender.turn import Turn
from tests.support.mails import SENDER, claimed, end_lease, make_mail, turn

pytestmark = pytest.mark.django_db

ALIAS = canonical("")
REFUSED = Outcome(
    Verdict.HOLD,
    Stage.MAIL,
    reply=Reply(550, "<shop@example.com> may not send"),
    blame=Blame.BACKEND,
    trouble=Trouble.SENDER,
)
LOST = Outcome(Verdict.UNKNOWN, Stage.FINAL_DOT, error="ConnectionResetError")


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "mailqueue.sender")
    return caplog


def a_turn(plan: Plan, **values: Any) -> None:
    """Run a turn, and tell of it as the loop does."""
    options = Options(concurrency=1, using="default", sender=SENDER)
    report(Turn(options=options, configuration=Configuration(**values)).run(plan))


def claim_one() -> Claim:
    with turn() as cursor:
        (claim,) = claimed(cursor, limit=1)
    Attempt.objects.update(backend=ALIAS)
    return replace(claim, backend=ALIAS)


def settle(outcome: Outcome | None = None, **values: Any) -> None:
    """Let a sender come to an outcome, or to the one that needs no server."""
    claim = claim_one()
    email = load([claim.email_id], using="default")[claim.email_id]
    letter = letter_of(email, recipients=list(email.to))
    job = Job(claim, email, letter, History(), Lease(asked_at=boot_time(), seconds=60))
    outcome = outcome or outcome_without_sending(job)
    assert outcome
    a_turn(Plan(results=[(job, outcome)]), **values)


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, dict[str, Any]]]:
    found = [(record.levelname, record.message, getattr(record, "fields", {})) for record in caplog.records]
    return [(level, event, fields) for level, event, fields in found if event.startswith(("mail.", "attempt."))]


def held(mail: Email, reason: str) -> dict[str, Any]:
    return {"email": mail.pk, "attempt": 1, "backend": ALIAS, "reason": reason}


def only_held(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Return the fields of the one event about a mail, without those that tell of the attempt."""
    ((level, event, fields),) = events(caplog)
    assert ("WARNING", "mail.held") == (level, event)
    assert "@" not in str(fields)
    return {name: value for name, value in fields.items() if name not in {"seconds", "stage", "code", "error"}}


def test_mail_to_those_who_are_not_allowed(told: pytest.LogCaptureFixture, settings: Settings) -> None:
    settings.MAILQUEUE = {**settings.MAILQUEUE, "ALLOWED_RECIPIENTS": ["example.com"]}
    mail = make_mail(to=["joe@example.net"])
    settle()

    assert held(mail, "allowed_recipients") == only_held(told)


def test_mail_whose_from_the_server_refuses(told: pytest.LogCaptureFixture) -> None:
    mail = make_mail()
    settle(REFUSED)

    assert held(mail, "refused_from") == only_held(told)


def test_mail_of_a_from_that_was_refused_just_before(told: pytest.LogCaptureFixture) -> None:
    mail = make_mail()
    RefusedFrom.objects.create(backend=ALIAS, from_email=mail.from_email, reply="550 no", refused_at=timezone.now())
    a_turn(Plan(starting=[claim_one()]))

    assert (State.HELD, held(mail, "refused_from")) == (state_of(mail).state, only_held(told))


def test_mail_of_a_backend_that_is_not_configured(told: pytest.LogCaptureFixture) -> None:
    mail = make_mail(backend_alias="old-one")
    a_turn(Plan(rooms={ALIAS: 10}))

    assert {**held(mail, "no_backend"), "backend": "old-one"} == only_held(told)


def test_mail_of_which_nobody_knows_whether_it_arrived(told: pytest.LogCaptureFixture) -> None:
    mail = make_mail()
    settle(LOST, UNKNOWN_OUTCOME="hold")

    (_, first, _), (_, second, fields) = events(told)
    assert ("attempt.unknown", "mail.held") == (first, second)
    assert held(mail, "unknown") == {name: fields[name] for name in held(mail, "")}


def test_mail_that_is_sent_once_more_is_not_held(told: pytest.LogCaptureFixture) -> None:
    make_mail()
    settle(LOST, UNKNOWN_OUTCOME="resend")

    assert ["attempt.unknown"] == [event for _, event, _ in events(told)]


@pytest.mark.parametrize(
    ("wish", "expected"), [("hold", ["attempt.unknown", "mail.held"]), ("resend", ["attempt.unknown"])]
)
def test_mail_of_a_dead_sender(told: pytest.LogCaptureFixture, wish: str, expected: list[str]) -> None:
    make_mail()
    claim = claim_one()
    a_turn(Plan(starting=[claim]))
    end_lease(claim)
    with turn() as cursor:
        reaped = reap(cursor, configuration=Configuration(UNKNOWN_OUTCOME=wish))
    report_reaped(reaped)

    assert expected == [event for _, event, _ in events(told)]
