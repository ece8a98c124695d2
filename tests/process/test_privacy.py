"""What real senders do not send, and what they do not keep."""

from collections.abc import Callable

import pytest
from post_office.models import STATUS

from mailqueue.ops.states import State, state_of
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.senders import Senders, statuses
from tests.support.situations import make_mail
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_sender_holds_mail_to_those_who_are_not_allowed_and_sends_the_rest(
    senders: Callable[..., Senders], server: SmtpServer
) -> None:
    held = [make_mail(to="ann@shop.example"), make_mail(cc=["bob@shop.example"])]
    for _ in range(20):
        make_mail(to="Dev <dev@Example.com>")
    with senders(ALLOWED_RECIPIENTS=["*@example.com"]).start() as sender:
        wait_until(lambda: statuses() == {STATUS.sent: 20, STATUS.failed: 2}, seconds=30, what="all mail done")
        sender.stop()
        log = sender.said()

    assert {("dev@Example.com",)} == {accepted.recipients for accepted in server.messages}
    assert ([State.HELD] * 2, False) == ([state_of(mail).state for mail in held], "shop.example" in log)
