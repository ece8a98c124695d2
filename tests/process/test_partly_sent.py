"""Mail of which some recipients are refused: a real sender, a real server, and each recipient served once."""

from collections.abc import Callable

import pytest
from django.core.mail import EmailMessage
from post_office.models import STATUS, Email

from mailqueue.models import Attempt, AttemptOutcome
from mailqueue.testing import Command, SmtpServer
from tests.support.senders import Senders
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
ANN, BOB, CARL = "ann@example.com", "bob@example.com", "carl@example.com"


def queue_mail(recipients: list[str]) -> None:
    EmailMessage("order", "Thank you.", "shop@example.com", recipients).send()


def offered(server: SmtpServer) -> list[list[str]]:
    """The recipients that were offered, by transaction."""
    found: list[list[str]] = []
    for session in server.sessions:
        for command in session.commands:
            if command.startswith("MAIL"):
                found.append([])
            elif command.startswith("RCPT"):
                found[-1].append(command.partition("<")[2].partition(">")[0])
    return found


def test_of_three_recipients_only_the_one_that_was_put_off_is_offered_again(
    senders: MakeSenders, server: SmtpServer
) -> None:
    server.script.set("RCPT", ["250 2.1.5 Ok", "550 5.1.1 unknown", "451 4.3.0 later"])
    queue_mail([ANN, BOB, CARL])
    with senders(RETRY_DELAYS=[0.2]).start() as sender:
        server.wait_for(2)
        wait_until(lambda: Email.objects.get().status == STATUS.sent)
        sender.stop()
    attempts = list(Attempt.objects.values_list("outcome", "is_counted"))

    assert [[ANN, BOB, CARL], [CARL]] == offered(server)
    assert [(ANN,), (CARL,)] == [sent.recipients for sent in server.messages]
    assert 1 == len(set(server.message_ids()))
    assert [(AttemptOutcome.RETRY, True), (AttemptOutcome.PARTLY_SENT, False)] == attempts


def test_more_recipients_than_a_transaction_takes_go_in_several_at_once_and_each_gets_it_once(
    senders: MakeSenders, server: SmtpServer
) -> None:
    def at_most_forty(command: Command) -> str | None:
        return "452 4.5.3 Too many recipients" if len(command.session.recipients) >= 40 else None

    def numbered(command: Command) -> str:
        return f"250 2.0.0 Ok: queued as Q{len(command.session.server.messages)}"

    everybody = [f"r{number}@example.com" for number in range(100)]
    server.script.set("RCPT", at_most_forty)
    server.script.set("BODY", numbered)
    queue_mail(everybody)
    with senders(RETRY_DELAYS=[3600]).start() as sender:
        server.wait_for(3)
        wait_until(lambda: Email.objects.get().status == STATUS.sent)
        sender.stop()
    attempts = list(Attempt.objects.values_list("outcome", "is_counted", "queue_id"))

    assert [41, 41, 20] == [len(recipients) for recipients in offered(server)]
    assert everybody == [address for sent in server.messages for address in sent.recipients]
    assert [
        (AttemptOutcome.RETRY, False, "Q0"),
        (AttemptOutcome.RETRY, False, "Q1"),
        (AttemptOutcome.SENT, False, "Q2"),
    ] == attempts


def test_who_has_it_does_not_get_it_again_when_the_row_names_them_in_another_way(
    senders: MakeSenders, server: SmtpServer
) -> None:
    server.script.set("RCPT", ["250 2.1.5 Ok", "451 4.3.0 later"])
    queue_mail([ANN, BOB])
    with senders(RETRY_DELAYS=[3600]).start() as sender:
        server.wait_for(1)
        wait_until(lambda: Email.objects.get().status == STATUS.requeued)
        Email.objects.update(to=f"Ann <ann@EXAMPLE.com>, {BOB}", status=STATUS.queued, scheduled_time=None)
        wait_until(lambda: Email.objects.get().status == STATUS.sent)
        sender.stop()

    assert [[ANN, BOB], [BOB]] == offered(server)
