"""One row that is locked or can't be written must not stop the mail of everybody else."""

import signal
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from post_office import mail as post_office_mail
from post_office.models import STATUS, Email

from mailqueue.models import Attempt, BackendHealth
from mailqueue.testing.smtp_server import Command, SmtpServer
from tests.support.senders import Senders, queue_mails, wait_until_sent
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]


def test_a_mail_that_somebody_has_locked_waits_alone(
    senders: MakeSenders, server: SmtpServer, database_url: str
) -> None:
    queue_mails(1, prefix="locked")
    locked = Email.objects.get().pk
    with psycopg.connect(database_url) as console:

        def lock(_: Command) -> None:
            if not server.messages:
                console.execute("UPDATE post_office_email SET priority = priority WHERE id = %s", [locked])

        server.script.set("BODY", lock)
        with senders().start() as sender:
            server.wait_for(1)
            queue_mails(20)
            wait_until_sent(20)
            console.rollback()
            wait_until_sent(21)
            assert sender.stop(signal.SIGTERM) == 0

    assert len(server.messages) == 21


def test_a_row_that_cannot_be_written_stops_neither_this_sender_nor_the_next(
    senders: MakeSenders, server: SmtpServer
) -> None:
    queue_mails(1, prefix="bad")
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN RAISE EXCEPTION 'broken page' USING ERRCODE = 'XX001'; END $$"""
        )
        cursor.execute(
            """CREATE TRIGGER refuse BEFORE UPDATE OF status ON post_office_email FOR EACH ROW
               WHEN (NEW.subject LIKE 'bad%%') EXECUTE FUNCTION refuse()"""
        )
    try:
        with senders().start() as sender:
            queue_mails(20, prefix="good")
            wait_until_sent(20)
            sender.send(signal.SIGKILL)
            sender.wait()
        queue_mails(20, prefix="later")
        with senders().start() as sender:
            wait_until_sent(40)
            sender.send(signal.SIGKILL)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")

    assert len(server.messages) == 41


def test_expired_mail_does_not_use_up_the_probes_of_a_backend(senders: MakeSenders, server: SmtpServer) -> None:
    server.stop()
    queue_mails(41)
    with senders(PROBE_DELAYS=[2]).start() as sender:
        sender.wait_for("backend.shut")
        Email.objects.filter(pk__in=Email.objects.order_by("pk").values("pk")[:40]).update(expires_at=timezone.now())
        server.start()
        wait_until_sent(1)
        assert sender.stop() == 0

    assert len(server.messages) == 1


def test_no_claim_stays_behind_when_a_backend_is_probed_without_a_pause(
    senders: MakeSenders, server: SmtpServer
) -> None:
    server.stop()
    queue_mails(20)
    with senders(PROBE_DELAYS=[0, 30]).start() as sender:
        wait_until(BackendHealth.objects.filter(probe_count__gte=1).exists, what="a probe")
        wait_until(lambda: not Attempt.objects.open().exists())
        assert sender.stop() == 0


def test_after_a_wake_up_for_nothing_the_next_mail_is_not_kept_waiting(
    senders: MakeSenders, server: SmtpServer
) -> None:
    with senders(POLL_SECONDS=30).start() as sender:
        sender.wait_for("sender.started")
        queue_mails(1, prefix="first")
        server.wait_for(1)
        wait_until(lambda: Email.objects.filter(status=STATUS.sent).exists())
        for _ in range(3):
            later = timezone.now() + timedelta(days=1)
            post_office_mail.send("a@example.com", "shop@example.com", subject="later", scheduled_time=later)
            count = len(server.messages)
            queue_mails(1, prefix="now")
            server.wait_for(count + 1, seconds=20)
        assert sender.stop() == 0
