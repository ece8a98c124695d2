"""What a host does to a sender: a wrong clock, a stop, a full disk, no memory. Nothing is lost, the process lives."""

import json
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import django
import psycopg
import pytest
from django.core.mail import EmailMessage
from django.utils import timezone
from post_office import mail as post_office_mail
from post_office.models import STATUS, Email

from mailqueue import EmailBackend
from mailqueue.models import Attempt
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.processes import RunningProcess
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
from tests.support.wrong_clock import build as build_clock
from tests.support.wrong_clock import environment_with_clock

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
WrongClock = Callable[[timedelta], dict[str, str]]
CONNECTIONS = 4
LEASE_SECONDS = 2
STARVED_SECONDS = 2
MEGABYTE = 1_000_000
# Not measured: what measures coverage is not made for a process without memory, and has crashed in one.
SHORT_OF_MEMORY = {"MALLOC_ARENA_MAX": "1", "COVERAGE_PROCESS_CONFIG": None}


@pytest.fixture(scope="module")
def clock_off_by(tmp_path_factory: pytest.TempPathFactory) -> WrongClock:
    """Return the environment of a process whose host's clock is wrong."""
    return partial(environment_with_clock, library=build_clock(tmp_path_factory.mktemp("clock")))


def test_senders_whose_clocks_are_ten_minutes_apart_hold_their_leases_against_each_other(
    senders: MakeSenders, server: SmtpServer, clock_off_by: WrongClock
) -> None:
    # Longer than a lease for each mail, which takes four replies: without a lease that holds, the other sender would
    # reap it. The lease itself outlasts a machine that is busy for a moment.
    lease_seconds = 8
    server.latency = 0.3 * lease_seconds
    make = senders(CONCURRENCY=CONNECTIONS, LEASE_SECONDS=lease_seconds)
    wrong = timedelta(minutes=5)
    with make.start(env=clock_off_by(wrong)) as fast, make.start(env=clock_off_by(-wrong)) as slow:
        wait_until_alive(2)
        subjects = queue_mails(8)
        wait_until_sent(8)
        hours = [hour_said_by(fast), hour_said_by(slow)]
        codes = [fast.stop(), slow.stop()]

    assert [0, 0] == codes
    assert timedelta(minutes=9) < hours[0] - hours[1] < timedelta(minutes=11)
    assert Counter(subjects) == subjects_of(server)
    assert {"sent"} == set(Attempt.objects.values_list("outcome", flat=True))


def hour_said_by(sender: RunningProcess) -> datetime:
    """Return the time at which a sender started, by its host's clock."""
    return datetime.fromisoformat(sender.wait_for(r"^(\S+) INFO sender\.started")[1])


@pytest.mark.parametrize("minutes", [5, -5])
def test_scheduled_mail_is_neither_early_nor_late_by_a_wrong_clock(
    senders: MakeSenders, server: SmtpServer, clock_off_by: WrongClock, minutes: int
) -> None:
    wrong = timedelta(minutes=minutes)
    with senders().start(env=clock_off_by(wrong)) as sender:
        sender.wait_for("sender.started")
        assert abs(hour_said_by(sender) - timezone.now() - wrong) < timedelta(minutes=1)
        due_at = timezone.now() + timedelta(seconds=3)
        post_office_mail.send("a@example.com", "shop@example.com", subject="soon", scheduled_time=due_at)
        post_office_mail.send(
            "a@example.com", "shop@example.com", subject="later", scheduled_time=due_at + timedelta(minutes=4)
        )
        server.wait_for(1)
        late_by = timezone.now() - due_at
        assert sender.stop() == 0

    assert timedelta(0) <= late_by < timedelta(minutes=1)
    assert ["soon"] == list(subjects_of(server))


def test_a_sender_that_wakes_up_after_three_leases_sends_nothing_that_another_has_taken_over(
    senders: MakeSenders, server: SmtpServer
) -> None:
    """The server is slow in the data, so that mails are short of their final dot when the sender stops."""
    server.latency = 0.3
    subjects = queue_mails(24)
    make = senders(CONCURRENCY=CONNECTIONS, LEASE_SECONDS=LEASE_SECONDS, UNKNOWN_RESEND_AFTER=0.1)
    with make.start() as stopped:
        server.wait_for(2)
        attempts = Attempt.objects.filter(sender=stopped.wait_for(r"sender\.started sender=(\S+)")[1])
        wait_until(attempts.filter(outcome=None, started_at__isnull=False).exists)
        stopped.send(signal.SIGSTOP)
        stopped_at = time.monotonic()
        old_sessions = server.connect_count
        with make.start() as other:
            # What the database had been told before the stop is done by then, too.
            wait_until(lambda: attempts.filter(outcome="unknown").exists() and not attempts.open().exists())
            in_flight = dict(attempts.filter(outcome="unknown").values_list("pk", "email__subject"))
            # All of it, not only what was taken over: two senders at work might take each other for dead.
            wait_until_sent(24)
            wait_until(lambda: time.monotonic() > stopped_at + 3 * LEASE_SECONDS)
            resumed_at = time.monotonic()
            stopped.send(signal.SIGCONT)
            for email_id in attempts.filter(pk__in=in_flight).values_list("email_id", flat=True):
                stopped.wait_for(rf"(attempt\.lost|mail\.sent) email={email_id} ")
            assert [0, 0] == [stopped.stop(), other.stop()]

    finished = [m for m in server.messages if m.connection <= old_sessions and m.accepted_at > resumed_at]
    assert set() == {m.message["Subject"] for m in finished} & set(in_flight.values())
    assert set(Attempt.objects.filter(pk__in=in_flight).values_list("outcome", flat=True)) <= {"unknown", "sent"}
    assert set(subjects) == set(subjects_of(server))
    assert copies(server) <= len(in_flight)
    assert not Attempt.objects.open().exists()


