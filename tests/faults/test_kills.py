"""Senders that are killed at every point of their work: nothing is lost, and what may be a copy is marked."""

import signal
from collections import Counter
from collections.abc import Callable

import pytest
from post_office.models import STATUS

from mailqueue.faults import POINTS
from mailqueue.models import Attempt
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.kills import AFTER_JOURNAL, Damage, Life, drain, kill_senders, log_figures
from tests.support.senders import Senders, queue_mails, statuses

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
LATENCY = 0.005
LEASE_SECONDS = 20


def kill(senders: Senders, server: SmtpServer, *, kills: int, mails: int) -> tuple[list[Life], Damage]:
    """Kill senders at work, let one more send the rest, and count what came of it: of at least so many mails."""
    server.latency = LATENCY
    subjects, lives = kill_senders(senders, server, kills=kills, mails=mails)
    server.latency = 0
    drain(senders)
    damage = Damage.of(subjects, server)
    log_figures(lives, damage)
    assert {-signal.SIGKILL} == {life.code for life in lives}
    assert {life.point for life in lives} >= set(POINTS)
    return lives, damage


@pytest.mark.parametrize(("kills", "mails"), [(25, 1000), pytest.param(500, 20_000, marks=pytest.mark.nightly)])
def test_kills_lose_nothing_and_leave_at_most_one_copy_for_each_connection_marked_as_unknown(
    senders: MakeSenders, server: SmtpServer, kills: int, mails: int
) -> None:
    make = senders(LEASE_SECONDS=LEASE_SECONDS, UNKNOWN_RESEND_AFTER=1)
    lives, damage = kill(make, server, kills=kills, mails=mails)

    assert set() == damage.lost
    assert {STATUS.sent: damage.queued - damage.held, STATUS.failed: damage.held} == {STATUS.failed: 0, **statuses()}
    assert [] == [life for life in lives if damage.unknown_by_sender[life.sender] > life.connections]
    assert [] == [life for life in lives if life.point in AFTER_JOURNAL and damage.unknown_by_sender[life.sender] > 0]
    assert damage.unknown_by_sender.keys() <= {life.sender for life in lives}
    assert Counter() == damage.copies_by_mail - damage.unknown_by_mail
    assert 1 == damage.most_message_ids
    assert not Attempt.objects.open().exists()


@pytest.mark.parametrize(("kills", "mails"), [(16, 600), pytest.param(100, 4000, marks=pytest.mark.nightly)])
def test_with_hold_kills_leave_no_copy(senders: MakeSenders, server: SmtpServer, kills: int, mails: int) -> None:
    make = senders(LEASE_SECONDS=LEASE_SECONDS, UNKNOWN_OUTCOME="hold")
    _, damage = kill(make, server, kills=kills, mails=mails)

    assert Counter() == damage.copies_by_mail
    assert set() == damage.lost
    assert {STATUS.sent: damage.queued - damage.held, STATUS.failed: damage.held} == {STATUS.failed: 0, **statuses()}


def test_claims_of_a_killed_sender_of_this_host_go_back_without_waiting_for_the_lease(
    senders: MakeSenders, server: SmtpServer
) -> None:
    server.latency = 0.02
    queue_mails(200)
    make = senders(CONCURRENCY=4, LEASE_SECONDS=3600, UNKNOWN_RESEND_AFTER=0)
    with make.start() as sender:
        server.wait_for(20)
        sender.send(signal.SIGKILL)
        sender.wait()
    with make.start("--until-empty") as sender:
        assert sender.wait() == 0

    assert {STATUS.sent: 200} == statuses()
