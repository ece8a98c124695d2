"""The sender as people run it: a real process, a real Postgres, a real SMTP exchange."""

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.mail import EmailMessage, send_mail
from django.db import connection, connections, transaction
from post_office.models import STATUS, Attachment, Email

from mailqueue.models import Attempt, BackendHealth
from mailqueue.sender.rhythm import BUSY_FOR_SECONDS
from mailqueue.testing.smtp_server import Command, Silence, SmtpServer, Unanswered
from tests.support.processes import MANAGE, run
from tests.support.senders import (
    Senders,
    copies,
    queue_mails,
    statuses,
    subjects_of,
    wait_until_alive,
    wait_until_sent,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
STARTED = "sender.started"


class OrderRefusedError(Exception):
    """What a shop raises in the middle of a transaction."""


def is_all_quiet() -> bool:
    """Whether nobody else has asked the database anything for longer than a sender looks again after it has worked."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) > 0 AND bool_and(state_change < clock_timestamp() - %s * interval '1 second')
               FROM pg_stat_activity
               WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()""",
            [2 * BUSY_FOR_SECONDS],
        )
        return bool(cursor.fetchone()[0])


def test_a_commit_wakes_a_sender_that_would_not_look_for_an_hour(senders: MakeSenders, server: SmtpServer) -> None:
    with senders(POLL_SECONDS=3600).start() as sender:
        wait_until_alive()
        wait_until(is_all_quiet)
        with transaction.atomic():
            send_mail("order", "Thank you.", "shop@example.com", ["jane@example.com"])
        server.wait_for(1)

        assert sender.stop() == 0


