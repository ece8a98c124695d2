"""Passwords are nowhere but in the settings; addresses of customers are nowhere in the logs."""

import base64
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.db import connection
from django.test import Client
from django.urls import reverse
from post_office.models import STATUS, Email

from mailqueue.delivery.backends import carrier_for
from mailqueue.delivery.django_backend import DjangoCarrier
from mailqueue.delivery.secrets import Secrets
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.models import Attempt, BackendHealth
from mailqueue.sender.log import told, told_with_traceback
from mailqueue.testing.smtp_server import Command, SmtpServer
from project.email_url import parse_email_url
from tests.support.letters import OPEN, letter
from tests.support.processes import CHECKOUT
from tests.support.secrets import traces
from tests.support.senders import Senders, queue_mails, wait_until_sent
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
USER, PASSWORD = "shop", "xyzzy-4711-plugh"
SHAPES = [
    PASSWORD,
    base64.b64encode(PASSWORD.encode()).decode(),
    base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(),
]
LOUD = {
    "LOGGING": {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "DEBUG"},
        "loggers": {"mailqueue": {"level": "DEBUG"}},
    }
}


def shown(text: str) -> set[str]:
    return {shape for shape in SHAPES if shape in text}


class Echo:
    """Refuses every log-in, and repeats to the client what it said."""

    def __init__(self, reply: str) -> None:
        self.reply = reply

    def __call__(self, _command: Command) -> str:
        return self.reply.format(*SHAPES)


ECHOES = [
    "535 5.7.8 no such user with password {0}",
    "535 5.7.8 not accepted: AUTH PLAIN {2}",
    "535 5.7.8 several\n{1}\n{0}{0}",
    "999 {0} {1}",
    "454 4.7.0 later, {0}",
]


@pytest.mark.parametrize("reply", ECHOES)
def test_a_server_that_repeats_the_credentials_is_quoted_without_them(
    senders: MakeSenders, server: SmtpServer, admin_client: Client, reply: str
) -> None:
    server.users = {USER: "another"}
    server.script.set("AUTH", Echo(reply))
    queue_mails(3)
    environment = {
        "EMAIL_URL": f"smtp://{USER}:{PASSWORD}@127.0.0.1:{server.port}",
        "SETTINGS_JSON": json.dumps(LOUD),
    }
    with senders(PROBE_DELAYS=[0.1]).start("--log-format", "json", env=environment) as sender:
        wait_until(lambda: BackendHealth.objects.exclude(shut_at=None).exists())
        wait_until(lambda: BackendHealth.objects.filter(probe_count__gte=1).exists())
        command_line = Path(f"/proc/{sender.pid}/cmdline").read_text()
        assert sender.stop() == 0
        said = sender.said()

    assert set() == shown(command_line)
    assert set() == shown(said)
    assert [set()] * 3 == [traces(shape) for shape in SHAPES]
    assert "***" in BackendHealth.objects.get().shut_reason
    mail = Email.objects.first()
    assert mail is not None
    for name, arguments in [
        ("admin:mailqueue_backendhealth_changelist", []),
        ("admin:mailqueue_backendhealth_change", [BackendHealth.objects.get().pk]),
        ("admin:post_office_email_change", [mail.pk]),
        ("admin:post_office_email_changelist", []),
    ]:
        page = admin_client.get(reverse(name, args=arguments), follow=True)
        assert (200, set()) == (page.status_code, shown(page.content.decode()))


def test_nothing_that_can_be_printed_shows_the_password(settings: Any) -> None:
    backend = SmtpBackend(alias="test", host="127.0.0.1", port=1, username=USER, password=PASSWORD)
    carrier = SmtpCarrier(backend)
    given = parse_email_url(f"smtp://{USER}:{PASSWORD}@127.0.0.1:25")

    printed = [repr(carrier), repr(DjangoCarrier(lambda: backend)), repr(Secrets(backend)), repr(given), str(given)]

    assert PASSWORD == dataclasses.asdict(given)["password"]
    assert set() == shown(" ".join([*printed, repr(carrier_for("")), repr(vars(Secrets(backend)).keys())]))