@pytest.fixture
def piped() -> tuple[str, ...]:
    """A command that writes its output to a pipe: a limit on files must not hit the log."""
    return ("bash", "-c", 'exec "$@" > >(exec cat) 2>&1', "bash")


def limit(sender: RunningProcess, what: int, value: int) -> None:
    """Set a soft limit of a running process; it may be lifted again."""
    _, hard = resource.prlimit(sender.pid, what)
    resource.prlimit(sender.pid, what, (value, hard))


def test_a_disk_that_is_full_for_the_journal_is_said_once_a_minute_and_costs_no_mail(
    senders: MakeSenders, server: SmtpServer, tmp_path: Path, piped: tuple[str, ...]
) -> None:
    with senders(CONCURRENCY=CONNECTIONS).start(prefix=piped) as sender:
        sender.wait_for("sender.started")
        queue_mails(20, prefix="before")
        wait_until_sent(20)
        # In the middle of a line: what of it was written must not garble the next one.
        limit(sender, resource.RLIMIT_FSIZE, 150)
        queue_mails(60, prefix="full")
        wait_until_sent(80)
        limit(sender, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
        wait_until(lambda: queue_mails(1, prefix=f"after-{time.monotonic()}") and "journal.back" in sender.said())
        # By then all that came before has come through the pipe as well.
        complaints = sender.said().count("ERROR journal.failed")
        queue_mails(20, prefix="last")
        wait_until(lambda: not Email.objects.exclude(status=STATUS.sent).exists())
        sender.send(signal.SIGKILL)
        sender.wait()

    (journal,) = (tmp_path / "state").glob("journals/*/*.journal")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert (1, 0) == (complaints, copies(server))
    assert len(lines) >= 20


def test_a_state_folder_that_cannot_be_used_costs_no_mail_and_is_used_when_it_can(
    senders: MakeSenders, server: SmtpServer, tmp_path: Path
) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file where a folder should be")
    with senders().start() as sender:
        queue_mails(30)
        wait_until_sent(30)
        assert sender.said().count("ERROR journal.failed") == 1
        blocked.unlink()
        wait_until(lambda: queue_mails(1, prefix="after") and "journal.back" in sender.said())
        assert sender.stop() == 0


def queue_large(octets: int, *, is_attached: bool, subject: str = "large") -> Email:
    """Queue one mail that is so large on the wire: its text, or an attachment."""
    message = EmailMessage(subject, "Thank you.", "shop@example.com", ["large@example.com"])
    if is_attached:
        message.attach("large.bin", b"x" * (octets * 7 // 10), "application/octet-stream")
    else:
        message.body = "x" * octets
    EmailBackend().send_messages([message])
    return Email.objects.get(subject=subject)


@pytest.mark.parametrize("is_attached", [True, False], ids=["attachment", "text"])
def test_a_mail_that_is_too_large_for_the_memory_fails_alone(
    senders: MakeSenders, server: SmtpServer, is_attached: bool
) -> None:
    make = senders(CONCURRENCY=CONNECTIONS, RETRY_DELAYS=[0.1])
    with make.start(env=SHORT_OF_MEMORY) as sender:
        queue_mails(20, prefix="before")
        wait_until_sent(20)
        memory = Path(f"/proc/{sender.pid}/statm").read_text().split()
        limit(sender, resource.RLIMIT_AS, int(memory[0]) * resource.getpagesize() + 40 * MEGABYTE)
        large = queue_large(50 * MEGABYTE, is_attached=is_attached)
        queue_mails(20, prefix="beside")
        wait_until(lambda: Email.objects.filter(pk=large.pk, status=STATUS.failed).exists(), seconds=120)
        queue_mails(20, prefix="after")
        wait_until_sent(60)
        assert sender.stop() == 0

    attempts = Attempt.objects.filter(email=large)
    assert {STATUS.sent: 60, STATUS.failed: 1} == statuses()
    assert 1 <= attempts.filter(is_counted=True).count() <= 3
    assert "MemoryError" in large.mailqueue_state.note


def test_a_sender_that_has_no_memory_for_a_while_lives_and_goes_on(senders: MakeSenders, server: SmtpServer) -> None:
    # A mail that there is no memory for fails at its third try: that comes long after there is some again.
    with senders(CONCURRENCY=CONNECTIONS, RETRY_DELAYS=[4, 10]).start(env=SHORT_OF_MEMORY) as sender:
        queue_mails(20, prefix="before")
        wait_until_sent(20)
        memory = Path(f"/proc/{sender.pid}/statm").read_text().split()
        limit(sender, resource.RLIMIT_AS, int(memory[0]) * resource.getpagesize())
        for number in range(CONNECTIONS):
            queue_large(MEGABYTE, is_attached=False, subject=f"large-{number}")
        queue_mails(20, prefix="beside")
        sender.wait_for("memory|Memory")
        with pytest.raises(subprocess.TimeoutExpired):
            sender.popen.wait(STARVED_SECONDS)
        limit(sender, resource.RLIMIT_AS, resource.RLIM_INFINITY)
        queue_mails(20, prefix="after")
        wait_until(lambda: not Email.objects.exclude(status__in=[STATUS.sent, STATUS.failed]).exists(), seconds=60)
        assert sender.stop() == 0

    large = [f"large-{number}" for number in range(CONNECTIONS)]
    assert {STATUS.sent} == set(Email.objects.exclude(subject__in=large).values_list("status", flat=True))
    assert copies(server) == 0


def test_rows_that_a_stopped_sender_has_locked_are_free_again_before_its_lease_ends(
    senders: MakeSenders, server: SmtpServer, database_url: str
) -> None:
    queue_mails(1)
    make = senders(LEASE_SECONDS=3600)
    with make.start(env={"MAILQUEUE_FAULTS": "settling=stop"}) as stopped:
        server.wait_for(1)
        wait_until(lambda: Path(f"/proc/{stopped.pid}/stat").read_text().split()[2] == "T")
        with psycopg.connect(database_url) as somebody:
            somebody.execute("SET lock_timeout = '20s'")
            somebody.execute("UPDATE post_office_email SET priority = priority")
        stopped.send(signal.SIGCONT)
        wait_until_sent(1)
        assert stopped.stop() == 0

    assert 1 == len(server.messages)


def test_what_a_dead_sender_of_another_host_held_is_taken_over_and_proven_when_that_host_is_back(
    database_url: str, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    def host(name: str, **mailqueue: Any) -> Senders:
        return Senders(
            database_url=database_url,
            server=server,
            state_dir=tmp_path / name,
            UNKNOWN_OUTCOME="hold",
            LEASE_SECONDS=LEASE_SECONDS,
            **mailqueue,
        )

    subjects = queue_mails(20)
    with host("one", CONCURRENCY=1).start(env={"MAILQUEUE_FAULTS": "journaled=kill@5"}) as killed:
        killed.wait()
    with host("two").start() as other:
        wait_until(lambda: statuses() == {STATUS.sent: 19, STATUS.failed: 1}, seconds=60)
        (held,) = Email.objects.filter(mailqueue_state__reason="unknown")
        with host("one").start() as back:
            wait_until_sent(20)
            back.wait_for("attempts.proven count=1")
            assert [0, 0] == [back.stop(), other.stop()]

    assert Counter(subjects) == subjects_of(server)
    assert ["sent"] == list(Attempt.objects.filter(email=held).values_list("outcome", flat=True))


def test_a_backend_that_connects_without_a_time_out_has_one_in_a_sender(senders: MakeSenders) -> None:
    path = "tests.support.timeout_backend.EmailBackend"
    if django.VERSION >= (6, 1):
        changed: dict[str, Any] = {
            "MAILERS": {"default": {"BACKEND": "mailqueue.EmailBackend"}, "smtp": {"BACKEND": path}}
        }
    else:
        changed = {"POST_OFFICE": {"BACKENDS": {"default": path}}}
    queue_mails(1)
    with senders().start(env={"SETTINGS_JSON": json.dumps(changed)}) as sender:
        wait_until(Attempt.objects.filter(reply__contains="a socket waits for 300.0 seconds").exists)
        assert sender.stop() == 0


def test_a_connection_that_can_not_write_down_an_acceptance_lives_and_the_mail_is_settled(
    senders: MakeSenders, server: SmtpServer
) -> None:
    subjects = queue_mails(10)
    with senders(CONCURRENCY=1).start(env={"MAILQUEUE_FAULTS": "accepted=raise@3"}) as sender:
        wait_until_sent(10)
        sender.wait_for("ERROR sender.failed error=FaultError")
        assert sender.stop() == 0

    assert Counter(subjects) == subjects_of(server)
