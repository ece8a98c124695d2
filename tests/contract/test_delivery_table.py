"""The table of who is to blame, row by row: a real exchange with a server, and what becomes of the mail.

The tests stand in the order of the table and are named after its rows.
"""

import itertools
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage as ParsedMessage
from email.utils import format_datetime
from typing import Any

import pytest
import requests
from anymail.backends.test import EmailBackend as AnymailTestBackend
from anymail.exceptions import AnymailRequestsAPIError
from anymail.message import AnymailRecipientStatus
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend
from django.utils import timezone
from post_office.models import STATUS, Email

import mailqueue
from mailqueue.conf import Configuration
from mailqueue.delivery.django_backend import DjangoCarrier
from mailqueue.delivery.letter import Carrier, Letter
from mailqueue.delivery.outcomes import Blame, Outcome, Pace, Stage, Trouble, Verdict
from mailqueue.delivery.project_rules import with_own_rules
from mailqueue.delivery.rules import RULES, Rule
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.delivery.smtp_pipelining import Distrust
from mailqueue.models import Attempt, AttemptOutcome, MailState, StopReason
from mailqueue.queue.claim import Claim
from mailqueue.queue.history import History
from mailqueue.queue.settle import Settlement
from mailqueue.sender.conclude import conclude
from mailqueue.sender.journal import Acceptance
from mailqueue.testing import Command, CutBody, Drop, Silence, SmtpServer, Unanswered
from tests.support.http_server import Answer, HttpServer
from tests.support.letters import OPEN, RECIPIENT, SENDER, broken_letter, letter
from tests.support.senders import Senders

SHORT_SECONDS = 0.3
HOUR = 3600
THREE = ["a@example.net", "b@example.net", "c@example.net"]
CLAIM = Claim(attempt_id=1, email_id=2, number=1, token="t", backend="default", priority=1)

Serve = Callable[..., SmtpServer]
Connect = Callable[..., Carrier]
Seen = tuple[Verdict, Stage, Blame, Trouble]
Fate = tuple[AttemptOutcome, bool, Any, StopReason | None]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=[False, True], ids=["plain", "pipelining"])
def serve(request: Any, stack: ExitStack) -> Serve:
    """Starts scripted servers that are gone when the test ends; of each test once some that offer PIPELINING."""
    offered = {"pipelining": request.param}
    return lambda *args, **options: stack.enter_context(SmtpServer(*args, **offered | options))


@pytest.fixture
def connect(stack: ExitStack) -> Connect:
    """Makes carriers for servers, with the options of Django's SMTP backend."""

    def connect(server: SmtpServer, *, rules: Sequence[Rule] = RULES, **options: Any) -> SmtpCarrier:
        given: dict[str, Any] = {"alias": "test", "host": server.host, "port": server.port}
        carrier = SmtpCarrier(EmailBackend(**given | options), rules=rules, distrust=Distrust())
        stack.callback(carrier.close)
        return carrier

    return connect


def seen(outcome: Outcome) -> Seen:
    return outcome.verdict, outcome.stage, outcome.blame, outcome.trouble


def settlement(outcome: Outcome, *recipients: str, past: History | None = None, **more: Any) -> Settlement:
    return conclude(
        CLAIM,
        outcome,
        recipients=recipients or (RECIPIENT,),
        history=past or History(),
        configuration=Configuration(RETRY_DELAYS=(100, 1000)),
        **more,
    )


def fate(outcome: Outcome, *recipients: str, past: History | None = None, **more: Any) -> Fate:
    """What becomes of the mail: the attempt's outcome, whether it counts, how long it waits, why it is stopped."""
    found = settlement(outcome, *recipients, past=past, **more)
    return found.outcome, found.is_counted, found.retry_after, found.stop


def verdicts(outcome: Outcome) -> dict[str, Verdict]:
    return {recipient: result.verdict for recipient, result in outcome.recipients.items()}


def rcpts(server: SmtpServer) -> list[list[str]]:
    """The recipients that were offered in each transaction."""
    found: list[list[str]] = []
    for command in (command for session in server.sessions for command in session.commands):
        if command.startswith("MAIL"):
            found.append([])
        elif command.startswith("RCPT"):
            found[-1].append(command.partition("<")[2].partition(">")[0])
    return found


SENT: Fate = (AttemptOutcome.SENT, False, None, None)
FAILED: Fate = (AttemptOutcome.FAILED, True, None, StopReason.FAILED)
RETRIED: Fate = (AttemptOutcome.RETRY, True, pytest.approx(100, rel=0.21), None)
BREAKER_WAITS: Fate = (AttemptOutcome.DEFERRED, False, None, None)
HELD: Fate = (AttemptOutcome.DEFERRED, False, None, StopReason.HELD)
UNTIL_ASKED = (AttemptOutcome.UNKNOWN, False, None, StopReason.UNKNOWN)


def aside(seconds: float) -> Fate:
    return (AttemptOutcome.DEFERRED, False, pytest.approx(seconds, rel=0.11), None)


# DNS, refused, unreachable, connect timeout; greeting 4xx or 5xx; EHLO failure


UNREACHED: dict[str, dict[str, Any]] = {
    "DNS": {"host": "nowhere.invalid"},
    "a name that cannot be": {"host": "a" * 70 + ".example"},
    "refused": {"port": 1},
    "unreachable": {"host": "255.255.255.255"},
}


@pytest.mark.parametrize("options", UNREACHED.values(), ids=UNREACHED)
def test_a_server_that_is_not_reached_counts_one_on_the_breaker(
    serve: Serve, connect: Connect, options: dict[str, Any]
) -> None:
    outcome = connect(serve(), **options).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.CONNECT, Blame.BACKEND, Trouble.CONNECT) == seen(outcome)
    assert BREAKER_WAITS == fate(outcome)


