"""`mailqueue.AutonomousEmailBackend`: mail that outlives the rollback around it, and never harms the caller for it."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import django
import psycopg
import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail import EmailMessage
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.db.models.signals import pre_save
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.utils import translation
from django.utils.functional import lazy
from django.utils.log import AdminEmailHandler
from django.utils.translation import gettext_lazy
from post_office.models import STATUS, Attachment, Email
from post_office.signals import email_queued
from pytest_django import Settings

import mailqueue
from mailqueue import AutonomousEmailBackend
from mailqueue.delivery.backends import delivers_to_itself
from mailqueue.outbox import autonomous
from mailqueue.outbox import notice as notice_module
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.sender_fixtures import queueing, senders, server
from tests.support.senders import Senders, subjects_of
from tests.support.waiting import wait_until

__all__ = ["queueing", "senders", "server"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("queueing")]

HAS_MAILERS = django.VERSION >= (6, 1)
PATH = "mailqueue.AutonomousEmailBackend"


class RefusedError(Exception):
    """Raised by a caller in the middle of a transaction."""


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture(autouse=True)
def no_connection_stays() -> Iterator[None]:
    yield
    wait_until(lambda: not writers(), what="the end of all threads")


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mailqueue-autonomous-write"]


def message(**fields: Any) -> EmailMessage:
    given = {"subject": "report", "body": "Hello", "from_email": "shop@example.com", "to": ["admin@example.com"]}
    return EmailMessage(**{**given, **fields})


def report(*, fail_silently: bool = False, **fields: Any) -> int:
    return AutonomousEmailBackend(fail_silently=fail_silently).send_messages([message(**fields)])


def subjects() -> list[str]:
    return list(Email.objects.order_by("pk").values_list("subject", flat=True))


@contextmanager
def rolled_back() -> Iterator[None]:
    """Let the caller's transaction roll back at the end of the block."""
    with suppress(RefusedError), transaction.atomic():
        yield
        raise RefusedError


@contextmanager
def receiving(signal: Any, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver, weak=False, dispatch_uid="test")
    try:
        yield
    finally:
        signal.disconnect(dispatch_uid="test")


def test_a_report_outlives_the_rollback_around_it_with_its_attachments_and_is_sent(
    senders: Callable[..., Senders], server: SmtpServer, media: Path
) -> None:
    with rolled_back():
        message(subject="order").send()
        assert report(attachments=[("trace.bin", b"\x00\x01", "application/octet-stream")]) == 1
    assert ["report"] == subjects()
    with senders().start("--until-empty", env={"MEDIA_ROOT": str(media)}) as sender:
        assert sender.wait() == 0

    (part,) = server.messages[0].message.iter_attachments()
    assert ({"report": 1}, b"\x00\x01") == (subjects_of(server), part.get_content())


def test_a_report_is_committed_before_the_call_returns(database_url: str) -> None:
    with rolled_back(), psycopg.connect(database_url, autocommit=True) as other:
        report()

        assert [("report",)] == other.execute("SELECT subject FROM post_office_email").fetchall()


def test_a_report_leaves_the_callers_transaction_as_it_is() -> None:
    with transaction.atomic():
        User.objects.create(username="jane")
        report()
        assert not connection.needs_rollback
    with rolled_back():
        User.objects.create(username="joe")
        report()

    assert (["jane"], 2) == (list(User.objects.values_list("username", flat=True)), Email.objects.count())


def test_a_report_is_written_where_the_callers_transaction_is_broken() -> None:
    with rolled_back():
        transaction.set_rollback(True)
        report(subject="waits for its rollback")
    with rolled_back():
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")
        report(subject="aborted on the server")
    with suppress(DatabaseError), transaction.atomic():
        connection.connection.close()
        report(subject="without its connection")

    assert ["waits for its rollback", "aborted on the server", "without its connection"] == subjects()


def test_several_reports_are_written_together_or_not_at_all() -> None:
    backend = AutonomousEmailBackend()
    with rolled_back():
        assert backend.send_messages([message(subject="1"), message(subject="2"), message(to=[])]) == 2
        with pytest.raises(ValueError, match=r"newline|linefeed"):
            backend.send_messages([message(), message(subject="a\nb")])

    assert ["1", "2"] == subjects()


