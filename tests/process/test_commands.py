"""The commands for people at a terminal, beside a real sender and a real server."""

import os
import signal
import subprocess
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from post_office.models import Email

from mailqueue.ops.states import State, state_of
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.processes import MANAGE, environment
from tests.support.senders import Senders, queue_mails, wait_until_alive, wait_until_sent
from tests.support.situations import make_mail

pytestmark = pytest.mark.django_db(transaction=True)


def run(command: str, *arguments: str, **options: object) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def test_a_test_mail_arrives_and_each_step_is_told(senders: Callable[..., Senders], server: SmtpServer) -> None:
    with senders().start():
        wait_until_alive()
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
    with senders().start():
        wait_until_alive()
        before, shown = len(server.messages), run("mailqueue_show", str(mail.pk))
        run("mailqueue_resume", all=True)
        wait_until_sent(1)

    assert (0, True) == (before, "moving" in shown)
    assert State.SENT == state_of(mail).state


@pytest.mark.parametrize("buffering", [None, "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "arguments",
    [("mailqueue_status",), ("mailqueue_status", "--json"), ("mailqueue_show", "example.com"), ("cleanup_mail",)],
)
def test_when_nobody_reads_on_a_command_ends_without_a_word(
    arguments: tuple[str, ...], buffering: str | None, database_url: str
) -> None:
    make_mail()
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*MANAGE, *arguments],
        env=environment({"DATABASE_URL": database_url, "PYTHONUNBUFFERED": buffering}),
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writing)

    assert (b"", 128 + signal.SIGPIPE) == (done.stderr, done.returncode)
