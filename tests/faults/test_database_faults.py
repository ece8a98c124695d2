"""What a database does to a sender: gone, read-only, cut off without a word. No mail fails, none is sent twice."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from post_office.models import STATUS, Email

from mailqueue.models import Attempt
from mailqueue.testing.smtp_server import Silence, SmtpServer
from tests.support.senders import Senders, copies, queue_mails, statuses, subjects_of, wait_until_sent
from tests.support.tcp_proxy import TcpProxy, target_of, url_through
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "mailqueue-sender-under-test"
OURS = "FROM pg_stat_activity WHERE application_name = %s"
CONNECTIONS = 4
NOTICED_WITHIN = 60
BACK_WITHIN = 60


@pytest.fixture
def proxy(database_url: str) -> Iterator[TcpProxy]:
    with TcpProxy(target_of(database_url)) as proxy:
        yield proxy


@pytest.fixture
def way(proxy: TcpProxy, database_url: str) -> str:
    """The DATABASE_URL of a sender whose way to the database leads through the proxy."""
    return url_through(proxy, database_url, application_name=NAME)


@pytest.fixture
def somebody(database_url: str) -> Iterator[psycopg.Connection]:
    """A database administrator."""
    with psycopg.connect(database_url, autocommit=True) as somebody:
        yield somebody


def terminate(somebody: psycopg.Connection) -> int:
    """End the senders' connections and return how many there were."""
    return len(somebody.execute(f"SELECT pg_terminate_backend(pid) {OURS}", [NAME]).fetchall())


