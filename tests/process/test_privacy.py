"""What real senders do not send, and what they do not keep."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from post_office.models import STATUS, Email

from mailqueue.ops.states import State, state_of
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.processes import running
from tests.support.senders import Senders, statuses
from tests.support.situations import make_mail
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

BUSY_PURGER = """
import functools
import django
django.setup()
from django.core.management import call_command
from mailqueue.sender import loop
loop.Purger = functools.partial(loop.Purger, first_after=0.05, every=0.05)
call_command("send_queued_mail")
"""


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


def test_a_sender_drops_what_mail_said_whose_time_is_over_and_nothing_else(database_url: str, tmp_path: Path) -> None:
    mails = [make_mail(status=status) for status in (STATUS.sent, STATUS.failed, STATUS.queued)]
    later = timezone.now() + timedelta(days=1)
    Email.objects.update(last_updated=timezone.now() - timedelta(days=31), scheduled_time=later)
    young = make_mail(status=STATUS.sent)
    settings = {"STATE_DIR": str(tmp_path / "state"), "BODY_RETENTION_DAYS": {"sent": 30}}
    given = {"DATABASE_URL": database_url, "MAILQUEUE_JSON": json.dumps(settings)}
    with running(sys.executable, "-c", BUSY_PURGER, env=given) as sender:
        sender.wait_for("contents.dropped count=1")
        Email.objects.filter(pk=young.pk).update(last_updated=timezone.now() - timedelta(days=31, hours=-1))
        sender.wait_for("(?s)contents.dropped count=1.*contents.dropped count=1")

        assert 0 == sender.stop()
    assert {mails[1].pk, mails[2].pk} == set(Email.objects.exclude(message="").values_list("pk", flat=True))
    assert ["Your order"] == list(Email.objects.values_list("subject", flat=True).distinct())
