"""What a sensitive mail says is gone once it is sent or expired, whichever way that comes to be known."""

import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as enumerate_threads
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import STATUS, Attachment, Email, Log
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

import mailqueue
from mailqueue.conf import Configuration
from mailqueue.delivery.django_backend import sending_failed
from mailqueue.delivery.outcomes import Blame, Outcome, RecipientOutcome, Reply, Stage, Verdict
from mailqueue.models import Attempt, AttemptOutcome, BackendHealth, MailOptions, MailState, MessageSource, StopReason
from mailqueue.queue.claim import Claim
from mailqueue.queue.reap import reap
from mailqueue.queue.settle import LogLevel, settle
from mailqueue.queue.start import start
from mailqueue.queue.wipe import removing_by, wipe
from mailqueue.queue.work import is_locked, work
from mailqueue.sender.foregone import outcome_without_sending
from mailqueue.sender.jobs import Job
from mailqueue.sender.journal import Acceptance, Journal
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Plan
from mailqueue.sender.reaper import Reaper
from mailqueue.sender.report import report
from mailqueue.sender.sweeper import FileRemover
from mailqueue.sender.turn import Turn
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.locks import is_waited_for
from tests.support.mails import SENDER, claimed, end_lease, make_mail, settlement, turn
from tests.support.processes import running
from tests.support.secrets import SECRET, attach, keep_source, make_secret_mail, traces
from tests.support.senders import wait_until_sent
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_session")]

CONFIGURATION = Configuration()
SENT = Outcome(Verdict.SENT, Stage.DONE, reply=Reply(250, "ok"))
REFUSED = Outcome(Verdict.FAIL, Stage.DATA, Blame.MESSAGE, reply=Reply(554, "spam", "5.7.1"))
MIXED = Outcome(
    Verdict.FAIL,
    Stage.RCPT,
    Blame.RECIPIENT,
    recipients={
        "jane@example.com": RecipientOutcome(Verdict.SENT, Reply(250, "ok")),
        "bob@example.com": RecipientOutcome(Verdict.FAIL, Reply(550, "no such user")),
    },
)


class UnauthorizedError(Exception):
    status_code = 401


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return tmp_path / "media"


def make_turn() -> Turn:
    options = Options(concurrency=1, using="default", sender=SENDER, log_level=LogLevel.EVERYTHING)
    return Turn(options=options, configuration=CONFIGURATION)


def claim_one() -> Claim:
    with turn() as cursor:
        (claim,) = claimed(cursor, limit=1)
    return claim


def started() -> Claim:
    claim = claim_one()
    with turn() as cursor:
        start(cursor, [claim], sender=SENDER, lease_seconds=60)
    return claim


def job_of(claim: Claim) -> Job:
    (job,) = make_turn().run(Plan(starting=[claim])).started
    return job


def is_wiped(mail: Email) -> bool:
    return MailOptions.objects.get(email=mail).wiped_at is not None


def send(outcome: Outcome) -> None:
    report(make_turn().run(Plan(results=[(job_of(claim_one()), outcome)])))


def give_up_writing() -> None:
    make_turn().give_up(Plan(results=[(job_of(claim_one()), SENT)]), ValueError("boo"))


def let_expire() -> None:
    claim = claim_one()
    Email.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    make_turn().run(Plan(starting=[claim]))


def prove_by_a_dead_journal(claim: Claim, folder: Path) -> None:
    journal = Journal(folder, sender="host.9.dead")
    journal.write(Acceptance.of(settlement(claim, reply_code=250, reply="ok")))
    os.close(journal._fd)
    own = Journal(folder, sender=SENDER)
    options = Options(concurrency=1, using="default", sender=SENDER)
    Reaper(folder, journal=own, options=options, configuration=CONFIGURATION).reap_if_due()
    own.close(is_settled=True)


