"""What `mailqueue.testing` gives to the tests of a site: an outbox, `drain()`, and a server that is delivered to."""

import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.core import mail
from django.core.mail import EmailMessage, send_mail
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase
from django.utils import timezone
from post_office.models import STATUS, Email
from pytest_django import Settings

import mailqueue
from mailqueue.delivery.backends import canonical
from mailqueue.models import Attempt, BackendHealth, SenderProcess
from mailqueue.sender.jobs import Job
from mailqueue.testing import Command, Drained, Outbox, Silence, SmtpServer, Unanswered, drain, queueing
from mailqueue.testing.draining import Draining

pytest_plugins = ["mailqueue.testing.plugin"]

CHECKOUT = Path(__file__).resolve().parents[2]
needs_mailers = pytest.mark.skipif(django.VERSION < (6, 1), reason="Django 5.2 has no MAILERS")


def queue(*recipients: str, subject: str = "Your order") -> None:
    send_mail(subject, "Thank you.", "shop@example.com", list(recipients or ["ann@example.com"]))


def settings_of_session() -> tuple[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        (lock_timeout,) = cursor.fetchone()
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        return lock_timeout, cursor.fetchone()[0]


def test_mail_waits_in_the_outbox_until_it_is_drained(mailqueue_outbox: Outbox) -> None:
    queue("ann@example.com")
    waiting = [(queued.subject, queued.body, queued.recipients) for queued in mailqueue_outbox.queued]
    before = mailqueue_outbox.sent
    drained = mailqueue_outbox.drain()

    assert ([("Your order", "Thank you.", ("ann@example.com",))], []) == (waiting, before)
    assert (Drained(sent=1), 1, []) == (drained, drained.attempts, mailqueue_outbox.queued)
    assert [("Your order", ["ann@example.com"])] == [(sent.subject, sent.to) for sent in mailqueue_outbox.sent]


def test_mail_is_found_by_whom_it_is_for(mailqueue_outbox: Outbox) -> None:
    queue("Ann <ann@example.com>", subject="One")
    EmailMessage("Two", "", None, ["bob@example.com"], bcc=["ANN@example.com"]).send()
    queue("bob@example.com", subject="Three")

    assert ["One", "Two"] == [queued.subject for queued in mailqueue_outbox.to("Ann@Example.com")]
    assert [] == mailqueue_outbox.to("eve@example.com")


def test_a_queued_mail_says_what_it_is_and_names_its_row(mailqueue_outbox: Outbox) -> None:
    queue("ann@example.com")
    (queued,) = mailqueue_outbox.queued

    assert f"<QueuedMail {queued.email.pk} 'Your order' to ann@example.com>" == repr(queued)
    assert [queued.email.pk] == mailqueue.cancel(queued.email)
    assert [] == mailqueue_outbox.queued


def test_what_is_rolled_back_is_not_in_the_outbox(mailqueue_outbox: Outbox) -> None:
    with transaction.atomic():
        queue()
        transaction.set_rollback(True)

    assert (Drained(), []) == (mailqueue_outbox.drain(), mailqueue_outbox.queued)


def test_mail_goes_out_in_the_order_of_the_queue(mailqueue_outbox: Outbox) -> None:
    for number in range(20):
        queue(subject=str(number))
    mailqueue.send("ann@example.com", subject="hot", message="", priority="high")
    drained = mailqueue_outbox.drain()

    assert ["hot", *map(str, range(20))] == [sent.subject for sent in mailqueue_outbox.sent]
    assert Drained(sent=21) == drained


def test_mail_that_is_scheduled_stays(mailqueue_outbox: Outbox) -> None:
    mailqueue.send("ann@example.com", subject="Later", scheduled_time=timezone.now() + timedelta(hours=1))

    assert (Drained(), 1) == (mailqueue_outbox.drain(), len(mailqueue_outbox.queued))


def test_mail_that_is_refused_for_now_waits_for_its_next_try(
    mailqueue_outbox: Outbox, smtp_server: SmtpServer
) -> None:
    smtp_server.script.set("BODY", "451 4.3.0 Try later")
    queue()

    assert (Drained(retry=1), Drained()) == (mailqueue_outbox.drain(), mailqueue_outbox.drain())
    assert 1 == len(mailqueue_outbox.queued)


def test_a_refusal_of_one_recipient_leaves_the_mail_partly_sent(
    mailqueue_outbox: Outbox, smtp_server: SmtpServer
) -> None:
    def refuse_eve(command: Command) -> str | None:
        return "550 5.1.1 Unknown" if "eve@" in command.argument else None

    smtp_server.script.set("RCPT", refuse_eve)
    queue("ann@example.com", "eve@example.com")
    queue("eve@example.com")

    assert Drained(partly_sent=1, failed=1) == drain()
    assert [("ann@example.com",)] == [accepted.recipients for accepted in smtp_server.messages]


def test_a_lost_reply_is_an_unknown_outcome(mailqueue_outbox: Outbox, smtp_server: SmtpServer) -> None:
    smtp_server.script.set("BODY", [Unanswered()])
    queue()

    assert (Drained(unknown=1), 1) == (drain(), len(smtp_server.messages))


def test_what_expired_is_counted_as_such(mailqueue_outbox: Outbox) -> None:
    mailqueue.send("ann@example.com", subject="Late", expires_at=timezone.now() + timedelta(hours=1))
    Email.objects.update(expires_at=timezone.now() - timedelta(hours=1))

    assert (Drained(expired=1), []) == (drain(), mailqueue_outbox.sent)


def test_mail_that_nobody_is_to_get_is_settled_without_a_connection(
    mailqueue_outbox: Outbox, smtp_server: SmtpServer
) -> None:
    Email.objects.create(from_email="shop@example.com", to=[], status=STATUS.queued)

    assert (1, 0) == (drain().attempts, smtp_server.connect_count)


def test_mail_whose_backend_is_gone_is_held_and_the_rest_is_sent(mailqueue_outbox: Outbox) -> None:
    Email.objects.create(from_email="a@example.com", to=["b@example.com"], status=STATUS.queued, backend_alias="gone")
    queue()

    assert (Drained(sent=1, deferred=1), []) == (drain(), mailqueue_outbox.queued)


def test_a_limit_is_how_many_attempts_are_made(mailqueue_outbox: Outbox) -> None:
    for _ in range(5):
        queue()

    assert (Drained(sent=2), 3) == (drain(limit=2, concurrency=4), len(mailqueue_outbox.queued))
    assert (Drained(), 0) == (drain(limit=0), Attempt.objects.open().count())
    assert Drained(sent=3) == drain(limit=10)


def test_several_connections_may_be_used_at_once(mailqueue_outbox: Outbox, smtp_server: SmtpServer) -> None:
    smtp_server.latency = 0.01
    for _ in range(12):
        queue()

    assert Drained(sent=12) == drain(concurrency=4)
    assert 1 < smtp_server.most_open_connections <= 4


def test_a_server_that_is_silent_is_not_waited_for_for_ever(
    mailqueue_outbox: Outbox, smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Draining._send

    def send_in_the_last_second(draining: Draining, job: Job) -> None:
        send(draining, job)
        draining._deadline = time.monotonic() + 1

    monkeypatch.setattr(Draining, "_send", send_in_the_last_second)
    smtp_server.script.set("DATA", Silence())
    queue()
    with pytest.raises(AssertionError, match=r"drain\(\) was not done after 20 s; 1 mail is being delivered"):
        drain(seconds=20)

    assert (0, 1) == (Attempt.objects.open().count(), len(mailqueue_outbox.queued))


def test_a_server_that_is_down_is_not_asked_for_ever(mailqueue_outbox: Outbox, smtp_server: SmtpServer) -> None:
    for _ in range(10):
        queue()
    smtp_server.stop()
    drained = drain()

    assert (0, 10) == (drained.sent, len(mailqueue_outbox.queued))
    assert 0 < drained.deferred <= 10
    assert BackendHealth.objects.filter(shut_at__isnull=False).exists()


def test_a_backend_that_is_shut_is_probed_and_then_used(mailqueue_outbox: Outbox) -> None:
    past = timezone.now() - timedelta(hours=1)
    BackendHealth.objects.create(alias=canonical(""), failure_count=5, shut_at=past, probe_at=past)
    for _ in range(3):
        queue()

    assert Drained(sent=3) == drain()


def test_a_backend_that_is_paused_is_left_alone(mailqueue_outbox: Outbox) -> None:
    BackendHealth.objects.create(alias=canonical(""), paused_at=timezone.now())
    queue()

    assert (Drained(), 1) == (drain(), len(mailqueue_outbox.queued))


THROTTLED = "454 4.7.0 Throttling failure: Maximum sending rate exceeded."


def test_after_a_server_has_asked_for_a_pause_the_rest_is_sent(
    mailqueue_outbox: Outbox, smtp_server: SmtpServer
) -> None:
    smtp_server.script.set("MAIL", [None, THROTTLED])
    for _ in range(4):
        queue()
    drained = drain()

    # What was refused waits for a moment that does not come in this transaction.
    assert (Drained(sent=3, deferred=1), 1) == (drained, len(mailqueue_outbox.queued))


def test_a_pause_that_is_longer_than_one_wants_to_wait_is_not_waited_for(
    mailqueue_outbox: Outbox, smtp_server: SmtpServer
) -> None:
    smtp_server.script.set("MAIL", [None, f"{THROTTLED} Try again in 50 seconds."])
    for _ in range(4):
        queue()
    drained = drain(seconds=20)

    assert (Drained(sent=1, deferred=1), 3) == (drained, len(mailqueue_outbox.queued))
    assert 0 == Attempt.objects.open().count()


def test_a_limiter_that_is_not_known_fails_no_mail(mailqueue_outbox: Outbox, smtp_server: SmtpServer) -> None:
    smtp_server.limits.rate_limit = 4
    for _ in range(6):
        queue()
    drained = drain()

    assert (6, 6) == (drained.attempts, drained.sent + drained.deferred)
    assert drained.deferred == smtp_server.refused_count == len(mailqueue_outbox.queued)


class TestSettingsThatATestChangesToo:
    """pytest-django's `settings` are undone after the outbox's, in whatever order a test asks for them."""

    def test_one(self, settings: Settings, mailqueue_outbox: Outbox, smtp_server: SmtpServer) -> None:
        settings.MAILQUEUE = {**settings.MAILQUEUE, "UNKNOWN_OUTCOME": "hold"}
        smtp_server.script.set("BODY", Unanswered())
        queue()

        assert (Drained(unknown=1), []) == (drain(), mailqueue_outbox.queued)

    @pytest.fixture(autouse=True)
    def nothing_stays(self) -> Iterator[None]:
        from django.conf import settings

        names = ("EMAIL_BACKEND", "POST_OFFICE", "MAILQUEUE", "MAILERS", "EMAIL_PORT")
        before = {name: getattr(settings, name) for name in names if hasattr(settings, name)}
        yield
        assert before == {name: getattr(settings, name) for name in names if hasattr(settings, name)}


def test_the_transaction_of_the_test_stays_open_and_as_it_was(mailqueue_outbox: Outbox) -> None:
    before = settings_of_session()
    wrapped = connection.connection
    queue()
    drain()

    assert (True, wrapped, before) == (connection.in_atomic_block, connection.connection, settings_of_session())
    assert ([], 0) == (connection.savepoint_ids[2:], SenderProcess.objects.count())


def test_a_drain_that_fails_leaves_the_transaction_usable(mailqueue_outbox: Outbox) -> None:
    queue()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE post_office_email SET expires_at = 'infinity'")
    with pytest.raises(Exception, match=r"-infinity|range|timestamp"):
        drain()

    assert (1, 0) == (Email.objects.count(), Attempt.objects.open().count())


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_around_it_a_drain_commits(mailqueue_outbox: Outbox) -> None:
    queue()

    assert (Drained(sent=1), False) == (drain(), connection.in_atomic_block)
    assert 1 == Attempt.objects.closed().count()


class Site(TestCase):
    """With unittest: Django's TestCase, whose `on_commit` never comes."""

    def test_a_test_case_queues_and_drains(self) -> None:
        with queueing() as outbox:
            queue()
            assert 1 == len(outbox.queued)
            assert Drained(sent=1) == drain()

        assert ["Your order"] == [sent.subject for sent in mail.outbox]

    def test_outside_of_the_block_mail_goes_where_the_test_runner_says(self) -> None:
        with queueing():
            pass
        queue()

        assert (1, 0) == (len(mail.outbox), Email.objects.count())

    def test_a_server_is_delivered_to(self) -> None:
        with SmtpServer(users={"shop": "secret"}) as server, queueing(server=server):
            queue()
            drained = drain()

        assert (Drained(sent=1), "shop") == (drained, server.sessions[0].user)


class CommittingSite(TransactionTestCase):
    def test_a_transaction_test_case_drains_too(self) -> None:
        outbox = self.enterContext(queueing())
        queue()

        assert (Drained(sent=1), 1) == (outbox.drain(), len(outbox.sent))


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_server_with_tls_is_trusted(tls: Any, db: None) -> None:
    before = os.environ.get("SSL_CERT_FILE")
    with SmtpServer(tls=tls) as server, queueing(server=server):
        queue()
        drained = drain()

    assert (Drained(sent=1), True) == (drained, server.sessions[0].is_encrypted)
    assert before == os.environ.get("SSL_CERT_FILE")


@pytest.mark.parametrize("certificate", ["expired", "wrong_host", "untrusted"])
def test_a_server_with_a_bad_certificate_gets_no_mail(certificate: Any, db: None) -> None:
    with SmtpServer(tls="starttls", certificate=certificate) as server, queueing(server=server) as outbox:
        queue()
        drained = drain()

        assert (0, [], 1) == (drained.sent, server.messages, len(outbox.queued))


class TestWithOptions:
    @pytest.fixture
    def smtp_server_options(self) -> dict[str, Any]:
        return {"size_limit": 100}

    def test_the_server_of_the_fixture_takes_options(self, smtp_server: SmtpServer) -> None:
        queue(subject="x" * 200)

        assert (Drained(failed=1), []) == (drain(), smtp_server.messages)


class TestWithABackendOfItsOwn:
    @pytest.fixture
    def mailqueue_backend(self) -> str:
        return "tests.support.rude_backend.EmailBackend"

    def test_the_outbox_delivers_by_the_backend_that_is_named(self, mailqueue_outbox: Outbox) -> None:
        queue()

        assert (Drained(unknown=1), []) == (drain(), mailqueue_outbox.sent)


def test_the_mail_of_a_site_that_has_no_mailers_is_queued_too(settings: Settings, db: None) -> None:
    if hasattr(settings, "MAILERS"):
        del settings.MAILERS
    settings.POST_OFFICE = {}
    with SmtpServer() as server, queueing(server=server):
        queue()

        assert (Drained(sent=1), 1) == (drain(), len(server.messages))


@needs_mailers
def test_each_mailer_that_queues_on_the_site_queues_and_the_others_deliver(settings: Settings, db: None) -> None:
    mailers = {
        "default": {"BACKEND": "mailqueue.EmailBackend"},
        "reports": {"BACKEND": "mailqueue.AutonomousEmailBackend", "OPTIONS": {"fail_silently": True}},
        "old": {"BACKEND": "post_office.EmailBackend"},
        "smtp": {},
    }
    settings.MAILERS = mailers
    with queueing() as outbox:
        for alias in mailers:
            EmailMessage(alias, "", None, ["ann@example.com"]).send(using=alias)

        assert ["default", "reports", "old"] == [queued.subject for queued in outbox.queued]
        assert ["smtp"] == [sent.subject for sent in outbox.sent]
        assert (Drained(sent=3), 4) == (drain(), len(outbox.sent))


@needs_mailers
def test_a_site_that_has_not_switched_to_the_queue_yet_queues_in_its_tests(settings: Settings, db: None) -> None:
    settings.MAILERS = {"default": {}}
    settings.POST_OFFICE = {}
    with queueing() as outbox:
        queue()

        assert (1, Drained(sent=1), 1) == (len(outbox.queued), drain(), len(outbox.sent))


PLUGIN_ONLY = """
import sys
import mailqueue.testing.plugin
print([name for name in ("django", "post_office", "asyncio") if name in sys.modules])
"""


def test_the_plugin_is_cheap_and_needs_no_settings() -> None:
    run = subprocess.run([sys.executable, "-c", PLUGIN_ONLY], cwd=CHECKOUT, text=True, capture_output=True, check=True)

    assert "[]" == run.stdout.strip()


ENTRY_POINT = """
[pytest11]
{name} = {module}
"""
A_TEST = """
def test_a_server_is_there(smtp_server_options):
    assert {} == smtp_server_options
"""


@pytest.mark.parametrize("conftest", ["", 'pytest_plugins = ["mailqueue.testing.plugin"]'])
def test_the_installed_plugin_and_one_that_is_named_do_not_clash(tmp_path: Path, conftest: str) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    ((name, module),) = project["entry-points"]["pytest11"].items()
    installed = tmp_path / "site" / "mailqueue-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mailqueue\nVersion: 0\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINT.format(name=name, module=module))
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_it.py").write_text(A_TEST)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:django", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{installed.parent}:{CHECKOUT}"},
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )

    assert (0, True) == (run.returncode, "1 passed" in run.stdout), run.stdout + run.stderr
