"""Processes that are stopped, a database and a server that go away: nothing is lost, nobody gets a copy."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from post_office.models import STATUS, Email

from mailqueue.models import Attempt, BackendHealth
from mailqueue.testing.smtp_server import SmtpServer
from project.dev.postgres import EmbeddedPostgres
from tests.support.postgres import private_postgres
from tests.support.senders import (
    Senders,
    queue_mails,
    subjects_of,
    wait_until_alive,
    wait_until_sent,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
CONNECTIONS = 4


def test_four_senders_one_stopped_half_way_send_every_mail_exactly_once(
    senders: MakeSenders, server: SmtpServer
) -> None:
    make = senders(CONCURRENCY=CONNECTIONS)
    with ExitStack() as stack:
        first, *others = [stack.enter_context(make.start()) for _ in range(4)]
        wait_until_alive(4)
        subjects = queue_mails(5000)
        server.wait_for(2500, seconds=120)
        codes = [first.stop(signal.SIGTERM)]
        wait_until_sent(5000, seconds=120)
        codes += [sender.stop(signal.SIGTERM) for sender in others]

    assert [0, 0, 0, 0] == codes
    assert Counter(subjects) == subjects_of(server)


def test_a_server_that_is_down_for_a_while_costs_no_attempt_and_fails_no_mail(
    senders: MakeSenders, server: SmtpServer
) -> None:
    subjects = queue_mails(300)
    with senders(PROBE_DELAYS=[0.2, 0.4], UNKNOWN_RESEND_AFTER=0.2).start() as sender:
        server.wait_for(50)
        server.stop()
        subjects += queue_mails(20, prefix="meanwhile")
        wait_until(lambda: BackendHealth.objects.filter(probe_count__gte=2).exists())
        assert not Email.objects.filter(status=STATUS.failed).exists()
        server.start()
        wait_until_sent(320)
        assert sender.stop() == 0

    assert not Attempt.objects.filter(is_counted=True).exists()
    assert set(subjects) == set(subjects_of(server))
    assert None is BackendHealth.objects.get().shut_at


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    """A cluster of the test's own, migrated, which Django's default connection uses meanwhile."""
    with private_postgres() as postgres:
        postgres.create_database("restarts")
        connection = connections["default"]
        before = dict(connection.settings_dict)
        connection.close()
        address = psycopg.conninfo.conninfo_to_dict(postgres.url("restarts"))
        connection.settings_dict.update(
            NAME="restarts", HOST=address.get("host", ""), PORT="", USER=address.get("user", ""), PASSWORD=""
        )
        try:
            call_command("migrate", verbosity=0)
            yield postgres
        finally:
            connection.close()
            connection.settings_dict.update(before)


def test_the_same_sender_goes_on_after_three_restarts_of_postgres(
    postgres: EmbeddedPostgres, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    subjects = queue_mails(1500)
    make = Senders(database_url=postgres.url("restarts"), server=server, state_dir=tmp_path, CONCURRENCY=CONNECTIONS)
    connections["default"].close()
    with make.start() as sender:
        for restart in range(1, 4):
            server.wait_for(restart * 300)
            postgres.restart("immediate")
        server.wait_for(1500, seconds=90)
        wait_until_sent(1500)
        assert sender.is_running()
        sender.wait_for("database.back")
        assert sender.stop() == 0

    assert Counter(subjects) == subjects_of(server)
    assert not Attempt.objects.open().exists()


def test_a_sender_waits_for_a_database_that_is_not_there_yet(
    postgres: EmbeddedPostgres, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    queue_mails(3)
    connections["default"].close()
    postgres.stop()
    make = Senders(database_url=postgres.url("restarts"), server=server, state_dir=tmp_path)
    with make.start() as sender:
        sender.wait_for("database.away")
        postgres.start()
        server.wait_for(3)
        assert sender.stop() == 0


def test_term_is_honoured_while_the_database_is_away(
    postgres: EmbeddedPostgres, server: SmtpServer, tmp_path: Path
) -> None:
    connections["default"].close()
    postgres.stop()
    make = Senders(database_url=postgres.url("restarts"), server=server, state_dir=tmp_path)
    with make.start() as sender:
        sender.wait_for("database.away")

        assert sender.stop(signal.SIGTERM) == 0