def test_connect_timeout(serve: Serve, connect: Connect, stack: ExitStack) -> None:
    deaf = stack.enter_context(socket.socket())
    deaf.bind(("127.0.0.1", 0))
    deaf.listen(0)
    for _ in range(3):  # more than its queue has room for
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(deaf.getsockname())

    outcome = connect(serve(), port=deaf.getsockname()[1], timeout=SHORT_SECONDS).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.CONNECT, Blame.BACKEND, Trouble.CONNECT) == seen(outcome)
    assert "TimeoutError" == outcome.error


@pytest.mark.parametrize(
    ("script", "stage"),
    [
        pytest.param({"GREETING": "450 later"}, Stage.GREETING, id="greeting 4xx"),
        pytest.param({"GREETING": "554 no"}, Stage.GREETING, id="greeting 5xx"),
        pytest.param({"GREETING": Drop()}, Stage.GREETING, id="no greeting"),
        pytest.param({"GREETING": Silence()}, Stage.GREETING, id="silence"),
        pytest.param({"EHLO": "500 what", "HELO": "500 what"}, Stage.EHLO, id="EHLO refused"),
        pytest.param({"EHLO": "451 later"}, Stage.EHLO, id="EHLO later"),
        pytest.param({"EHLO": Drop()}, Stage.EHLO, id="EHLO lost"),
    ],
)
def test_a_greeting_that_fails_counts_one_on_the_breaker(
    serve: Serve, connect: Connect, impatient: Callable[..., None], script: dict[str, Any], stage: Stage
) -> None:
    if stage is Stage.GREETING:
        impatient(stage)
    outcome = connect(serve(script)).deliver(letter(), OPEN)

    assert (Verdict.DEFER, stage, Blame.BACKEND, Trouble.CONNECT) == seen(outcome)
    assert BREAKER_WAITS == fate(outcome)


# TLS handshake or certificate


@pytest.mark.parametrize(
    ("server", "options"),
    [
        pytest.param({"tls": "implicit"}, {"use_ssl": True}, id="certificate, TLS from the first byte"),
        pytest.param({"tls": "starttls"}, {"use_tls": True}, id="certificate, STARTTLS"),
        pytest.param({}, {"use_ssl": True}, id="handshake"),
        pytest.param({}, {"use_tls": True}, id="STARTTLS not offered"),
    ],
)
def test_tls_that_fails_shuts_the_backend_and_nothing_goes_in_plain_text(
    serve: Serve, connect: Connect, server: dict[str, Any], options: dict[str, Any]
) -> None:
    running = serve(**server)

    outcome = connect(running, **options).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.TLS, Blame.BACKEND, Trouble.SHUT) == seen(outcome)
    assert (BREAKER_WAITS, []) == (fate(outcome), rcpts(running))


# 421 at greeting, EHLO or MAIL, "too many connections", 432 4.3.2


@pytest.mark.parametrize(
    ("script", "stage", "becomes"),
    [
        pytest.param({"GREETING": "421 4.3.2 busy"}, Stage.GREETING, BREAKER_WAITS, id="greeting"),
        pytest.param({"EHLO": "421 4.3.2 busy"}, Stage.EHLO, BREAKER_WAITS, id="EHLO"),
        pytest.param({"MAIL": "421 4.7.0 busy"}, Stage.MAIL, aside(10), id="MAIL"),
        pytest.param({"MAIL": "450 too many connections"}, Stage.MAIL, aside(10), id="too many connections"),
        pytest.param({"BODY": "432 4.3.2 thread limit exceeded"}, Stage.FINAL_DOT, aside(10), id="432 4.3.2"),
    ],
)
def test_421_up_to_mail_and_too_many_connections_halve_the_connections_and_count_on_the_breaker(
    serve: Serve, connect: Connect, script: dict[str, Any], stage: Stage, becomes: Fate
) -> None:
    carrier = connect(serve(script))

    outcome = carrier.deliver(letter(), OPEN)

    assert (Verdict.DEFER, stage, Blame.BACKEND, Trouble.CROWDED) == seen(outcome)
    assert (becomes, False) == (fate(outcome), carrier.is_connected())


# 421 from RCPT on


@pytest.mark.parametrize("verb", ["RCPT", "DATA", "BODY"])
def test_421_from_rcpt_on_closes_and_makes_that_mail_wait_without_an_attempt(
    serve: Serve, connect: Connect, verb: str
) -> None:
    carrier = connect(serve({verb: "421 4.7.0 busy"}))

    outcome = carrier.deliver(letter(), OPEN)
    doubled = [fate(outcome, past=History(deferred=count)) for count in (0, 1, 2, 30)]

    assert (Verdict.DEFER, Blame.BACKEND, Trouble.BUSY) == (outcome.verdict, outcome.blame, outcome.trouble)
    assert ([aside(10), aside(20), aside(40), aside(600)], False) == (doubled, carrier.is_connected())


def test_421_from_rcpt_on_is_the_messages_the_third_time_while_others_pass(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve({"BODY": "421 4.7.0 busy"})).deliver(letter(), OPEN)

    assert [aside(20), RETRIED, aside(40)] == [
        fate(outcome, past=History(deferred=1, turned_away=1), others_pass=True),
        fate(outcome, past=History(deferred=2, turned_away=2), others_pass=True),
        fate(outcome, past=History(deferred=2, turned_away=2), others_pass=False),
    ]


# Lost connection or timeout before the final dot


LOSSES = [{"MAIL": Drop()}, {"RCPT": Drop()}, {"DATA": Drop()}, {"DATA": CutBody(10_000)}]


@pytest.mark.parametrize("script", LOSSES)
def test_a_line_lost_before_the_final_dot_is_tried_again_at_once(
    serve: Serve, connect: Connect, script: dict[str, Any]
) -> None:
    server = serve({verb: [step] for verb, step in script.items()})

    outcome = connect(server).deliver(letter(body="x" * 5_000_000), OPEN)

    assert (SENT, 2) == (fate(outcome), server.connect_count)


