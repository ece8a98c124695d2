"""Urgent mail behind a bulk, when the server has become slow and the stock is full."""

from collections.abc import Callable

import pytest

from mailqueue.testing.smtp_server import SmtpServer
from tests.support.mails import make_mail
from tests.support.senders import Senders, queue_mails, subjects_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_urgent_mail_is_next_though_much_was_claimed_before_it(
    senders: Callable[..., Senders], server: SmtpServer
) -> None:
    queue_mails(1500)
    with senders(CONCURRENCY=2).start():
        server.wait_for(700)
        server.latency = 0.2
        make_mail(subject="hot", message="Now.", priority=2)
        before = len(server.messages)
        wait_until(lambda: "hot" in subjects_of(server), seconds=60, what="the urgent mail at the server")

    assert [accepted.message["Subject"] for accepted in server.messages].index("hot") - before < 20
