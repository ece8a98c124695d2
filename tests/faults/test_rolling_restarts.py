"""Senders that are restarted one after the other while there is work: no copy, nothing left behind, each in time."""

import logging
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from post_office.models import STATUS

from mailqueue.models import Attempt, AttemptQuerySet
from mailqueue.sender.loop import GRACE_SECONDS
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.senders import Senders, queue_mails, statuses, subjects_of, wait_until_sent

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
SENDERS = 3
MAILS_OF_A_RESTART = 50

logger = logging.getLogger(__name__)


@pytest.mark.parametrize("latency", [0, 0.02])
@pytest.mark.parametrize("restarts", [10, pytest.param(100, marks=pytest.mark.nightly)])
def test_rolling_restarts_under_load_leave_no_claim_and_no_copy_and_end_within_the_grace_time(
    senders: MakeSenders, server: SmtpServer, restarts: int, latency: float
) -> None:
    server.latency = latency
    make = senders(CONCURRENCY=4)
    subjects = queue_mails(SENDERS * MAILS_OF_A_RESTART)
    claims_at_term, seconds, codes = [], [], []
    with ExitStack() as stack:
        running = deque(stack.enter_context(make.start()) for _ in range(SENDERS))
        for number in range(restarts):
            sender = running.popleft()
            name = sender.wait_for(r"sender\.started sender=(\S+)")[1]
            accepted_before = len(server.messages)
            subjects += queue_mails(MAILS_OF_A_RESTART, prefix=f"restart{number}")
            server.wait_for(accepted_before + 1)
            claims_at_term.append(claims_of(name).count())
            began = time.monotonic()
            codes.append(sender.stop(signal.SIGTERM))
            seconds.append(time.monotonic() - began)
            assert not claims_of(name).exists()
            running.append(stack.enter_context(make.start()))
        server.latency = 0
        wait_until_sent(len(subjects), seconds=300)
        for sender in running:
            sender.wait_for(r"sender\.started")  # TERM ends it before as it ends any process
        codes += [sender.stop(signal.SIGTERM) for sender in running]

    busy = sum(count > 0 for count in claims_at_term)
    logger.info("%d restarts, %d of senders with claims; %d mails", restarts, busy, len(subjects))
    logger.info("from TERM to the end: at most %.2f s", max(seconds))
    assert busy
    assert {0} == set(codes)
    assert max(seconds) < GRACE_SECONDS
    assert Counter(subjects) == subjects_of(server)
    assert {STATUS.sent: len(subjects)} == statuses()
    assert not Attempt.objects.open().exists()
    assert not Attempt.objects.filter(outcome="unknown").exists()


def claims_of(sender: str) -> AttemptQuerySet:
    return Attempt.objects.open().filter(sender=sender)