def test_a_mail_that_was_rolled_back_is_never_sent_and_leaves_no_file(
    senders: MakeSenders, server: SmtpServer, settings: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    message = EmailMessage("lost", "Thank you.", "shop@example.com", ["jane@example.com"])
    message.attach("bill.pdf", b"%PDF-1.7", "application/pdf")

    with senders().start() as sender:
        sender.wait_for(STARTED)
        with pytest.raises(OrderRefusedError), transaction.atomic():
            message.send()
            assert Attachment.objects.count() == 1
            raise OrderRefusedError
        send_mail("later", "Thank you.", "shop@example.com", ["jane@example.com"])
        server.wait_for(1)
        wait_until_sent(1)
        sender.stop()

    assert {"later": 1} == subjects_of(server)
    assert [] == [path for path in (tmp_path / "media").rglob("*") if path.is_file()]


def test_term_ends_an_idle_sender_with_exit_code_0(senders: MakeSenders) -> None:
    with senders().start() as sender:
        sender.wait_for(STARTED)

        assert sender.stop(signal.SIGTERM) == 0


def test_term_finishes_what_is_in_flight_and_hands_back_the_rest(senders: MakeSenders, server: SmtpServer) -> None:
    server.latency = 0.05
    queue_mails(300)
    with senders(CONCURRENCY=4).start() as sender:
        server.wait_for(5)

        assert sender.stop(signal.SIGTERM) == 0
    accepted = len(server.messages)
    assert {STATUS.sent: accepted, STATUS.queued: 300 - accepted} == statuses()
    assert not Attempt.objects.open().exists()


def test_a_second_int_leaves_at_once_and_hands_back_what_was_not_sent(
    senders: MakeSenders, server: SmtpServer
) -> None:
    server.script.set("MAIL", Silence())
    queue_mails(20)
    with senders(CONCURRENCY=2).start() as sender:
        server.wait_until(lambda: server.open_connection_count == 2)
        wait_until(lambda: Attempt.objects.open().exclude(started_at=None).count() == 2)
        sender.send(signal.SIGINT)
        sender.wait_for("sender.stopping")
        wait_until(lambda: Attempt.objects.open().count() == 2)
        began = time.monotonic()
        sender.send(signal.SIGINT)

        assert sender.wait(seconds=20) == 130
    assert time.monotonic() - began < 15
    assert not Attempt.objects.exists()
    assert {STATUS.queued: 20} == statuses()


def test_who_leaves_at_once_owns_up_to_mail_that_may_have_been_sent(senders: MakeSenders, server: SmtpServer) -> None:
    server.script.set("BODY", Unanswered(drop=False))
    queue_mails(1)
    with senders().start() as sender:
        server.wait_for(1)
        sender.send(signal.SIGINT)
        sender.wait_for("sender.stopping")
        sender.send(signal.SIGINT)
        assert sender.wait(seconds=20) == 130
    assert ["unknown"] == list(Attempt.objects.values_list("outcome", flat=True))
    assert {STATUS.requeued: 1} == statuses()


def test_until_empty_sends_what_is_due_and_exits_0(senders: MakeSenders, server: SmtpServer) -> None:
    queue_mails(50)
    later = Email.objects.create(
        to=["jane@example.com"],
        from_email="shop@example.com",
        status=STATUS.queued,
        scheduled_time="2999-01-01T00:00Z",
    )
    with senders().start("--until-empty") as sender:
        assert sender.wait() == 0
    later.refresh_from_db()
    assert STATUS.queued == later.status
    assert len(server.messages) == 50


def test_until_empty_does_not_wait_for_a_backend_that_is_shut_and_says_so(
    senders: MakeSenders, server: SmtpServer
) -> None:
    server.stop()
    queue_mails(20)
    with senders().start("--until-empty") as sender:
        assert sender.wait() == 0
        assert re.search(r"backend.not_waited_for backend=\w+ reason=\"?connect", sender.said())
    assert {STATUS.queued: 20} == statuses()


def test_mail_that_others_write_is_sent_too(senders: MakeSenders, server: SmtpServer) -> None:
    Email.objects.create(to=["a@example.com"], from_email="x@example.com", subject="orm", status=STATUS.queued)
    other = Email.objects.create(
        to=["b@example.com"], from_email="x@example.com", subject="update", status=STATUS.sent
    )
    Email.objects.filter(pk=other.pk).update(status=STATUS.queued)
    with senders().start("--until-empty") as sender:
        assert sender.wait() == 0
    assert {"orm": 1, "update": 1} == subjects_of(server)


def test_without_listen_a_mail_is_found_by_polling(senders: MakeSenders, server: SmtpServer) -> None:
    with senders(LISTEN_DATABASE=None, POLL_SECONDS=0.1).start() as sender:
        sender.wait_for(STARTED)
        queue_mails(1)
        server.wait_for(1)

        assert sender.stop() == 0


def test_several_processes_send_each_mail_once_and_end_together(senders: MakeSenders, server: SmtpServer) -> None:
    subjects = queue_mails(400)
    with senders().start("--processes", "2") as sender:
        wait_until_sent(400)
        # On a busy machine the first may have sent all before the second has started.
        wait_until(lambda: len(set(re.findall(r"sender.started sender=(\S+)", sender.said()))) == 2)

        assert sender.stop(signal.SIGTERM) == 0
    assert Counter(subjects) == subjects_of(server)


def test_a_process_that_is_killed_is_replaced(senders: MakeSenders, server: SmtpServer) -> None:
    with senders().start("--processes", "2") as sender:
        wait_until(lambda: len(re.findall(STARTED, sender.said())) == 2)
        victim = int(re.findall(r"sender.started sender=[^.]+(?:\.[^. ]+)*?\.(\d+)\.\w+ ", sender.said())[0])
        os.kill(victim, signal.SIGKILL)
        sender.wait_for("process.died")
        wait_until(lambda: len(re.findall(STARTED, sender.said())) == 3)
        queue_mails(1)
        server.wait_for(1)

        assert sender.stop() == 0


def test_senders_do_not_outlive_the_supervisor(senders: MakeSenders) -> None:
    with senders().start("--processes", "2") as sender:
        wait_until(lambda: len(re.findall(STARTED, sender.said())) == 2)
        sender.send(signal.SIGKILL)

        wait_until(lambda: len(re.findall("sender.stopped", sender.said())) == 2)


def test_a_permanent_refusal_fails_the_mail_at_once(senders: MakeSenders, server: SmtpServer) -> None:
    server.script.set("RCPT", "550 5.1.1 no such user")
    queue_mails(1)
    with senders().start("--until-empty") as sender:
        assert sender.wait() == 0
    email = Email.objects.get()
    attempt = Attempt.objects.get()
    assert (STATUS.failed, "failed") == (email.status, email.mailqueue_state.reason)
    assert (550, "5.1.1", "failed", True) == (
        attempt.reply_code,
        attempt.enhanced_code,
        attempt.outcome,
        attempt.is_counted,
    )
    assert "550 5.1.1 no such user" == email.logs.get().message


def test_a_temporary_refusal_is_retried_on_the_schedule(senders: MakeSenders, server: SmtpServer) -> None:
    server.script.set("BODY", ["451 4.3.0 try later", "451 4.3.0 try later"])
    queue_mails(1)
    with senders(RETRY_DELAYS=[0.3]).start() as sender:
        server.wait_for(1)
        wait_until_sent(1)
        sender.stop()

    outcomes = Attempt.objects.values_list("number", "outcome", "is_counted")
    assert [(1, "retry", True), (2, "retry", True), (3, "sent", False)] == list(outcomes)
    assert Email.objects.get().number_of_retries == 2


def test_only_those_who_were_put_off_get_the_mail_again(senders: MakeSenders, server: SmtpServer) -> None:
    answers = ["450 4.2.1 later"]

    def put_off_bob_once(command: Command) -> str | None:
        return answers.pop() if "bob" in command.argument and answers else None

    server.script.set("RCPT", put_off_bob_once)
    EmailMessage("hi", "x", "shop@example.com", ["ann@example.com", "bob@example.com"]).send()
    with senders(RETRY_DELAYS=[0.2]).start() as sender:
        server.wait_for(2)
        wait_until_sent(1)
        sender.stop()

    assert [("ann@example.com",), ("bob@example.com",)] == [accepted.recipients for accepted in server.messages]


def test_wrong_credentials_shut_the_backend_and_cost_no_attempt(senders: MakeSenders, server: SmtpServer) -> None:
    server.users = {"shop": "secret"}
    queue_mails(10)
    environment = {"EMAIL_URL": f"smtp://shop:wrong@127.0.0.1:{server.port}"}
    with senders().start("--until-empty", env=environment) as sender:
        assert sender.wait() == 0
        assert "backend.shut" in sender.said()
        assert "wrong" not in sender.said()
    assert {STATUS.queued: 10} == statuses()
    assert not Attempt.objects.filter(is_counted=True).exists()
    assert BackendHealth.objects.get().shut_at


def test_expired_mail_is_final_without_smtp(senders: MakeSenders, server: SmtpServer) -> None:
    email = Email.objects.create(
        to=["a@example.com"], from_email="x@example.com", status=STATUS.queued, expires_at="2020-01-01T00:00Z"
    )
    with senders().start("--until-empty") as sender:
        assert sender.wait() == 0
    email.refresh_from_db()
    assert (STATUS.failed, "expired", 0) == (email.status, email.mailqueue_state.reason, len(server.sessions))


def test_mail_of_a_backend_that_is_gone_is_held(senders: MakeSenders, server: SmtpServer) -> None:
    email = Email.objects.create(
        to=["a@example.com"], from_email="x@example.com", status=STATUS.queued, backend_alias="gone"
    )
    with senders().start("--until-empty") as sender:
        assert sender.wait() == 0
        assert "backend.missing" in sender.said()
    email.refresh_from_db()
    assert (STATUS.failed, "held") == (email.status, email.mailqueue_state.reason)


def test_the_logs_are_one_line_of_json_for_each_mail_without_addresses(
    senders: MakeSenders, server: SmtpServer
) -> None:
    queue_mails(3)
    with senders().start("--until-empty", "--log-format", "json") as sender:
        assert sender.wait() == 0
        lines = [json.loads(line) for line in sender.said().splitlines()]
    sent = [line for line in lines if line["event"] == "mail.sent"]
    assert {email.pk for email in Email.objects.all()} == {line["email"] for line in sent}
    assert "@" not in json.dumps(lines)


def test_an_unknown_backend_is_refused_with_the_names_of_those_there_are(database_url: str) -> None:
    done = run(*MANAGE, "send_queued_mail", "--backend", "nope", env={"DATABASE_URL": database_url})

    assert done.returncode == 1
    assert "--backend nope: there is no such backend. Configured: " in done.stderr


def test_the_options_of_post_office_are_taken(senders: MakeSenders, server: SmtpServer) -> None:
    queue_mails(1)
    with senders().start("-p", "1", "-l", "2", "-L", "/nowhere/lock", "--until-empty") as sender:
        assert sender.wait() == 0
        assert "--lockfile is not needed" in sender.said()
    assert [STATUS.sent] == list(Email.objects.get().logs.values_list("status", flat=True))


def test_nothing_is_sent_twice_when_many_senders_start_at_once(senders: MakeSenders, server: SmtpServer) -> None:
    queue_mails(200)
    with senders().start("--until-empty") as first, senders().start("--until-empty") as second:
        codes = (first.wait(), second.wait())
    assert (0, 0, 0) == (*codes, copies(server))
    assert len(server.messages) == 200


def test_mail_that_cannot_be_worked_on_fails_alone(senders: MakeSenders, server: SmtpServer) -> None:
    queue_mails(30)
    poison = Email.objects.order_by("pk")[10].pk
    with connection.cursor() as cursor:
        # A moment that Python has no word for: the row can't even be read.
        cursor.execute("UPDATE post_office_email SET expires_at = 'infinity' WHERE id = %s", [poison])
    with senders(RETRY_DELAYS=[0]).start() as sender:
        wait_until_sent(29)
        wait_until(lambda: Email.objects.filter(pk=poison, status=STATUS.failed).exists())
        assert sender.stop() == 0
        assert f"mail.unworkable email={poison}" in sender.said()

    attempts = Attempt.objects.filter(email_id=poison).values_list("outcome", "error")
    assert [("retry", "DataError"), ("retry", "DataError"), ("failed", "DataError")] == list(attempts)


def test_a_sender_waits_for_tables_that_are_not_there_yet(senders: MakeSenders, server: SmtpServer) -> None:
    queue_mails(1)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mailqueue_attempt RENAME TO hidden")
    try:
        with senders().start() as sender:
            sender.wait_for("database.away")
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE hidden RENAME TO mailqueue_attempt")
            server.wait_for(1)
            assert sender.stop() == 0
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE IF EXISTS hidden RENAME TO mailqueue_attempt")


def test_a_database_to_listen_on_that_is_away_costs_only_the_wake_up(senders: MakeSenders, server: SmtpServer) -> None:
    broken = {"ENGINE": "django.db.backends.postgresql", "NAME": "nowhere", "HOST": "/nowhere"}
    both = {"default": connections["default"].settings_dict | {"TEST": {}}, "direct": broken}
    environment = {"SETTINGS_JSON": json.dumps({"DATABASES": both}, default=str)}
    with senders(LISTEN_DATABASE="direct", POLL_SECONDS=0.1).start(env=environment) as sender:
        sender.wait_for("listen.failed")
        queue_mails(1)
        server.wait_for(1)
        assert sender.stop() == 0


def test_a_sender_without_standard_error_sends(senders: MakeSenders, server: SmtpServer) -> None:
    queue_mails(1)
    with senders().start("--until-empty", prefix=("sh", "-c", 'exec "$@" 2>&-', "sh")) as sender:
        code = sender.wait()

    assert (0, 1) == (code, len(server.messages))