def test_without_a_transaction_it_does_the_same() -> None:
    assert (1, 0, ["report"]) == (report(), report(to=[]), subjects())


def test_a_report_is_drafted_where_it_is_called_in_the_callers_language_and_thread() -> None:
    here = threading.local()
    here.name = "jane"
    with rolled_back(), translation.override("zh-hans"):
        report(subject=gettext_lazy("Password"), body=lazy(lambda: here.name, str)())
        expected = str(gettext_lazy("Password"))

    assert [(expected, "jane")] == list(Email.objects.values_list("subject", "message"))
    assert expected != "Password"


shop: ContextVar[str] = ContextVar("shop")


def test_what_the_caller_has_set_for_this_context_holds_for_receivers_and_for_collect() -> None:
    found = []
    shop.set("north")
    with receiving(email_queued, lambda **_: found.append(shop.get())), rolled_back(), mailqueue.collect() as mails:
        report()

    assert (["north"], [Email.objects.get().pk]) == (found, [written.pk for written in mails])


def test_senders_are_woken(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setattr(notice_module, "_paces", {})
    with psycopg.connect(database_url, autocommit=True) as listener, rolled_back():
        listener.execute(f"LISTEN {notice_module.CHANNEL}")
        report()

        assert len(list(listener.notifies(timeout=30, stop_after=1))) == 1


def test_its_connection_is_closed_again(database_url: str) -> None:
    clients = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    with psycopg.connect(database_url, autocommit=True) as other:
        before = set(other.execute(clients))
        report()
        # Not as many as before: a session of the test before this one may still be about to end.
        wait_until(lambda: set(other.execute(clients)) <= before, what="the connection to be closed")


def test_a_database_whose_transactions_are_opened_and_ended_by_hand_keeps_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(connections.settings["default"], "AUTOCOMMIT", False)
        assert report() == 1

    assert ["report"] == subjects()


# Trouble


@contextmanager
def locked_by_the_caller() -> Iterator[None]:
    with rolled_back():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE post_office_email IN EXCLUSIVE MODE")
        yield


def test_a_lock_of_the_callers_own_transaction_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autonomous, "LOCK_SECONDS", 0.1)
    with locked_by_the_caller():
        with pytest.raises(OperationalError, match="perhaps the transaction around this very call"):
            report()
        assert report(fail_silently=True) == 0
        assert not connection.needs_rollback

    assert [] == subjects()