@pytest.mark.parametrize(
    ("way", "status"),
    [
        (lambda: send(SENT), STATUS.sent),
        (lambda: send(MIXED), STATUS.sent),
        (give_up_writing, STATUS.sent),
        (let_expire, STATUS.failed),
    ],
    ids=["sent", "partly sent", "settled in plain words", "expired"],
)
def test_what_a_sensitive_mail_said_is_gone_when_it_is_over(
    way: Callable[[], None], status: int, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    mail = make_secret_mail(to=["jane@example.com", "bob@example.com"])
    keep_source(mail, message=SECRET.encode())
    _, file = attach(mail)
    with django_capture_on_commit_callbacks(execute=True):
        way()
    mail.refresh_from_db()

    assert (set(), status, True) == (traces(), mail.status, is_wiped(mail))
    assert not file.exists()


def test_the_journal_of_a_dead_sender_wipes_too(tmp_path: Path) -> None:
    mail = make_secret_mail()
    prove_by_a_dead_journal(started(), tmp_path)

    assert (set(), "sent") == (traces(), mailqueue.state(mail).state)


def test_a_proof_that_comes_when_the_mail_was_unknown_wipes_too(tmp_path: Path) -> None:
    mail = make_secret_mail()
    claim = started()
    end_lease(claim)
    with turn() as cursor:
        reap(cursor, configuration=CONFIGURATION)
    before = traces()
    prove_by_a_dead_journal(claim, tmp_path)

    assert ({"post_office_email"}, set()) == (before, traces())
    assert "sent" == mailqueue.state(mail).state


def test_a_sender_that_lost_its_lease_wipes_what_it_knows_to_be_accepted() -> None:
    make_secret_mail()
    job = job_of(claim_one())
    end_lease(job.claim)
    with turn() as cursor:
        reap(cursor, configuration=CONFIGURATION)
    make_turn().run(Plan(results=[(job, SENT)]))

    assert set() == traces()


def test_who_has_not_read_the_mail_asks_the_database() -> None:
    mail, other = make_secret_mail(), make_mail(message="Thank you.")
    MailOptions.objects.create(email=other, ref="order 5")
    with turn() as cursor:
        claims = claimed(cursor)
        settle(cursor, [settlement(claim) for claim in claims])
    other.refresh_from_db()

    assert (set(), True, "Thank you.") == (traces(), is_wiped(mail), other.message)


def test_who_got_the_mail_and_when_and_its_identity_stay() -> None:
    mail = make_secret_mail()
    keep_source(mail)
    send(SENT)
    mail.refresh_from_db()
    source = MessageSource.objects.get(email=mail)

    assert (["jane@example.com"], "shop@example.com", "code") == (mail.to, mail.from_email, mail.template.name)
    assert {"date": "Sat, 21 Nov 2026 09:30:00 -0000", "Message-ID": "<1@example.com>"} == mail.headers
    assert (["jane@example.com"], "shop@example.com") == (source.recipients, source.envelope_from)
    assert (250, "ok") == Attempt.objects.values_list("reply_code", "reply").get()


@pytest.mark.parametrize("headers", [None, [SECRET], SECRET, {"X-Code": SECRET}])
def test_headers_of_any_kind_are_wiped(headers: Any) -> None:
    mail = make_secret_mail()
    Email.objects.filter(pk=mail.pk).update(headers=headers)
    with turn() as cursor:
        settle(cursor, [settlement(claim) for claim in claimed(cursor)])
    mail.refresh_from_db()

    assert (set(), None) == (traces(), mail.headers)


def hold_unknown() -> None:
    MailOptions.objects.update(unknown_outcome="hold")
    send(Outcome(Verdict.UNKNOWN, Stage.FINAL_DOT))


@pytest.mark.parametrize(
    ("way", "state"),
    [
        (lambda: send(Outcome(Verdict.RETRY, Stage.DATA, Blame.MESSAGE, reply=Reply(451, "later"))), "retrying"),
        (lambda: send(Outcome(Verdict.DEFER, Stage.RCPT, Blame.BACKEND)), "retrying"),
        (lambda: send(Outcome(Verdict.UNKNOWN, Stage.FINAL_DOT)), "unknown"),
        (hold_unknown, "unknown"),
        (lambda: send(REFUSED), "failed"),
        (lambda: mailqueue.cancel(Email.objects.all()), "cancelled"),
        (lambda: mailqueue.hold(Email.objects.all()), "held"),
    ],
)
def test_a_mail_that_may_still_be_sent_keeps_what_it_says(way: Callable[[], Any], state: str) -> None:
    mail = make_secret_mail()
    attach(mail)
    way()

    assert ({"post_office_email", "post_office_attachment"}, state) == (traces(), mailqueue.state(mail).state)
    assert [mail.pk] == mailqueue.requeue(mail)


def test_a_mail_that_was_cancelled_in_the_moment_in_which_it_expired_keeps_what_it_says() -> None:
    mail = make_secret_mail()
    claim = started()
    Email.objects.filter(pk=mail.pk).update(status=STATUS.failed)
    MailState.objects.create(email=mail, reason=StopReason.CANCELLED, stopped_at=timezone.now())
    with turn() as cursor:
        settle(cursor, [settlement(claim, AttemptOutcome.EXPIRED, stop=StopReason.EXPIRED)])

    assert ({"post_office_email"}, False) == (traces(), is_wiped(mail))


def test_an_ordinary_mail_keeps_what_it_says() -> None:
    mail = make_mail(message=SECRET)
    MailOptions.objects.create(email=mail, ref="order 5")
    send(SENT)

    assert {"post_office_email"} == traces()


def test_a_turn_without_sensitive_mail_does_not_ask_for_any() -> None:
    make_mail()
    result = (job_of(claim_one()), SENT)
    late = make_mail(expires_at=timezone.now() + timedelta(hours=1))
    claim = claim_one()
    Email.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    with CaptureQueriesContext(connection) as captured:
        make_turn().run(Plan(results=[result], starting=[claim]))

    assert [] == [q["sql"] for q in captured if "UPDATE mailqueue_mailoptions" in q["sql"]]
    assert "expired" == mailqueue.state(late).state


def test_a_wiped_mail_that_somebody_queues_again_fails_and_says_why() -> None:
    mail = make_secret_mail()
    send(SENT)
    Email.objects.update(status=STATUS.queued)
    job = job_of(claim_one())
    outcome = outcome_without_sending(job)
    assert outcome is not None
    make_turn().run(Plan(results=[(job, outcome)]))
    status = mailqueue.state(mail)

    assert ("failed", True) == (status.state, "nothing is left to send" in status.detail)


def test_what_an_exception_quotes_of_a_sensitive_mail_is_not_kept() -> None:
    mail = make_secret_mail()
    reply = Reply(0, f"Header values can't contain newlines (got '{SECRET}')")
    send(Outcome(Verdict.FAIL, Stage.BUILD, Blame.MESSAGE, reply=reply, error="BadHeaderError"))

    assert {"post_office_email"} == traces()
    assert "BadHeaderError" in mailqueue.state(mail).detail
    assert "BadHeaderError" == Log.objects.get().exception_type


def test_an_attachment_that_another_mail_has_stays_and_the_others_go(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    mail, other = make_secret_mail(), make_mail(status=STATUS.failed)
    shared, kept_file = attach(mail)
    _, own_file = attach(mail)
    other.attachments.add(shared)
    with django_capture_on_commit_callbacks(execute=True):
        send(SENT)

    assert ([shared], []) == (list(other.attachments.all()), list(mail.attachments.all()))
    assert (True, False) == (kept_file.exists(), own_file.exists())


def test_after_a_rollback_mail_and_file_are_as_before() -> None:
    mail = make_secret_mail()
    _, file = attach(mail)
    claim = claim_one()
    with pytest.raises(ZeroDivisionError), transaction.atomic(), connection.cursor() as cursor:
        settle(cursor, [settlement(claim)])
        raise ZeroDivisionError

    assert ({"post_office_email", "post_office_attachment"}, True) == (traces(), file.exists())


def test_a_file_that_can_not_be_removed_keeps_no_mail_from_being_settled(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str) -> None:
        raise PermissionError(name)

    mail = make_secret_mail()
    attach(mail)
    monkeypatch.setattr(Attachment._meta.get_field("file").storage, "delete", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        send(SENT)

    assert (set(), ["attachment.kept"]) == (traces(), [r.message for r in caplog.records if r.levelname == "WARNING"])
    assert "sent" == mailqueue.state(mail).state


def test_an_attachment_that_a_project_refers_to_keeps_no_mail_from_being_settled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mail = make_secret_mail()
    attachment, file = attach(mail)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE bill (attachment_id int REFERENCES post_office_attachment DEFERRABLE INITIALLY DEFERRED)"
        )
        cursor.execute("INSERT INTO bill VALUES (%s)", [attachment.pk])
    send(SENT)

    assert ("sent", {"post_office_attachment"}, True) == (mailqueue.state(mail).state, traces(), file.exists())
    assert not mail.attachments.exists()
    assert "attachment.kept" in caplog.text


def test_what_an_api_quotes_of_a_sensitive_mail_is_not_kept_with_its_backend_either(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_secret_mail()
    caplog.set_level("INFO")
    send(sending_failed(UnauthorizedError(f"refused: {SECRET}")))

    assert {"post_office_email"} == traces()
    assert ["data: 401 UnauthorizedError (its text is left out, for the mail is sensitive)"] == list(
        BackendHealth.objects.values_list("shut_reason", flat=True)
    )
    assert ("backend.shut" in caplog.text, SECRET in caplog.text) == (True, False)


def test_what_an_api_quotes_of_any_mail_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    make_mail()
    caplog.set_level("INFO")
    send(sending_failed(UnauthorizedError(f"to Jane Doe: {SECRET}")))
    (shut,) = [record for record in caplog.records if record.message == "backend.shut"]

    assert "data: 401 UnauthorizedError" == shut.fields["reason"]  # type: ignore[attr-defined]
    assert SECRET in BackendHealth.objects.get().shut_reason


def test_a_file_that_is_named_after_its_attachment_is_told_without_that(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_name: str) -> None:
        raise PermissionError

    mail = make_secret_mail()
    attachment, _ = attach(mail)
    Attachment.objects.filter(pk=attachment.pk).update(file=f"post_office_attachments/0a1b.{SECRET}")
    monkeypatch.setattr(Attachment._meta.get_field("file").storage, "delete", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        send(SENT)
    (kept,) = [record for record in caplog.records if record.message == "attachment.kept"]

    assert "post_office_attachments/0a1b" == kept.fields["file"]  # type: ignore[attr-defined]


def test_a_file_that_another_attachment_names_stays(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    mail = make_secret_mail()
    attachment, file = attach(mail)
    Attachment.objects.create(name="copy.txt", file=attachment.file.name)
    with django_capture_on_commit_callbacks(execute=True):
        send(SENT)

    assert (["copy.txt"], True) == (list(Attachment.objects.values_list("name", flat=True)), file.exists())


def test_files_stay_where_the_database_is_gone_before_it_can_be_asked_about_them(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mail = make_secret_mail()
    _, file = attach(mail)
    with django_capture_on_commit_callbacks() as callbacks:
        send(SENT)
    with connection.execute_wrapper(fail):
        for callback in callbacks:
            callback()

    assert (True, True) == (file.exists(), "attachment.kept" in caplog.text)


def fail(*_: Any) -> None:
    raise OperationalError("the connection is lost")


@pytest.mark.django_db(transaction=True)
def test_who_removes_files_for_a_sender_is_asked_and_nobody_waits_for_the_storage() -> None:
    mail = make_secret_mail()
    attachment, file = attach(mail)
    asked: list[tuple[list[str], str]] = []
    with removing_by(lambda names, *, using: asked.append((list(names), using))):
        send(SENT)

    assert ([([attachment.file.name], "default")], True) == (asked, file.exists())


@pytest.mark.django_db(transaction=True)
def test_a_slow_storage_is_waited_for_by_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    removed, is_ready = [], Event()
    storage = Attachment._meta.get_field("file").storage
    monkeypatch.setattr(storage, "delete", lambda name: removed.append(name) if is_ready.wait(30) else None)
    remover = FileRemover()
    with removing_by(remover.remove):
        for _ in range(2):
            attach(make_secret_mail())
            send(SENT)
    remover.stop(timeout=0)
    before = list(removed)
    is_ready.set()
    remover.stop(timeout=30)

    assert ([], 2) == (before, len(removed))


ENDLESS = """
import threading
import django
django.setup()
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
def delete(self, name):
    print("deleting", flush=True)
    threading.Event().wait()
FileSystemStorage.delete = delete
call_command("send_queued_mail")
"""


@pytest.mark.django_db(transaction=True)
def test_a_storage_that_never_answers_keeps_a_sender_neither_from_sending_nor_from_stopping(
    database_url: str, media: Path, tmp_path: Path
) -> None:
    attach(make_secret_mail())
    with SmtpServer() as server:
        environment = {
            "DATABASE_URL": database_url,
            "EMAIL_URL": f"smtp://127.0.0.1:{server.port}",
            "MEDIA_ROOT": str(media),
            "MAILQUEUE_JSON": json.dumps({"STATE_DIR": str(tmp_path / "state"), "POLL_SECONDS": 0.2}),
        }
        with running(sys.executable, "-c", ENDLESS, env=environment) as sender:
            sender.wait_for("deleting")
            make_mail()
            wait_until_sent(2)

            assert sender.stop() == 0


def test_who_has_no_files_to_remove_stops_at_once() -> None:
    remover = FileRemover()
    remover.stop(timeout=30)

    assert not [thread for thread in enumerate_threads() if thread.name == "mailqueue-remover"]


@pytest.mark.django_db(transaction=True)
def test_an_attachment_that_two_senders_wipe_at_once_goes_with_the_second() -> None:
    mail, other = make_secret_mail(status=STATUS.sent), make_secret_mail(status=STATUS.sent)
    attachment, file = attach(mail)
    other.attachments.add(attachment)
    with turn() as cursor:
        wipe(cursor, [mail.pk])
        second = Thread(target=wipe_alone, args=(other,))
        second.start()
        wait_until(lambda: is_waited_for(connection.connection))
    second.join(30)

    assert (False, False, set()) == (Attachment.objects.exists(), file.exists(), traces())


def wipe_alone(mail: Email) -> None:
    with work("default", lock_timeout="30s") as cursor:
        wipe(cursor, [mail.pk])
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_an_attachment_that_somebody_has_locked_puts_the_settlement_off_and_loses_nothing(database_url: str) -> None:
    mail = make_secret_mail()
    attachment, file = attach(mail)
    job = job_of(claim_one())
    with psycopg.connect(database_url) as somebody:
        somebody.execute("SELECT FROM post_office_attachment WHERE id = %s FOR UPDATE", [attachment.pk])
        with pytest.raises(OperationalError) as raised:
            make_turn().run(Plan(results=[(job, SENT)]))
        before = mailqueue.state(mail).state
    make_turn().run(Plan(results=[(job, SENT)]))

    assert (True, "sending", "sent") == (is_locked(raised.value), before, mailqueue.state(mail).state)
    assert (set(), False) == (traces(), file.exists())


@pytest.mark.django_db(transaction=True)
def test_an_attachment_that_is_about_to_be_used_again_is_left_and_nobody_waits(database_url: str) -> None:
    mail = make_secret_mail()
    attachment, file = attach(mail)
    with psycopg.connect(database_url) as somebody:
        somebody.execute("SELECT FROM post_office_attachment WHERE id = %s FOR KEY SHARE", [attachment.pk])
        send(SENT)

    assert ("sent", True, True) == (mailqueue.state(mail).state, file.exists(), is_wiped(mail))
    assert Attachment.objects.filter(pk=attachment.pk).exists()


def test_the_journal_holds_nothing_of_what_the_mail_says(tmp_path: Path) -> None:
    make_secret_mail()
    acceptance = Acceptance.of(make_turn().conclusion(job_of(claim_one()), SENT))

    assert SECRET not in json.dumps([str(getattr(acceptance, name)) for name in acceptance.__slots__])
