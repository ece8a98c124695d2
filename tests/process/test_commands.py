"""The commands for people at a terminal, beside a real sender and a real server."""

from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from post_office.models import Email

from mailqueue.ops.states import State, state_of
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.senders import Senders, queue_mails, wait_until_sent
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def run(command: str, *arguments: str, **options: object) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def test_a_test_mail_arrives_and_each_step_is_told(senders: Callable[..., Senders], server: SmtpServer) -> None:
    with senders().start() as sender:
        sender.wait_for("sender.started")
        wait_until(lambda: "alive" in run("mailqueue_status"), seconds=30, what="a sender that was seen")
        text = run("mailqueue_send_test", "me@example.com")
    (accepted,) = server.messages

    assert ["me@example.com"] == list(accepted.recipients)
    assert (True, True) == ("senders alive: " in text, "The server took it" in text)


def test_a_test_mail_that_is_refused_is_told_with_what_the_server_said(
    senders: Callable[..., Senders], server: SmtpServer
) -> None:
    server.script.set("RCPT", "550 5.1.1 no such user")
    out = StringIO()
    with senders().start(), pytest.raises(CommandError):
        call_command("mailqueue_send_test", "me@example.com", stdout=out)

    assert "5.1.1 no such user" in out.getvalue()


def test_a_paused_backend_sends_nothing_until_it_is_resumed(
    senders: Callable[..., Senders], server: SmtpServer
) -> None:
    run("mailqueue_pause", all=True, note="moving")
    queue_mails(1)
    (mail,) = Email.objects.all()
    with senders().start() as sender:
        sender.wait_for("sender.started")
        wait_until(lambda: "alive" in run("mailqueue_status"), seconds=30, what="a sender that was seen")
        before, shown = len(server.messages), run("mailqueue_show", str(mail.pk))
        run("mailqueue_resume", all=True)
        wait_until_sent(1)

    assert (0, True) == (before, "moving" in shown)
    assert State.SENT == state_of(mail).state