@pytest.mark.parametrize("script", [*LOSSES, {"RCPT": Silence()}, {"DATA": Silence()}])
def test_a_line_lost_twice_before_the_final_dot_is_the_messages(
    serve: Serve, connect: Connect, impatient: Callable[..., None], script: dict[str, Any]
) -> None:
    server = serve(script)
    impatient(Stage.MAIL, Stage.RCPT, Stage.DATA)
    carrier = connect(server)

    outcome = carrier.deliver(letter(body="x" * 5_000_000), OPEN)

    assert (Verdict.RETRY, Blame.MESSAGE, Trouble.NONE) == (outcome.verdict, outcome.blame, outcome.trouble)
    assert (RETRIED, 2, False) == (fate(outcome), server.connect_count, carrier.is_connected())


# 535, 534, 538, 530 at MAIL, credentials missing


@pytest.mark.parametrize(
    ("script", "server", "stage"),
    [
        pytest.param({}, {"users": {"shop": "right"}}, Stage.AUTH, id="535"),
        pytest.param({"AUTH": "534 5.7.9 app password"}, {"users": {"shop": "wrong"}}, Stage.AUTH, id="534"),
        pytest.param({"AUTH": "538 5.7.11 encrypt"}, {"users": {"shop": "wrong"}}, Stage.AUTH, id="538"),
        pytest.param({"MAIL": "530 5.7.0 log in"}, {"users": {"shop": "wrong"}}, Stage.MAIL, id="530 at MAIL"),
        pytest.param({}, {}, Stage.AUTH, id="AUTH not offered"),
    ],
)
def test_refused_credentials_open_the_breaker_at_once(
    serve: Serve, connect: Connect, script: dict[str, Any], server: dict[str, Any], stage: Stage
) -> None:
    outcome = connect(serve(script, **server), username="shop", password="wrong").deliver(letter(), OPEN)

    assert (Verdict.DEFER, stage, Blame.BACKEND, Trouble.SHUT) == seen(outcome)
    assert (AttemptOutcome.DEFERRED, False) == fate(outcome)[:2]


def test_credentials_missing(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve(users={"shop": "secret"})).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.MAIL, Blame.BACKEND, Trouble.SHUT) == seen(outcome)


# 454 at AUTH or STARTTLS


@pytest.mark.parametrize(
    ("script", "server", "options", "stage"),
    [
        pytest.param(
            {"AUTH": "454 4.7.0 not now"},
            {"users": {"shop": "x"}},
            {"username": "shop", "password": "x"},
            Stage.AUTH,
            id="AUTH",
        ),
        pytest.param(
            {"STARTTLS": "454 4.7.0 not now"}, {"tls": "starttls"}, {"use_tls": True}, Stage.TLS, id="STARTTLS"
        ),
    ],
)
def test_454_at_auth_or_starttls_counts_one_on_the_breaker(
    serve: Serve,
    connect: Connect,
    script: dict[str, Any],
    server: dict[str, Any],
    options: dict[str, Any],
    stage: Stage,
) -> None:
    outcome = connect(serve(script, **server), **options).deliver(letter(), OPEN)

    assert (Verdict.DEFER, stage, Blame.BACKEND, Trouble.CONNECT) == seen(outcome)
    assert BREAKER_WAITS == fate(outcome)


# 454 throttling, "rate exceeded", "too many messages"


@pytest.mark.parametrize(
    "script",
    [
        {"BODY": "454 Throttling failure: Maximum sending rate exceeded."},
        {"MAIL": "451 4.7.1 Rate limit exceeded"},
        {"MAIL": "452 too many messages"},
        {"RCPT": "454 Throttling failure"},
        {"BODY": "550 5.7.0 Requested action not taken: too many emails per second"},
    ],
)
def test_throttling_lets_the_mail_step_aside_shortly_and_costs_no_attempt(
    serve: Serve, connect: Connect, script: dict[str, Any]
) -> None:
    outcome = connect(serve(script)).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Blame.BACKEND, Trouble.THROTTLED) == (outcome.verdict, outcome.blame, outcome.trouble)
    assert [aside(5), aside(20), aside(600)] == [fate(outcome, past=History(deferred=count)) for count in (0, 2, 7)]


def test_throttling_with_a_hint_waits_as_long_as_the_server_asks(serve: Serve, connect: Connect) -> None:
    server = serve({"MAIL": "451 4.7.1 Rate limit exceeded, try again in 2 minutes"})

    assert aside(126) == fate(connect(server).deliver(letter(), OPEN))


def test_throttling_among_recipients_sends_to_those_accepted_and_to_the_rest_a_moment_later(
    serve: Serve, connect: Connect
) -> None:
    server = serve({"RCPT": [None, "454 Throttling failure"]})

    outcome = connect(server).deliver(letter(recipients=THREE), OPEN)
    found = settlement(outcome, *THREE)

    offered = [THREE if server.pipelining else THREE[:2]]
    accepted = [name for name in THREE if name in server.messages[0].recipients]
    assert (Trouble.THROTTLED, offered) == (outcome.trouble, rcpts(server))
    assert (AttemptOutcome.RETRY, False, 5, True, accepted) == (
        found.outcome,
        found.is_counted,
        found.retry_after,
        found.is_accepted,
        list(found.recipients or {}),
    )


# Daily quota, sending suspended