def test_a_connection_that_is_terminated_again_and_again_costs_no_mail_and_no_copy(
    way: str, somebody: psycopg.Connection, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    subjects = queue_mails(600)
    make = Senders(database_url=way, server=server, state_dir=tmp_path, CONCURRENCY=CONNECTIONS)
    with make.start() as sender:
        for kill in range(1, 11):
            server.wait_for(kill * 40)
            wait_until(lambda: terminate(somebody) > 0)
        wait_until_sent(600)
        assert sender.stop() == 0

    assert Counter(subjects) == subjects_of(server)
    assert {"sent"} == set(Attempt.objects.values_list("outcome", flat=True))


@contextmanager
def read_only(somebody: psycopg.Connection) -> Iterator[None]:
    """Make every new transaction of the database read-only, as after a failover to a standby."""
    name = somebody.info.dbname
    somebody.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    terminate(somebody)
    try:
        yield
    finally:
        somebody.execute("SET default_transaction_read_only = off")
        somebody.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


def test_a_database_that_is_read_only_for_a_while_fails_no_mail(
    way: str, somebody: psycopg.Connection, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    subjects = queue_mails(300)
    make = Senders(database_url=way, server=server, state_dir=tmp_path, CONCURRENCY=CONNECTIONS)
    with make.start() as sender:
        server.wait_for(50)
        with read_only(somebody):
            sender.wait_for(r"database\.away .*read-only")
            sender.wait_for(r"database\.away failures=6")
            assert not Email.objects.filter(status=STATUS.failed).exists()
            count = len(server.messages)
        subjects += queue_mails(1, prefix="after")
        server.wait_for(count + 1, seconds=BACK_WITHIN)
        wait_until_sent(301)
        assert sender.stop() == 0

    assert Counter(subjects) == subjects_of(server)
    assert {"sent"} == set(Attempt.objects.values_list("outcome", flat=True))


def test_results_outlive_a_database_that_refuses_connections_for_longer_than_a_lease(
    way: str, proxy: TcpProxy, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    server.latency = 0.05
    refused = "mail-0@example.com"
    server.script.set("RCPT", lambda command: "550 5.1.1 No" if refused in command.argument else None)
    server.script.set("GREETING", lambda _: proxy.refuse() if not server.connect_count > 1 else None)
    queue_mails(80)
    make = Senders(database_url=way, server=server, state_dir=tmp_path, CONCURRENCY=CONNECTIONS, LEASE_SECONDS=2)
    with make.start() as sender:
        sender.wait_for(r"database\.away failures=6")
        count = len(server.messages)
        proxy.listen()
        server.wait_for(count + 1, seconds=BACK_WITHIN)
        wait_until_sent(79)
        assert sender.stop() == 0

    assert {STATUS.sent: 79, STATUS.failed: 1} == statuses()
    assert (0, "failed") == (copies(server), Attempt.objects.get(email__to=refused).outcome)
    assert not Attempt.objects.filter(outcome="unknown").exists()


def freeze_behind(count: int, *, server: SmtpServer, proxy: TcpProxy) -> None:
    """Cut off the database as the next mail behind so many is taken: nobody settles it then."""
    server.script.set("BODY", lambda _: proxy.freeze() if len(server.messages) == count else None)


def test_a_connection_that_carries_nothing_any_more_is_noticed_and_its_results_are_kept(
    way: str, proxy: TcpProxy, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    server.latency = 0.02
    freeze_behind(50, server=server, proxy=proxy)
    queue_mails(150)
    make = Senders(database_url=way, server=server, state_dir=tmp_path, CONCURRENCY=CONNECTIONS, LEASE_SECONDS=15)
    with make.start() as sender:
        server.wait_for(51)
        began = time.monotonic()
        sender.wait_for(r"database\.unanswered", seconds=NOTICED_WITHIN)
        noticed_after = time.monotonic() - began
        sender.wait_for(r"database\.away")
        settled = Email.objects.filter(status=STATUS.sent).count()
        count = len(server.messages)
        proxy.thaw()
        server.wait_for(count + 1, seconds=BACK_WITHIN)
        wait_until_sent(150)
        assert sender.stop() == 0

    assert (True, True, 0) == (noticed_after < NOTICED_WITHIN, settled < count, copies(server))
    assert {"sent"} == set(Attempt.objects.values_list("outcome", flat=True))


@pytest.mark.nightly
def test_a_connection_that_dies_while_it_listens_is_noticed(
    way: str, proxy: TcpProxy, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    with Senders(database_url=way, server=server, state_dir=tmp_path).start() as sender:
        queue_mails(1, prefix="first")
        wait_until_sent(1)
        proxy.freeze()
        sender.wait_for(r"database\.unanswered", seconds=NOTICED_WITHIN)
        queue_mails(1, prefix="second")
        proxy.thaw()
        server.wait_for(2, seconds=BACK_WITHIN)
        assert sender.stop() == 0


def test_term_is_honoured_on_a_connection_that_carries_nothing_and_what_was_accepted_is_proven(
    way: str, proxy: TcpProxy, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    server.latency = 0.02
    freeze_behind(20, server=server, proxy=proxy)
    subjects = queue_mails(100)
    make = Senders(database_url=way, server=server, state_dir=tmp_path, CONCURRENCY=CONNECTIONS)
    with make.start() as sender:
        server.wait_for(21)

        assert sender.stop(signal.SIGTERM) == 0
    count = len(server.messages)
    assert Email.objects.filter(status=STATUS.sent).count() < count
    proxy.thaw()
    with make.start() as sender:
        wait_until_sent(100)
        sender.wait_for(r"attempts\.proven")
        assert sender.stop() == 0
    assert Counter(subjects) == subjects_of(server)


def test_what_was_started_by_a_commit_whose_answer_was_lost_is_known_not_to_be_sent(
    way: str, proxy: TcpProxy, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    subjects = queue_mails(3)
    make = Senders(database_url=way, server=server, state_dir=tmp_path, CONCURRENCY=1)
    with make.start(env={"MAILQUEUE_FAULTS": "settling=stop"}) as sender:
        wait_until(lambda: psutil.Process(sender.pid).status() == psutil.STATUS_STOPPED)
        proxy.mute()
        sender.send(signal.SIGCONT)
        wait_until(lambda: Attempt.objects.filter(outcome="sent").exists())
        proxy.freeze()

        assert sender.stop(signal.SIGTERM) == 0
    assert Attempt.objects.filter(finished_at__isnull=True, started_at__isnull=False).count() == 1
    proxy.thaw()
    with make.start() as sender:
        wait_until_sent(3, seconds=BACK_WITHIN)
        assert sender.stop() == 0
    assert Counter(subjects) == subjects_of(server)
    assert {"sent"} == set(Attempt.objects.values_list("outcome", flat=True))


def test_term_is_honoured_while_connecting_hangs(
    way: str, proxy: TcpProxy, server: SmtpServer, tmp_path: Path
) -> None:
    proxy.freeze()
    with Senders(database_url=way, server=server, state_dir=tmp_path).start() as sender:
        sender.wait_for(r"database\.away")

        assert sender.stop(signal.SIGTERM) == 0


def test_no_transaction_is_open_while_a_mail_server_is_silent(
    way: str, somebody: psycopg.Connection, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    server.script.set("BODY", Silence())
    queue_mails(CONNECTIONS)
    with Senders(database_url=way, server=server, state_dir=tmp_path).start() as sender:
        wait_until(lambda: any("DATA" in session.commands for session in server.sessions))

        def is_idle() -> bool:
            rows = somebody.execute(f"SELECT state, xact_start IS NULL {OURS}", [NAME]).fetchall()
            return rows == [("idle", True)]

        wait_until(is_idle)
        sender.send(signal.SIGKILL)
