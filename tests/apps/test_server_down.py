"""With the mail server down, the pages that write mail answer as ever: none of them asks the server anything."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from helpdesk.models import Ticket
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.testing.smtp_server import Silence, SmtpServer
from tests.apps.desk import VISITOR, WATCHER, Desk, make_desk

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

Act = Callable[[Desk], Any]


@pytest.fixture
def silent_server(queueing: None, settings: Settings) -> Iterator[SmtpServer]:
    """The site's mail server: takes every connection, and never says a word on it."""
    with SmtpServer({"GREETING": Silence()}) as server:
        if hasattr(settings, "MAILERS"):
            options = {**settings.MAILERS["smtp"]["OPTIONS"], "host": server.host, "port": server.port}
            settings.MAILERS = {**settings.MAILERS, "smtp": {**settings.MAILERS["smtp"], "OPTIONS": options}}
        else:
            settings.EMAIL_HOST, settings.EMAIL_PORT = server.host, server.port
        yield server


def reset_password(_desk: Desk) -> None:
    User.objects.create_user("ann", "ann@example.com", "forgotten")
    answer = Client().post("/django/password_reset/", {"email": "ann@example.com"})
    assert 302 == answer.status_code


def sign_up(_desk: Desk) -> None:
    fields = {"username": "ann", "email": "ann@example.com", "password1": "4711 tulips"}
    answer = Client().post("/accounts/signup/", fields)
    assert 302 == answer.status_code


def open_ticket(desk: Desk) -> None:
    desk.submit(title="Too big", body="It is.")


def follow_up(desk: Desk) -> None:
    desk.follow_up(watched_ticket(desk), comment="Send it back.")


def merge(desk: Desk) -> None:
    desk.merge(watched_ticket(desk), into=Ticket.objects.create(queue=desk.queue, title="Much too big"))


def watched_ticket(desk: Desk) -> Ticket:
    ticket = Ticket.objects.create(queue=desk.queue, title="Too big", submitter_email=VISITOR)
    ticket.ticketcc_set.create(email=WATCHER)
    return ticket


@pytest.mark.parametrize(
    ("act", "mails"), [(reset_password, 1), (sign_up, 1), (open_ticket, 2), (follow_up, 2), (merge, 1)]
)
def test_a_page_that_writes_mail_leaves_the_server_alone(
    act: Act, mails: int, silent_server: SmtpServer, changed: dict[str, Any], tmp_path: Path
) -> None:
    act(make_desk(tmp_path / "mailbox"))

    assert (0, [STATUS.queued] * mails) == (
        silent_server.connect_count,
        list(Email.objects.values_list("status", flat=True)),
    )