@pytest.mark.parametrize(
    "script",
    [
        {"BODY": "454 Throttling failure: Daily message quota exceeded."},
        {"BODY": "550 5.4.5 Daily user sending limit exceeded."},
        {"DATA": "452 4.5.3 too many recipients today"},
        {"BODY": "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"},
        {"MAIL": "550 Sending suspended for this account"},
        {"MAIL": "454 4.7.0 quota"},
    ],
)
def test_a_daily_quota_and_suspended_sending_open_the_breaker_at_once_and_beat_the_5xx_digit(
    serve: Serve, connect: Connect, script: dict[str, Any]
) -> None:
    outcome = connect(serve(script)).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Blame.BACKEND, Trouble.SHUT) == (outcome.verdict, outcome.blame, outcome.trouble)
    assert (AttemptOutcome.DEFERRED, False) == fate(outcome)[:2]


# Sender refused at MAIL, "not verified"


@pytest.mark.parametrize(
    "script",
    [
        {"MAIL": "550 no"},
        {"BODY": "550 5.1.8 Access denied, bad outbound sender"},
        {"MAIL": "553 5.7.1 not owned by user"},
        {"MAIL": "554 5.7.1 no"},
        {"MAIL": "501 5.1.7 bad sender address"},
        {"MAIL": "550 5.1.8 domain does not exist"},
        {"RCPT": "553 5.7.1 <shop@example.com>: Sender address rejected: not owned by user shop"},
        {"BODY": "554 Message rejected: Email address is not verified. It failed the check: shop@example.com"},
    ],
)
def test_a_refused_sender_is_held_with_what_the_server_said(
    serve: Serve, connect: Connect, script: dict[str, Any]
) -> None:
    outcome = connect(serve(script)).deliver(letter(), OPEN)

    assert (Verdict.HOLD, Blame.BACKEND, Trouble.SENDER) == (outcome.verdict, outcome.blame, outcome.trouble)
    assert HELD == fate(outcome)
    assert f"The mail server refuses this sender address. It said: {outcome.reply}" == settlement(outcome).note


# Larger than the advertised SIZE, 552 5.3.4


def test_a_mail_larger_than_the_advertised_size_fails_before_it_is_sent(serve: Serve, connect: Connect) -> None:
    server = serve(size_limit=500)

    outcome = connect(server).deliver(letter(body="x" * 1_000), OPEN)

    assert ((Verdict.FAIL, Stage.MAIL, Blame.MESSAGE, Trouble.NONE), "5.3.4") == (
        seen(outcome),
        outcome.reply.enhanced,
    )
    assert (FAILED, []) == (fate(outcome), rcpts(server))


@pytest.mark.parametrize("script", [{"MAIL": "552 5.3.4 too big"}, {"BODY": "552 5.3.4 too big"}])
def test_552_5_3_4(serve: Serve, connect: Connect, script: dict[str, Any]) -> None:
    outcome = connect(serve(script)).deliver(letter(), OPEN)

    assert (Verdict.FAIL, Blame.MESSAGE, FAILED) == (outcome.verdict, outcome.blame, fate(outcome))


# 450, 451, 452 at MAIL or DATA, 4.3.x, 4.4.x, 4.7.x


@pytest.mark.parametrize(
    "script",
    [
        {"MAIL": "450 later"},
        {"MAIL": "451 4.3.0 local error"},
        {"MAIL": "452 4.3.1 no space"},
        {"DATA": "451 4.4.1 no answer from host"},
        {"BODY": "451 4.7.1 later"},
        {"BODY": "450 4.4.2 bad connection"},
    ],
)
def test_a_4xx_about_the_message_is_retried_with_backoff(
    serve: Serve, connect: Connect, script: dict[str, Any]
) -> None:
    outcome = connect(serve(script)).deliver(letter(), OPEN)

    assert (Verdict.RETRY, Blame.MESSAGE, Trouble.NONE) == (outcome.verdict, outcome.blame, outcome.trouble)
    assert RETRIED == fate(outcome)


def test_a_4xx_about_the_message_with_a_hint_waits_at_least_so_long(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve({"BODY": "451 4.7.1 please retry in 1 hour"})).deliver(letter(), OPEN)
    waits = [settlement(outcome).retry_after or 0 for _ in range(20)]

    assert HOUR <= min(waits) <= max(waits) <= 1.1 * HOUR


# 450 4.2.1, 4.7.x rate limited, greylisting at RCPT


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        ("450 4.2.1 The user is receiving mail too quickly", pytest.approx(100, rel=0.21)),
        ("451 4.7.1 rate limited", pytest.approx(100, rel=0.21)),
        ("450 4.2.0 Greylisted, see you in 300 seconds", pytest.approx(315, rel=0.05)),
        ("450 4.7.1 Greylisted for 5 minutes", pytest.approx(315, rel=0.05)),
    ],
)
def test_a_4xx_about_a_recipient_is_retried_and_the_servers_hint_wins(
    serve: Serve, connect: Connect, reply: str, wait: Any
) -> None:
    outcome = connect(serve({"RCPT": reply})).deliver(letter(), OPEN)

    assert (Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, Trouble.NONE) == seen(outcome)
    assert (AttemptOutcome.RETRY, True, wait, None) == fate(outcome)