@pytest.fixture
def no_more_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """New connections are refused by the server: there are too many."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE crowded LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
    for name in ("USER", "PASSWORD"):
        # The dict of the open connection is the one that new ones are made of; the open one is not asked again.
        monkeypatch.setitem(connections.settings["default"], name, {"USER": "crowded", "PASSWORD": "x"}[name])
    yield
    monkeypatch.undo()
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE crowded")


def test_too_many_connections_are_an_error_and_the_callers_transaction_goes_on(no_more_connections: None) -> None:
    with transaction.atomic():
        with pytest.raises(OperationalError, match=r"too many connections|password"):
            report()
        assert report(fail_silently=True) == 0
        User.objects.create(username="jane")

    assert (["jane"], []) == (list(User.objects.values_list("username", flat=True)), subjects())


def test_a_row_that_the_database_refuses_leaves_no_file(media: Path) -> None:
    def refuse(**_: Any) -> None:
        raise RefusedError

    files = [("trace.bin", b"\x00\x01", "application/octet-stream")]
    with receiving(pre_save, refuse), rolled_back(), pytest.raises(RefusedError):
        report(attachments=files)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE post_office_attachment_emails ADD CONSTRAINT refused CHECK (false) NOT VALID")
    try:
        with rolled_back():
            assert report(attachments=files, fail_silently=True) == 0
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE post_office_attachment_emails DROP CONSTRAINT refused")

    assert ([], 0) == ([found for found in media.rglob("*") if found.is_file()], Attachment.objects.count())


def test_who_has_waited_long_enough_goes_on_and_nothing_is_written_behind_his_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(autonomous, "WAIT_SECONDS", 0.1)
    goes_on = threading.Event()
    with receiving(pre_save, lambda **_: goes_on.wait()):
        with pytest.raises(TimeoutError, match=r"could not be written to the database 'default' in 0\.1 s"):
            report()
        assert report(fail_silently=True) == 0
        goes_on.set()
        wait_until(lambda: not writers(), what="the end of the threads")

    assert [] == subjects()


def test_a_receiver_that_hangs_after_the_commit_does_not_make_the_report_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    class WaitedFor(threading.Thread):
        """Waited for until it hangs, however long it takes to come there."""

        def join(self, timeout: float | None = None) -> None:
            hangs.wait(timeout)

    def hang(**_: Any) -> None:
        hangs.set()
        goes_on.wait()

    monkeypatch.setattr(autonomous.threading, "Thread", WaitedFor)
    with receiving(email_queued, hang):
        assert (1, ["report"]) == (report(), subjects())
        goes_on.set()
        wait_until(lambda: not writers(), what="the end of the thread")


def test_a_receiver_that_raises_after_the_commit_does_not_make_the_report_fail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(**_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")

    with receiving(email_queued, fail), rolled_back():
        assert report() == 1

    assert (["report"], ["receiver.failed"]) == (subjects(), caplog.messages)


# In a project


@pytest.fixture
def reports(settings: Settings) -> None:
    """Let a mailer "reports" be the autonomous backend, where there are mailers, and let there be an admin."""
    if HAS_MAILERS:
        autonomous_mailer = {"BACKEND": PATH, "OPTIONS": {"fail_silently": True}}
        settings.MAILERS = {**settings.MAILERS, "reports": autonomous_mailer}
    address = "admin@example.com"
    settings.ADMINS = [address] if django.VERSION >= (6, 0) else [("Admin", address)]


@pytest.fixture
def admin_log(reports: None) -> Iterator[logging.Logger]:
    """The logger of failed requests, which mails what it is told to the admins."""
    handler = AdminEmailHandler(using="reports") if HAS_MAILERS else AdminEmailHandler(email_backend=PATH)
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def failing(request: HttpRequest) -> HttpResponse:
    User.objects.create(username="jane")
    mail.send_mail("order", "Thank you.", None, ["jane@example.com"])
    with suppress(DatabaseError):
        User.objects.create(username="jane")
    logging.getLogger("django.request").error("out of stock", extra={"request": request})
    raise RefusedError("the view fails")


urlpatterns = [path("order/", failing)]


@pytest.mark.urls(__name__)
def test_the_error_reports_of_a_failing_view_outlive_its_transaction(
    admin_log: logging.Logger, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    response = Client(raise_request_exception=False).get("/order/")
    assert response.status_code == 500
    within, behind = Email.objects.order_by("pk")

    assert "out of stock" in within.subject
    assert "Internal Server Error: /order/" in behind.subject
    assert ("RefusedError" in behind.message, [STATUS.queued] * 2) == (True, [within.status, behind.status])
    assert not User.objects.exists()


def test_a_log_that_is_mailed_goes_on_when_the_report_can_not_be_written(
    admin_log: logging.Logger, no_more_connections: None
) -> None:
    with transaction.atomic():
        admin_log.error("out of stock")
        User.objects.create(username="jane")

    assert ([], 1) == (subjects(), User.objects.count())


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS is Django 6.1's")
def test_a_mailer_is_chosen_by_its_alias(reports: None) -> None:
    with rolled_back():
        assert (1, 1) == (
            message(subject="message").send(using="reports"),
            mail.send_mail("mail", "x", None, ["a@example.com"], using="reports"),
        )
        mail.mail_admins("admins", "x", using="reports")

    assert ["message", "mail", "[Django] admins"] == subjects()


@pytest.mark.skipif(HAS_MAILERS, reason="with MAILERS, a backend is chosen by its alias")
def test_a_connection_is_made_by_its_path() -> None:
    with rolled_back(), mail.get_connection(PATH, fail_silently=True) as used:
        assert (1, 0) == (used.send_messages([message()]), used.send_messages([message(subject="a\nb")]))

    assert ["report"] == subjects()


def test_it_queues_and_is_never_taken_for_a_backend_that_delivers(settings: Settings) -> None:
    if HAS_MAILERS:
        settings.MAILERS = {**settings.MAILERS, "reports": {"BACKEND": PATH}}
    else:
        settings.POST_OFFICE = {"BACKENDS": {**settings.POST_OFFICE["BACKENDS"], "reports": PATH}}

    assert delivers_to_itself("reports")