class EchoingBackend(SmtpBackend):
    """A project's own backend, which is driven as it is."""

    def send_messages(self, email_messages: Any) -> int:
        return super().send_messages(email_messages)


def test_a_backend_of_the_projects_own_is_quoted_without_its_password() -> None:
    with SmtpServer({"AUTH": Echo(ECHOES[0])}, users={USER: "another"}) as server:
        carrier = DjangoCarrier(
            lambda: EchoingBackend(alias="x", host=server.host, port=server.port, username=USER, password=PASSWORD)
        )
        outcome = carrier.deliver(letter(), OPEN)

    assert (535, set()) == (outcome.reply.code, shown(str(outcome)))


ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+|mail-\d|Thank you")
QUOTING = {
    "MAIL": lambda command: f"250 2.1.0 {command.argument} ok",
    "RCPT": lambda command: {
        "3": f"550 5.1.1 {command.argument} jane unknown",
        "4": f"451 4.7.1 {command.argument} later",
        "5": f"550 5.7.1 {command.argument} relaying denied",
    }.get(command.argument[len("TO:<mail-")], f"250 2.1.5 {command.argument} ok"),
    "BODY": lambda command: f"250 2.0.0 queued for {', '.join(command.session.recipients)}",
}


def test_no_log_names_anybody_whatever_a_server_says(senders: MakeSenders, server: SmtpServer) -> None:
    for verb, step in QUOTING.items():
        server.script.set(verb, step)
    queue_mails(6)
    with senders(GIVE_UP_AFTER=1, RETRY_DELAYS=[0.1], PROBE_DELAYS=[0.1]).start("--log-format", "json") as sender:
        wait_until_sent(3)
        wait_until(lambda: Email.objects.filter(status=STATUS.failed).count() == 3)
        server.script.set("MAIL", lambda command: f"535 5.7.8 {command.argument} must log in")
        queue_mails(1, prefix="mail-9")
        sender.wait_for("backend.shut")
        assert sender.stop() == 0
        said = sender.said()

    assert [] == ADDRESS.findall(said.replace("post_office", ""))
    assert "@" in "".join(Attempt.objects.values_list("reply", flat=True))


def test_what_the_database_quotes_of_a_row_is_not_logged(senders: MakeSenders, server: SmtpServer) -> None:
    queue_mails(2)
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN RAISE EXCEPTION 'no: % to %', NEW.subject, NEW."to" USING DETAIL = NEW.message; END $$"""
        )
        cursor.execute(
            """CREATE TRIGGER refuse BEFORE UPDATE OF status ON post_office_email FOR EACH ROW
               WHEN (NEW.subject = 'mail-0') EXECUTE FUNCTION refuse()"""
        )
    try:
        with senders().start("--log-format", "json") as sender:
            sender.wait_for("mail.unworkable")
            sender.end()
            said = sender.said()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")

    assert "turn.failed" in said
    assert "SQLSTATE" in said
    assert [] == ADDRESS.findall(said)


def test_a_traceback_tells_the_way_and_quotes_nobody() -> None:
    try:
        try:
            raise KeyError("jane@example.com")
        except KeyError as error:
            raise ValueError("Your order, jane@example.com") from error
    except ValueError as error:
        found = told_with_traceback(error)

    assert "test_secrets_stay_secret.py" in found
    assert ["KeyError", "ValueError"] == re.findall(r"^\w+Error$", found, re.MULTILINE)
    assert "no <address>" == told(RuntimeError("no jane@example.com\nmore"))
    assert "no <address> here" == told(OSError('no "jane doe"@[127.0.0.1] here'))


EXECUTES = re.compile(
    r"\b(pickle|marshal|shelve|dill|jsonpickle|cloudpickle)\b|\b(eval|exec)\(|yaml\.(unsafe_)?load\("
)


def test_nothing_that_is_read_is_run() -> None:
    files = [*(CHECKOUT / "mailqueue").rglob("*.py"), *(CHECKOUT / "project").rglob("*.py")]

    assert [] == [f"{path}: {found[0]}" for path in files for found in EXECUTES.finditer(path.read_text())]