def test_of_several_recipients_the_one_who_is_due_first_decides(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": ["450 4.2.0 try again in 40 s", "450 4.2.0 later", "450 4.2.0 try again in 9 hours"]})

    outcome = connect(server).deliver(letter(recipients=THREE), OPEN)

    assert (AttemptOutcome.RETRY, True, pytest.approx(42, rel=0.05), None) == fate(outcome, *THREE)


# Mailbox full


@pytest.mark.parametrize(
    "script",
    [{"RCPT": "452 4.2.2 over quota"}, {"RCPT": "552 5.2.2 full"}, {"BODY": "552 Mailbox is full"}],
)
def test_a_full_mailbox_is_tried_every_four_hours_for_at_most_a_day(
    serve: Serve, connect: Connect, script: dict[str, Any]
) -> None:
    outcome = connect(serve(script)).deliver(letter(), OPEN)
    late = History(counted=6, first_counted_ago=24 * HOUR)

    assert (AttemptOutcome.RETRY, True, pytest.approx(4 * HOUR, rel=0.21), None) == fate(outcome)
    assert FAILED == fate(outcome, past=late)


def test_a_full_mailbox_fails_after_a_day_while_the_others_go_on(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": ["452 4.2.2 full", "451 4.3.0 later"]})

    outcome = connect(server).deliver(letter(recipients=THREE[:2]), OPEN)
    found = settlement(outcome, *THREE[:2], past=History(counted=6, first_counted_ago=24 * HOUR))

    assert (AttemptOutcome.RETRY, {THREE[0]: "fail", THREE[1]: "retry"}) == (
        found.outcome,
        {address: result["verdict"] for address, result in (found.recipients or {}).items()},
    )


# Too many recipients


def at_most(count: int, reply: str) -> Callable[[Command], str | None]:
    """A server that takes so many recipients in a transaction."""
    return lambda command: reply if len(command.session.recipients) >= count else None


@pytest.mark.parametrize(
    "reply",
    ["452 4.5.3 too many", "452 too many recipients", "552 no more", "550 5.5.3 no", "451 Too many rcpts"],
)
def test_too_many_recipients_the_accepted_get_it_and_the_rest_at_once_in_another_transaction(
    serve: Serve, connect: Connect, reply: str
) -> None:
    server = serve({"RCPT": at_most(2, reply), "BODY": ["250 queued as A1", "250 queued as A2"]})
    carrier = connect(server)

    first = carrier.deliver(letter(recipients=THREE), OPEN)
    found = settlement(first, *THREE)
    rest = carrier.deliver(letter(recipients=THREE[2:]), OPEN)

    assert (AttemptOutcome.RETRY, False, 0, None) == fate(first, *THREE)
    assert ({*THREE[:2]}, True, "A1") == ({*(found.recipients or {})}, found.is_accepted, found.queue_id)
    assert (SENT, [THREE, THREE[2:]], 1) == (fate(rest, THREE[2]), rcpts(server), server.connect_count)


def test_too_many_recipients_of_ten_thousand_offers_and_keeps_only_those_of_one_transaction(
    serve: Serve, connect: Connect
) -> None:
    everybody = [f"{number}@example.net" for number in range(10_000)]
    server = serve({"RCPT": at_most(100, "452 4.5.3 too many")})

    found = settlement(connect(server).deliver(letter(recipients=everybody, to=["x@example.net"]), OPEN), *everybody)
    past = History()
    past.add(outcome=found.outcome, is_counted=found.is_counted, recipients=found.recipients)

    # With pipelining whole groups are offered.
    offered = 200 if server.pipelining else 101
    assert (offered, everybody[:100]) == (len(rcpts(server)[0]), list(found.recipients or {}))
    assert everybody[100:] == past.pending(everybody)


def test_too_many_recipients_though_none_was_accepted_is_an_ordinary_retry(serve: Serve, connect: Connect) -> None:
    everybody = [f"{number}@example.net" for number in range(1_000)]
    server = serve({"RCPT": "452 4.5.3 too many"})

    outcome = connect(server).deliver(letter(recipients=everybody, to=["x@example.net"]), OPEN)

    assert (RETRIED, None) == (fate(outcome, *everybody), settlement(outcome, *everybody).recipients)
    assert (100 if server.pipelining else 10) == len(rcpts(server)[0])


def test_too_many_recipients_and_then_a_message_that_is_refused_is_refused_for_all(
    serve: Serve, connect: Connect
) -> None:
    server = serve({"RCPT": at_most(2, "452 4.5.3 too many"), "BODY": "554 5.7.1 spam"})

    outcome = connect(server).deliver(letter(recipients=THREE), OPEN)
    later = connect(serve({"RCPT": at_most(2, "452 4.5.3"), "BODY": "451 later"})).deliver(
        letter(recipients=THREE), OPEN
    )

    assert {THREE[0]: Verdict.FAIL, THREE[1]: Verdict.FAIL, THREE[2]: Verdict.RETRY} == verdicts(outcome)
    assert RETRIED == fate(later, *THREE)


# 550 5.1.x, 551, 553 at RCPT; other 5xx at RCPT or DATA


@pytest.mark.parametrize(
    "reply", ["550 5.1.1 unknown", "550 5.1.2 no such host", "551 not local", "553 mailbox name not allowed", "550 no"]
)
def test_a_hard_bounce_fails_that_recipient(serve: Serve, connect: Connect, reply: str) -> None:
    server = serve({"RCPT": [reply]})

    outcome = connect(server).deliver(letter(recipients=THREE[:2]), OPEN)

    assert {THREE[0]: Verdict.FAIL, THREE[1]: Verdict.SENT} == verdicts(outcome)
    assert (AttemptOutcome.PARTLY_SENT, True, None, None) == fate(outcome, *THREE[:2])


@pytest.mark.parametrize(
    ("script", "blame"),
    [
        ({"RCPT": "500 what"}, Blame.RECIPIENT),
        ({"DATA": "503 bad sequence"}, Blame.MESSAGE),
        ({"BODY": "554 5.6.0 content"}, Blame.MESSAGE),
    ],
)
def test_other_5xx_at_rcpt_or_data_fail(serve: Serve, connect: Connect, script: dict[str, Any], blame: Blame) -> None:
    outcome = connect(serve(script)).deliver(letter(), OPEN)

    assert (Verdict.FAIL, blame, Trouble.NONE, FAILED) == (
        outcome.verdict,
        outcome.blame,
        outcome.trouble,
        fate(outcome),
    )


# Policy or spam


@pytest.mark.parametrize(
    "script",
    [
        {"RCPT": "554 5.7.1 Service unavailable; Client host blocked using zen.example"},
        {"RCPT": "550 blacklisted"},
        {"DATA": "550 5.7.1 no"},
        {"BODY": "550 5.7.26 unauthenticated"},
        {"BODY": "554 looks like spam"},
    ],
)
def test_policy_or_spam_fails_the_message_and_is_told(serve: Serve, connect: Connect, script: dict[str, Any]) -> None:
    outcome = connect(serve(script)).deliver(letter(), OPEN)

    assert (Verdict.FAIL, Blame.MESSAGE, Trouble.POLICY) == (outcome.verdict, outcome.blame, outcome.trouble)
    assert FAILED == fate(outcome)


# SMTPUTF8 or 8BITMIME needed, not offered


def test_8bitmime_offered_is_used(serve: Serve, connect: Connect) -> None:
    server = serve(extensions=["8BITMIME"])

    connect(server).deliver(letter(body="Grüße\n"), OPEN)

    assert (f"MAIL FROM:<{SENDER}> BODY=8BITMIME", False) == (
        server.sessions[0].commands[1],
        server.messages[0].content.isascii(),
    )


def test_8bitmime_offered_is_not_asked_for_a_mail_in_ascii(serve: Serve, connect: Connect) -> None:
    server = serve(extensions=["8BITMIME"])

    connect(server).deliver(letter(), OPEN)

    assert f"MAIL FROM:<{SENDER}>" == server.sessions[0].commands[1]


def test_8bitmime_not_offered_makes_us_encode_again(serve: Serve, connect: Connect) -> None:
    server = serve(extensions=[])

    outcome = connect(server).deliver(letter(subject="Grüße", body="Schöne Grüße\n"), OPEN)
    received = server.messages[0]
    parsed: ParsedMessage = received.message

    assert (SENT, f"MAIL FROM:<{SENDER}>") == (fate(outcome), server.sessions[0].commands[1])
    assert (True, "Grüße", "Schöne Grüße") == (
        received.content.isascii(),
        parsed["Subject"],
        parsed.get_content().strip(),
    )


def test_8bitmime_not_offered_leaves_the_octets_of_who_builds_the_message_himself(
    serve: Serve, connect: Connect
) -> None:
    class Own(EmailMessage):
        def message(self, **options: Any) -> Any:
            return super().message(**options)

    def build() -> EmailMessage:
        return Own("s", "Grüße\n", SENDER, [RECIPIENT])

    server = serve(extensions=[])

    connect(server).deliver(Letter(SENDER, [RECIPIENT], build), OPEN)

    assert "Grüße".encode() in server.messages[0].content


def test_smtputf8_not_offered_an_international_domain_goes_as_idna(serve: Serve, connect: Connect) -> None:
    server = serve()

    outcome = connect(server).deliver(letter(recipients=["ann@bücher.example"]), OPEN)

    assert (SENT, [["ann@xn--bcher-kva.example"]]) == (fate(outcome), rcpts(server))


def test_smtputf8_not_offered_a_local_part_beyond_ascii_fails_with_its_reason(serve: Serve, connect: Connect) -> None:
    server = serve()

    outcome = connect(server).deliver(letter(recipients=["jürgen@example.net"]), OPEN)

    assert (FAILED, "5.6.7", []) == (fate(outcome), outcome.reply.enhanced, rcpts(server))
    assert "SMTPUTF8" in settlement(outcome).note


# Some RCPT accepted, some refused, DATA accepted


def test_partly_sent_the_accepted_are_done_4xx_alone_are_retried_and_5xx_failed(
    serve: Serve, connect: Connect
) -> None:
    server = serve({"RCPT": [None, "550 5.1.1 unknown", "451 4.3.0 later"]})
    carrier = connect(server)
    past = History()

    first = settlement(carrier.deliver(letter(recipients=THREE), OPEN), *THREE)
    past.add(outcome=first.outcome, is_counted=first.is_counted, recipients=first.recipients)
    rest = past.pending(THREE)
    second = fate(carrier.deliver(letter(recipients=rest), OPEN), *rest, past=past)

    assert (AttemptOutcome.RETRY, True, [THREE[2]]) == (first.outcome, first.is_counted, rest)
    assert ((AttemptOutcome.PARTLY_SENT, False, None, None), [THREE, [THREE[2]]]) == (second, rcpts(server))


# 421 at RCPT after some were accepted


def test_421_at_rcpt_after_some_were_accepted_nobody_has_it(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": [None, "550 5.1.1 unknown", Drop("421 4.7.0 busy")]})
    carrier = connect(server)

    outcome = carrier.deliver(letter(recipients=THREE), OPEN)
    again = carrier.deliver(letter(recipients=THREE), OPEN)

    assert (Verdict.DEFER, Stage.RCPT, Blame.BACKEND, Trouble.BUSY) == seen(outcome)
    assert (aside(10), {}, SENT) == (fate(outcome, *THREE), outcome.recipients, fate(again, *THREE))


# Lost connection, timeout or crash after the final dot


@pytest.mark.parametrize("answer", [Drop(), Silence(), Unanswered(), Unanswered(drop=False)])
def test_a_line_lost_after_the_final_dot_is_unknown_and_resent_once_or_held(
    serve: Serve, connect: Connect, impatient: Callable[..., None], answer: Any
) -> None:
    server = serve({"BODY": answer})
    impatient(Stage.FINAL_DOT)

    outcome = connect(server).deliver(letter(), OPEN)

    assert (Verdict.UNKNOWN, Stage.FINAL_DOT, Blame.NONE, Trouble.NONE) == seen(outcome)
    assert [(AttemptOutcome.UNKNOWN, False, 600, None), UNTIL_ASKED, UNTIL_ASKED, 1] == [
        fate(outcome),
        fate(outcome, past=History(unknown=1)),
        fate(outcome, unknown_outcome="hold"),
        server.connect_count,
    ]


# 2xx, then QUIT fails


@pytest.mark.parametrize("answer", [Drop(), "500 what", "421 gone"])
def test_2xx_then_quit_fails_is_sent(serve: Serve, connect: Connect, answer: Any) -> None:
    carrier = connect(serve({"QUIT": answer}))

    outcome = carrier.deliver(letter(), OPEN)
    carrier.close()

    assert (SENT, False) == (fate(outcome), carrier.is_connected())


# Database error after 2xx


def test_database_error_after_2xx_the_result_is_kept_with_all_that_it_says(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": at_most(2, "452 4.5.3"), "BODY": "250 2.0.0 Ok: queued as 4F3A"})

    found = settlement(connect(server).deliver(letter(recipients=THREE), OPEN), *THREE)
    kept = Acceptance.of(found).settlement()

    assert (AttemptOutcome.RETRY, True, False, 0, "4F3A", found.recipients) == (
        kept.outcome,
        kept.is_accepted,
        kept.is_counted,
        kept.retry_after,
        kept.queue_id,
        kept.recipients,
    )


# Build or render error, bad header, bad address, missing attachment


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(broken_letter(KeyError("name")), id="render"),
        pytest.param(broken_letter(RecursionError("template")), id="recursion"),
        pytest.param(broken_letter(FileNotFoundError("invoice.pdf")), id="missing attachment"),
        pytest.param(letter(subject="two\nlines"), id="bad header"),
        pytest.param(letter(recipients=["no address <"]), id="bad address"),
    ],
)
def test_a_mail_that_cannot_be_built_fails_at_once_with_the_reason(
    serve: Serve, connect: Connect, broken: Letter
) -> None:
    server = serve()

    outcome = connect(server).deliver(broken, OPEN)

    assert (Verdict.FAIL, Stage.BUILD, Blame.MESSAGE, Trouble.NONE) == seen(outcome)
    assert (FAILED, True, 0) == (fate(outcome), bool(settlement(outcome).note), server.connect_count)


def test_a_mail_that_memory_does_not_suffice_for_is_tried_three_times(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve()).deliver(broken_letter(MemoryError()), OPEN)

    assert [RETRIED, FAILED] == [fate(outcome), fate(outcome, past=History(counted=2, raised=2))]


# Expired, cancelled; an alias that is no longer configured


@pytest.mark.django_db(transaction=True)
def test_expired_cancelled_and_unconfigured_mail_goes_to_no_server(
    senders: Callable[..., Senders], server: SmtpServer
) -> None:
    def queued(subject: str, **changes: Any) -> Email:
        EmailMessage(subject, "Thank you.", SENDER, [RECIPIENT]).send()
        email = Email.objects.get(subject=subject)
        Email.objects.filter(pk=email.pk).update(**changes)
        return email

    expired = queued("expired", expires_at=timezone.now() - timedelta(hours=1))
    cancelled = queued("cancelled", priority=1)
    gone = queued("gone", backend_alias="gone")
    mailqueue.cancel(cancelled)
    queued("good", priority=0)
    with senders().start("--until-empty") as sender:
        code = sender.wait()

    assert (0, ["good"]) == (code, [sent.message["Subject"] for sent in server.messages])
    assert {expired.pk: "expired", cancelled.pk: "cancelled", gone.pk: "held"} == dict(
        MailState.objects.values_list("email_id", "reason")
    )
    assert {STATUS.failed: 3, STATUS.sent: 1} == {
        status: Email.objects.filter(status=status).count() for status in (STATUS.failed, STATUS.sent)
    }
    assert not Attempt.objects.open().exists()


# HTTP backends (Anymail)


class Service(BaseEmailBackend):
    """As Anymail's for a mail service: a POST, and an exception of its kind for what is no success."""

    esp_name = "Service"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send_messages(self, email_messages: Any) -> int:
        for mail in email_messages:
            response = requests.post(self.url, data=mail.body, timeout=30)
            if response.status_code != 200:
                raise AnymailRequestsAPIError(email_message=mail, response=response, backend=self)
        return len(email_messages)


@pytest.fixture
def call(stack: ExitStack) -> Callable[..., Outcome]:
    """Delivers a mail through a service that answers so."""

    def call(status: int, body: bytes = b"", **headers: str) -> Outcome:
        answer = Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})
        url = stack.enter_context(HttpServer(answer)).url
        return DjangoCarrier(lambda: Service(url)).deliver(letter(), OPEN)

    return call


