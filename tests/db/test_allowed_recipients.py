"""ALLOWED_RECIPIENTS: mail to anybody else is held before it is sent, and whoever looks is told."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from post_office.models import STATUS, Email
from pytest_django import Settings

import mailqueue
from mailqueue.conf import Configuration
from mailqueue.models import Attempt, AttemptOutcome, BackendHealth, MessageSource, RefusedFrom
from mailqueue.ops.states import State, state_of
from mailqueue.outbox.messages import letter_of, load, recipients_of
from mailqueue.queue.health import Health
from mailqueue.queue.history import History
from mailqueue.sender.clock import boot_time
from mailqueue.sender.foregone import outcome_without_sending
from mailqueue.sender.jobs import Job, Lease
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Plan
from mailqueue.sender.turn import Turn
from mailqueue.testing import drain, queueing
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.mails import SENDER, claimed, make_mail, turn
from tests.support.situations import make_attempt

pytestmark = pytest.mark.django_db

SENTENCE = "Only mail to example.com is sent from here (ALLOWED_RECIPIENTS); everything else is held."


@pytest.fixture(autouse=True)
def allowed(settings: Settings) -> None:
    settings.MAILQUEUE = {**settings.MAILQUEUE, "ALLOWED_RECIPIENTS": ["example.com"]}


def job_of(mail: Email) -> Job:
    with turn() as cursor:
        (claim,) = claimed(cursor, limit=1)
    email = load([mail.pk], using="default")[mail.pk]
    lease = Lease(asked_at=boot_time(), seconds=60)
    return Job(claim, email, letter_of(email, recipients=recipients_of(email)), History(), lease)


def a_turn() -> Turn:
    return Turn(options=Options(concurrency=1, using="default", sender=SENDER), configuration=Configuration())


def is_held(mail: Email) -> bool:
    """Let a sender decide, and return whether the mail is held."""
    job = job_of(mail)
    outcome = outcome_without_sending(job)
    if outcome is None:
        return False
    a_turn().run(Plan(results=[(job, outcome)]))
    return state_of(mail).state == State.HELD


def test_mail_to_those_who_are_allowed_is_sent() -> None:
    assert not is_held(make_mail(to=["Jane <jane@EXAMPLE.com>"]))


@pytest.mark.parametrize(
    "fields", [{"to": ["joe@example.net"]}, {"cc": ["joe@example.net"]}, {"bcc": ["joe@x.example"]}]
)
def test_mail_to_anybody_else_is_held_and_says_why(fields: dict[str, Any]) -> None:
    mail = make_mail(**fields)

    assert is_held(mail)
    assert 'MAILQUEUE["ALLOWED_RECIPIENTS"] did not allow joe@' in state_of(mail).detail


def test_a_mail_to_many_names_a_few() -> None:
    mail = make_mail(to=[f"{name}@example.net" for name in "abcde"])
    is_held(mail)

    assert "allow a@example.net, b@example.net, c@example.net and 2 more when it was due." in state_of(mail).detail


def test_the_envelope_decides_and_not_what_the_columns_show() -> None:
    mail = make_mail()
    MessageSource.objects.create(
        email=mail, envelope_from="", recipients=["joe@example.net"], message=b"Subject: x\n\n"
    )

    assert is_held(mail)


def test_mail_that_was_written_by_sql_is_held_too() -> None:
    mail = make_mail()
    with connection.cursor() as cursor:
        cursor.execute('UPDATE post_office_email SET "to" = %s', ["jane@example.com, joe@example.net"])

    assert is_held(mail)


def test_what_is_no_address_is_held() -> None:
    mail = make_mail()
    Email.objects.update(bcc="nobody")

    assert is_held(mail)


def test_recipients_who_take_the_place_of_the_others_are_asked_for(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "OVERRIDE_RECIPIENTS": ["dev@example.com"]}

    assert (False, True) == (is_held(make_mail(to=["joe@example.net"])), is_held(make_mail(bcc=["joe@example.net"])))


def test_a_mail_that_is_held_costs_no_attempt_and_is_nobodys_fault() -> None:
    mail = make_mail(to=["joe@example.net"])
    is_held(mail)
    attempt = Attempt.objects.get(email=mail)

    assert (AttemptOutcome.DEFERRED, False, "build") == (attempt.outcome, attempt.is_counted, attempt.stage)
    assert (0, []) == (RefusedFrom.objects.count(), list(BackendHealth.objects.filter(failure_count__gt=0)))


def test_a_probe_that_is_held_leaves_the_probe_to_the_next_mail() -> None:
    long_ago = timezone.now()
    row = BackendHealth.objects.create(alias="default", shut_at=long_ago, probe_at=long_ago + timedelta(hours=1))
    job = job_of(make_mail(to=["joe@example.net"]))
    outcome = outcome_without_sending(job)
    assert outcome is not None
    sender = a_turn()
    sender.limits.learn({"default": Health(is_shut=True)})
    sender.run(Plan(results=[(job, outcome)]))
    row.refresh_from_db()

    assert (True, True) == (row.shut_at is not None, row.probe_at is not None and row.probe_at <= timezone.now())


def test_whoever_queues_it_again_has_it_held_again_until_the_setting_allows_it(settings: Settings) -> None:
    mail = make_mail(to=["joe@example.net"])
    is_held(mail)
    mailqueue.requeue(mail)

    assert is_held(mail)
    mailqueue.requeue(mail)
    settings.MAILQUEUE = {**settings.MAILQUEUE, "ALLOWED_RECIPIENTS": ["example.com", "joe@*.net"]}
    assert not is_held(mail)


@pytest.mark.parametrize("name", ["resend", "mailqueue_email_release"])
def test_whoever_is_asked_is_told_that_it_will_be_held_again_and_for_whom(admin_client: Client, name: str) -> None:
    mail = make_mail(to=["joe@example.net", "jane@example.com"])
    is_held(mail)
    page = admin_client.get(reverse(f"admin:{name}", args=[mail.pk])).content.decode()

    assert "It will be held again: ALLOWED_RECIPIENTS does not allow joe@example.net." in page
    assert "These will get it" not in page


def test_of_mail_that_was_not_held_before_it_says_that_it_will_be_held(admin_client: Client) -> None:
    mail = make_mail(to=["joe@example.net"], status=STATUS.sent)
    page = admin_client.get(reverse("admin:resend", args=[mail.pk])).content.decode()

    assert "It will be held: ALLOWED_RECIPIENTS does not allow joe@example.net." in page
    assert "will get it again:" not in page


def test_whoever_has_the_mail_already_need_not_be_allowed(admin_client: Client) -> None:
    mail = make_mail(to=["joe@example.net", "jane@example.com"], status=STATUS.sent)
    results = {
        "joe@example.net": {"verdict": "sent", "code": 250, "enhanced": "", "reply": "ok"},
        "jane@example.com": {"verdict": "fail", "code": 550, "enhanced": "5.1.1", "reply": "no such user"},
    }
    make_attempt(mail, AttemptOutcome.PARTLY_SENT, recipients=results)
    page = admin_client.get(reverse("admin:resend", args=[mail.pk])).content.decode()

    assert (True, False) == ("These will get it:" in page, "It will be held" in page)


@pytest.mark.parametrize("lines", [("ann@example.net", "jane@example.com"), ("ann@example.com", "jim@example.net")])
def test_an_address_that_is_not_allowed_is_refused_on_the_spot(admin_client: Client, lines: tuple[str, str]) -> None:
    mail = make_mail(to=["joe@example.net", "jane@example.com"])
    is_held(mail)
    address = reverse("admin:mailqueue_email_correct", args=[mail.pk])
    context = admin_client.get(address).context
    data = {"seen": context["form"].seen, "asked": context["asked"], "address-0": lines[0], "address-1": lines[1]}
    page = admin_client.post(address, data, follow=True).content.decode()

    (stranger,) = (line for line in lines if line.endswith("net"))
    assert f"{stranger} is not allowed by ALLOWED_RECIPIENTS: the mail would be held." in page
    assert State.HELD == state_of(mail).state


def test_an_address_that_stays_and_is_not_allowed_is_refused_too(admin_client: Client) -> None:
    mail = make_mail(to=["joe@example.net", "jane@example.com"])
    is_held(mail)
    address = reverse("admin:mailqueue_email_correct", args=[mail.pk])
    context = admin_client.get(address).context
    data = {"seen": context["form"].seen, "asked": context["asked"]}
    data |= {"address-0": "joe@example.net", "address-1": "ann@example.com"}
    page = admin_client.post(address, data, follow=True).content.decode()

    assert "joe@example.net is not allowed by ALLOWED_RECIPIENTS: the mail would be held." in page
    assert State.HELD == state_of(mail).state


@pytest.mark.parametrize("page", ["post_office_email_changelist", "mailqueue_backendhealth_changelist"])
def test_the_lists_of_the_admin_say_who_gets_mail(admin_client: Client, page: str) -> None:
    assert SENTENCE in admin_client.get(reverse(f"admin:{page}")).content.decode()


def test_the_pages_of_a_mail_and_of_a_backend_say_it_too(admin_client: Client) -> None:
    mail = make_mail(status=STATUS.sent)
    BackendHealth.objects.create(alias="default")
    addresses = [
        reverse("admin:post_office_email_change", args=[mail.pk]),
        reverse("admin:resend", args=[mail.pk]),
        reverse("admin:mailqueue_backendhealth_change", args=["default"]),
        reverse("admin:mailqueue_backendhealth_pause", args=["default"]),
    ]

    assert [] == [url for url in addresses if SENTENCE not in admin_client.get(url).content.decode()]


def test_where_mail_may_go_to_everybody_nothing_is_said(admin_client: Client, settings: Settings) -> None:
    settings.MAILQUEUE = {**settings.MAILQUEUE, "ALLOWED_RECIPIENTS": None}
    page = admin_client.get(reverse("admin:post_office_email_changelist")).content.decode()

    assert "ALLOWED_RECIPIENTS" not in page + status()


def status(**options: Any) -> str:
    out = StringIO()
    call_command("mailqueue_status", stdout=out, **options)
    return out.getvalue()


def test_the_status_says_it_as_text_and_as_json() -> None:
    assert (True, ["example.com"]) == (SENTENCE in status(), json.loads(status(json=True))["allowed_recipients"])


def test_a_test_mail_to_anybody_else_is_refused_before_it_is_queued() -> None:
    with pytest.raises(CommandError, match=r"joe@example.net is not allowed. Only mail to example.com"):
        call_command("mailqueue_send_test", "joe@example.net")

    assert 0 == Email.objects.count()


@pytest.mark.parametrize("is_dry_run", [True, False])
def test_whoever_queues_mail_again_at_a_terminal_is_told(is_dry_run: bool) -> None:
    out = StringIO()
    call_command("mailqueue_requeue", make_mail(status=STATUS.failed).pk, dry_run=is_dry_run, stdout=out)

    assert SENTENCE in out.getvalue()


def test_a_drain_of_a_test_holds_as_a_sender_does() -> None:
    with SmtpServer() as server, queueing(server=server):
        held, sent = make_mail(to=["joe@example.net"]), make_mail()
        drain()

    assert (State.HELD, State.SENT, 1) == (state_of(held).state, state_of(sent).state, len(server.messages))