Call = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 5),
        ({"Retry_After": "120"}, 126),
        ({"Retry_After": "999999"}, 5),
    ],
)
def test_http_429_is_throttling_and_retry_after_is_honoured(
    call: Call, headers: dict[str, str], seconds: float
) -> None:
    outcome = call(429, **headers)

    assert (Verdict.DEFER, Blame.BACKEND, Trouble.THROTTLED) == (outcome.verdict, outcome.blame, outcome.trouble)
    assert aside(seconds) == fate(outcome)


def test_http_429_may_say_a_date_to_come_back_at(call: Call) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

    assert aside(3600) == fate(call(429, Retry_After=in_an_hour))


@pytest.mark.parametrize("status", [401, 403])
def test_http_401_and_403_open_the_breaker(call: Call, status: int) -> None:
    outcome = call(status)

    assert (Verdict.DEFER, Blame.BACKEND, Trouble.SHUT) == (outcome.verdict, outcome.blame, outcome.trouble)


@pytest.mark.parametrize("status", [400, 422])
def test_http_400_and_422_fail_the_message(call: Call, status: int) -> None:
    outcome = call(status, b"bad")

    assert (Verdict.FAIL, Blame.MESSAGE, FAILED) == (outcome.verdict, outcome.blame, fate(outcome))


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [(500, {}, pytest.approx(100, rel=0.21)), (503, {"Retry_After": "600"}, pytest.approx(630, rel=0.05))],
)
def test_http_5xx_is_retried_and_a_hint_wins(call: Call, status: int, headers: dict[str, str], wait: Any) -> None:
    outcome = call(status, **headers)

    assert (Verdict.RETRY, Blame.MESSAGE, Trouble.NONE) == (outcome.verdict, outcome.blame, outcome.trouble)
    assert (AttemptOutcome.RETRY, True, wait, None) == fate(outcome)


# A Django backend returns 0 or None without raising


@pytest.mark.parametrize("answer", [0, None])
def test_a_django_backend_that_returns_0_or_none_is_retried(answer: int | None) -> None:
    class Backend(BaseEmailBackend):
        def send_messages(self, email_messages: Any) -> Any:  # noqa: ARG002
            return answer

    outcome = DjangoCarrier(Backend).deliver(letter(), OPEN)

    assert (Verdict.RETRY, Blame.MESSAGE, RETRIED) == (outcome.verdict, outcome.blame, fate(outcome))


# An exception nobody foresaw


def test_an_exception_nobody_foresaw_is_retried_three_times_at_most() -> None:
    class Backend(BaseEmailBackend):
        def send_messages(self, email_messages: Any) -> Any:  # noqa: ARG002
            raise ZeroDivisionError("unforeseen")

    carrier = DjangoCarrier(Backend)
    past, fates = History(), []
    for _ in range(3):
        found = settlement(carrier.deliver(letter(), OPEN), past=past)
        past.add(
            outcome=found.outcome, is_counted=found.is_counted, reply_code=found.reply_code, error=found.error, ago=100
        )
        fates.append((found.outcome, found.is_counted))

    assert [(AttemptOutcome.RETRY, True), (AttemptOutcome.RETRY, True), (AttemptOutcome.FAILED, True)] == fates


def test_an_exception_nobody_foresaw_on_the_line_is_told_so(serve: Serve, connect: Connect) -> None:
    class Rude:
        def is_open(self) -> bool:
            raise ZeroDivisionError("unforeseen")

    outcome = connect(serve()).deliver(letter(), Rude())

    assert (Verdict.RETRY, Stage.BODY, Pace.THREE_TIMES) == (outcome.verdict, outcome.stage, outcome.pace)


# The table is data, and a project extends it per backend


@pytest.mark.parametrize(
    ("script", "rule", "expected"),
    [
        (
            {"GREETING": "554 go away"},
            {"stages": ["greeting"], "codes": [554], "then": "shut"},
            (Verdict.DEFER, Stage.GREETING, Blame.BACKEND, Trouble.SHUT),
        ),
        (
            {"MAIL": "451 4.7.1 no"},
            {"stages": ["mail"], "enhanced": ["4.7."], "then": "too_many_connections"},
            (Verdict.DEFER, Stage.MAIL, Blame.BACKEND, Trouble.CROWDED),
        ),
        (
            {"RCPT": "550 5.7.1 grey list, come back"},
            {"stages": ["rcpt"], "text": "GREY ?list", "then": "retry_recipient"},
            (Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, Trouble.NONE),
        ),
        (
            {"DATA": "554 slowly"},
            {"text": "slowly", "then": "throttle"},
            (Verdict.DEFER, Stage.DATA, Blame.BACKEND, Trouble.THROTTLED),
        ),
        (
            {"BODY": "450 never"},
            {"stages": ["final_dot"], "text": "^never$", "then": "fail"},
            (Verdict.FAIL, Stage.FINAL_DOT, Blame.MESSAGE, Trouble.NONE),
        ),
    ],
)
def test_a_rule_of_the_project_goes_before_the_table(
    serve: Serve, connect: Connect, script: dict[str, Any], rule: dict[str, Any], expected: Seen
) -> None:
    carrier = connect(serve(script), rules=with_own_rules([rule]))

    assert expected == seen(carrier.deliver(letter(), OPEN))


# The provider's queue id


def test_the_queue_id_of_the_reply_is_kept(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve({"BODY": "250 2.0.0 Ok: queued as 4XyZ1b"})).deliver(letter(), OPEN)

    assert "4XyZ1b" == settlement(outcome).queue_id


def test_the_id_that_anymail_notes_is_kept() -> None:
    outcome = DjangoCarrier(lambda: Noting("msg-4711")).deliver(letter(), OPEN)

    assert (SENT, "msg-4711") == (fate(outcome), settlement(outcome).queue_id)


class Noting(AnymailTestBackend):
    """Anymail's own backend for tests, with ids and statuses of its service."""

    def __init__(self, *ids: str, statuses: Sequence[str] = ("sent",) * 3) -> None:
        super().__init__()
        self.ids = ids
        self.statuses = statuses

    def parse_recipient_status(self, response: Any, payload: Any, message: Any) -> Any:  # noqa: ARG002
        ids = itertools.cycle(self.ids)
        return {
            address: AnymailRecipientStatus(next(ids), status)
            for address, status in zip(payload.recipient_emails, self.statuses, strict=False)
        }


def test_the_ids_of_a_service_that_gives_each_recipient_its_own_are_all_kept() -> None:
    outcome = DjangoCarrier(lambda: Noting("b", "a")).deliver(letter(recipients=THREE), OPEN)

    assert "a b" == settlement(outcome, *THREE).queue_id


def test_whom_a_service_does_not_take_while_it_takes_others_failed() -> None:
    carrier = DjangoCarrier(lambda: Noting("a", statuses=["queued", "rejected", "invalid"]))

    outcome = carrier.deliver(letter(recipients=THREE), OPEN)

    assert (AttemptOutcome.PARTLY_SENT, True, None, None) == fate(outcome, *THREE)
    assert dict(zip(THREE, [Verdict.SENT, Verdict.FAIL, Verdict.FAIL], strict=True)) == verdicts(outcome)
