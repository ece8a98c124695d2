"""Commands written ahead of their replies (RFC 2920) change how long a mail takes, and nothing else."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from django.core.mail.backends.smtp import EmailBackend
from hypothesis import given, settings
from hypothesis import strategies as st

from mailqueue.delivery.outcomes import Blame, Outcome, Stage, Trouble, Verdict
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.delivery.smtp_envelope import MOST_AHEAD
from mailqueue.delivery.smtp_pipelining import DISTRUST_SECONDS, Distrust
from mailqueue.testing import Command, Drop, Silence, SmtpServer, Unanswered
from tests.support.letters import CLOSED, OPEN, RECIPIENT, ScriptedFence, letter
from tests.support.loose_smtp import LooseSmtp

LONG_SECONDS = 30.0
THREE = ["a@example.net", "b@example.net", "c@example.net"]
SENT = (Verdict.SENT, Stage.DONE, Blame.NONE, Trouble.NONE)


class FrozenClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack: ExitStack) -> Callable[..., SmtpServer]:
    """Starts scripted servers that offer PIPELINING."""
    return lambda *args, **options: stack.enter_context(SmtpServer(*args, **{"pipelining": True} | options))


@pytest.fixture
def connect(stack: ExitStack) -> Callable[..., SmtpCarrier]:
    def connect(server: SmtpServer | LooseSmtp, *, distrust: Distrust | None = None, **options: Any) -> SmtpCarrier:
        given: dict[str, Any] = {"alias": "test", "host": server.host, "port": server.port, "timeout": LONG_SECONDS}
        carrier = SmtpCarrier(EmailBackend(**given | options), distrust=distrust or Distrust())
        stack.callback(carrier.close)
        return carrier

    return connect


Serve = Callable[..., SmtpServer]
Connect = Callable[..., SmtpCarrier]


def _seen(outcome: Outcome) -> tuple[Verdict, Stage, Blame, Trouble]:
    return outcome.verdict, outcome.stage, outcome.blame, outcome.trouble


def _verbs(server: SmtpServer) -> list[list[str]]:
    return [[command.split()[0].upper() for command in session.commands] for session in server.sessions]


# What is written together


def test_the_envelope_and_data_go_in_one_write_and_the_message_with_its_dot_in_another(stack: ExitStack) -> None:
    server = stack.enter_context(LooseSmtp())
    carrier = SmtpCarrier(EmailBackend(alias="test", host=server.host, port=server.port), distrust=Distrust())

    outcome = carrier.deliver(letter(recipients=THREE), OPEN)
    carrier.close()
    _, envelope, message = server.arrivals[0][:3]

    assert SENT == _seen(outcome)
    assert ["MAIL", "RCPT", "RCPT", "RCPT", "DATA"] == [line.split()[0] for line in envelope.decode().splitlines()]
    assert message.endswith(b"Thank you.\r\n.\r\n")


def test_without_the_offer_each_command_waits_for_the_reply_to_the_last(serve: Serve, connect: Connect) -> None:
    servers = [serve(pipelining=False), serve()]

    for server in servers:
        connect(server).deliver(letter(recipients=THREE), OPEN)

    assert [False, True] == [server.sessions[0].pipelined for server in servers]


def test_the_offer_counts_that_is_made_inside_tls(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_before = ["250 mx.test\nPIPELINING\nSTARTTLS", "250 mx.test"]
    server = serve({"EHLO": only_before}, tls="starttls")
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate_path))

    outcome = connect(server, use_tls=True).deliver(letter(), OPEN)

    assert (SENT, False) == (_seen(outcome), server.sessions[0].pipelined)


@pytest.mark.parametrize("count", [MOST_AHEAD, MOST_AHEAD + 1, 2 * MOST_AHEAD, 2 * MOST_AHEAD + 1, 350])
def test_many_recipients_go_in_groups_and_every_one_gets_the_mail(serve: Serve, connect: Connect, count: int) -> None:
    everybody = tuple(f"{number}@example.net" for number in range(count))
    server = serve()

    outcome = connect(server).deliver(letter(recipients=everybody, to=["x@example.net"]), OPEN)

    assert (SENT, [everybody]) == (_seen(outcome), [sent.recipients for sent in server.messages])


@pytest.mark.parametrize(("count", "groups"), [(1, [1]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
def test_a_group_has_as_many_recipients_as_the_buffers_hold_and_data_goes_with_the_last(
    stack: ExitStack, connect: Connect, count: int, groups: list[int]
) -> None:
    server = stack.enter_context(LooseSmtp())
    everybody = [f"{number}@example.net" for number in range(count)]

    connect(server).deliver(letter(recipients=everybody, to=["x@example.net"]), OPEN)
    *written, _ = server.arrivals[0][1:]

    assert groups == [group.count(b"RCPT TO") for group in written]
    assert [False] * (len(groups) - 1) + [True] == [group.endswith(b"DATA\r\n") for group in written]


def test_a_reply_names_the_recipient_whose_turn_it_was_in_whichever_group(serve: Serve, connect: Connect) -> None:
    everybody = [f"{number}@example.net" for number in range(250)]
    odd = {f"{number}@example.net" for number in (0, 99, 100, 101, 200, 201, 249)}

    def refuse(command: Command) -> str | None:
        return "550 5.1.1 unknown" if command.argument.partition("<")[2].rstrip(">") in odd else None

    outcome = connect(serve({"RCPT": refuse})).deliver(letter(recipients=everybody, to=["x@example.net"]), OPEN)

    assert odd == {name for name, result in outcome.recipients.items() if result.verdict is Verdict.FAIL}


# Refusals


def test_when_mail_is_refused_the_503_that_follow_are_not_about_the_recipients(serve: Serve, connect: Connect) -> None:
    server = serve({"MAIL": ["550 5.7.1 not you"]})
    carrier = connect(server)

    outcome = carrier.deliver(letter(recipients=THREE), OPEN)
    again = carrier.deliver(letter(recipients=THREE), OPEN)

    assert (Verdict.HOLD, Stage.MAIL, Blame.BACKEND, Trouble.SENDER) == _seen(outcome)
    assert ({}, "5.7.1", SENT, 1) == (outcome.recipients, outcome.reply.enhanced, _seen(again), server.connect_count)


EAGER = {"RCPT": "550 5.1.1 unknown", "DATA": "354 go ahead"}


@pytest.mark.parametrize("last", ["554 5.5.1 no valid recipients", "250 2.0.0 Ok: queued", "451 later"])
@pytest.mark.parametrize(
    ("script", "verdict", "stage"),
    [
        (EAGER, Verdict.FAIL, Stage.RCPT),
        ({"MAIL": "451 4.3.0 later", "RCPT": "503 bad sequence", "DATA": "354"}, Verdict.RETRY, Stage.MAIL),
    ],
    ids=["RCPT refused", "MAIL refused"],
)
def test_when_data_is_accepted_for_nobody_an_empty_message_ends_it_and_nobody_has_the_mail(
    serve: Serve, connect: Connect, script: dict[str, Any], verdict: Verdict, stage: Stage, last: str
) -> None:
    server = serve(script | {"BODY": last})
    carrier = connect(server)

    outcome = carrier.deliver(letter(recipients=THREE), OPEN)

    assert (verdict, stage, {}, True) == (outcome.verdict, outcome.stage, outcome.recipients, carrier.is_connected())
    assert (["DATA", ".", "RSET"], []) == (_verbs(server)[0][-3:], [m for m in server.messages if m.content])


def test_the_next_mail_goes_over_the_same_connection_after_an_empty_message(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": ["550 5.1.1 unknown"], "DATA": ["354 go ahead"]})
    carrier = connect(server)
    carrier.deliver(letter(), OPEN)

    outcome = carrier.deliver(letter(), OPEN)

    assert (SENT, 1) == (_seen(outcome), server.connect_count)


def test_no_empty_message_goes_to_whom_a_server_accepts_though_it_refused_mail(serve: Serve, connect: Connect) -> None:
    server = serve({"MAIL": "451 4.3.0 later", "RCPT": "250 ok", "DATA": "354 go ahead"})
    carrier = connect(server)

    outcome = carrier.deliver(letter(), OPEN)
    server.wait_until(lambda: server.open_connection_count == 0)

    assert (Verdict.RETRY, Stage.MAIL, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert (False, [], "DATA") == (carrier.is_connected(), server.messages, _verbs(server)[0][-1])


def test_when_data_is_refused_the_transaction_is_reset(serve: Serve, connect: Connect) -> None:
    server = serve({"DATA": ["451 4.3.0 later"]})
    carrier = connect(server)

    outcome = carrier.deliver(letter(), OPEN)
    again = carrier.deliver(letter(), OPEN)

    assert (Verdict.RETRY, Stage.DATA, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert (["DATA", "RSET", "MAIL"], SENT) == (_verbs(server)[0][3:6], _seen(again))


def test_who_is_accepted_behind_a_throttled_one_gets_the_mail(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": [None, "454 Throttling failure", None]})

    outcome = connect(server).deliver(letter(recipients=THREE), OPEN)

    assert [Verdict.SENT, Verdict.RETRY, Verdict.SENT] == [outcome.recipients[name].verdict for name in THREE]


def test_those_whom_a_server_has_no_more_room_for_are_as_if_they_had_not_been_offered(
    serve: Serve, connect: Connect
) -> None:
    def at_most_one(command: Command) -> str | None:
        return "452 4.5.3 too many" if command.session.recipients else None

    outcomes = [
        connect(serve({"RCPT": at_most_one}, pipelining=pipelining)).deliver(letter(recipients=THREE), OPEN)
        for pipelining in (False, True)
    ]

    assert outcomes[0] == outcomes[1]


def test_a_refusal_for_good_behind_one_for_lack_of_room_is_kept(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": [None, "452 4.5.3 too many", "550 5.1.1 unknown"]})

    outcome = connect(server).deliver(letter(recipients=THREE), OPEN)

    assert [Verdict.SENT, Verdict.RETRY, Verdict.FAIL] == [outcome.recipients[name].verdict for name in THREE]


def test_behind_a_closed_fence_nothing_of_a_short_message_is_sent(serve: Serve, connect: Connect) -> None:
    server = serve()

    outcome = connect(server).deliver(letter(), CLOSED)
    server.wait_until(lambda: server.open_connection_count == 0)

    assert ("LeaseLost", Stage.BODY, [], "DATA") == (
        outcome.error,
        outcome.stage,
        server.messages,
        _verbs(server)[0][-1],
    )


# Losses, and replies that are out of step


STAGES = {"MAIL": Stage.MAIL, "RCPT": Stage.RCPT, "DATA": Stage.DATA}


@pytest.mark.parametrize("answer", [Drop(), Silence(), "zzz what"], ids=["lost", "silent", "garbled"])
@pytest.mark.parametrize("verb", STAGES)
def test_a_loss_has_the_stage_of_the_first_reply_that_is_missing(
    serve: Serve, connect: Connect, impatient: Callable[..., None], verb: str, answer: Any
) -> None:
    server = serve({verb: answer})
    impatient(STAGES[verb], Stage.MAIL)

    outcome = connect(server).deliver(letter(), OPEN)

    assert (Verdict.RETRY, STAGES[verb], Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert ([True, False], 2) == ([session.pipelined for session in server.sessions], server.connect_count)


def test_a_server_that_loses_commands_is_spoken_to_one_by_one_at_once(
    stack: ExitStack, connect: Connect, impatient: Callable[..., None]
) -> None:
    server = stack.enter_context(LooseSmtp(forgets=True))
    impatient(Stage.MAIL)
    carrier = connect(server)

    outcomes = [carrier.deliver(letter(), OPEN) for _ in range(2)]

    assert ([SENT, SENT], 2, 2) == (
        [_seen(outcome) for outcome in outcomes],
        len(server.arrivals),
        server.message_count,
    )


def test_a_server_that_loses_commands_after_a_refusal_is_not_waited_for_twice(
    stack: ExitStack, connect: Connect, impatient: Callable[..., None]
) -> None:
    impatient(Stage.MAIL)
    server = stack.enter_context(LooseSmtp({"MAIL": b"451 4.3.0 later\r\n"}, forgets=True))
    distrust = Distrust()
    carrier = connect(server, distrust=distrust)

    outcome = carrier.deliver(letter(), OPEN)

    assert (Verdict.RETRY, Stage.MAIL, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert (True, False) == (distrust.covers((server.host, server.port)), carrier.is_connected())


@pytest.mark.parametrize(
    "answers",
    [
        {"MAIL": b"250 ok\r\n250 ok\r\n"},
        {"RCPT": b"250 ok\r\n250 ok\r\n"},
        {"DATA": b"354 go ahead\r\n250 ok\r\n"},
        {"DATA": b"250 ok\r\n354 go ahead\r\n"},
        {"RCPT": b"354 go ahead\r\n"},
    ],
)
def test_replies_too_many_or_of_the_wrong_kind_end_the_session_before_any_message_is_sent(
    stack: ExitStack, connect: Connect, answers: dict[str, bytes]
) -> None:
    server = stack.enter_context(LooseSmtp(answers))
    distrust = Distrust()

    connect(server, distrust=distrust).deliver(letter(), OPEN)

    assert distrust.covers((server.host, server.port))
    assert ["EHLO", "MAIL"] == [chunk[:4].decode().upper() for chunk in server.arrivals[0]]


def test_a_reply_behind_the_last_one_is_not_taken_for_that_to_the_next_mail(
    stack: ExitStack, connect: Connect
) -> None:
    server = stack.enter_context(LooseSmtp({"BODY": b"250 ok\r\n250 again\r\n"}))
    distrust = Distrust()
    carrier = connect(server, distrust=distrust)
    carrier.deliver(letter(), OPEN)

    outcome = carrier.deliver(letter(), OPEN)

    assert (SENT, 2, True) == (_seen(outcome), len(server.arrivals), distrust.covers((server.host, server.port)))


@pytest.mark.parametrize("goodbye", [b"421 4.4.2 timeout exceeded\r\n", b"451 4.7.0 Timeout waiting for input\r\n"])
def test_a_goodbye_between_two_mails_is_no_reply_out_of_step(
    stack: ExitStack, connect: Connect, goodbye: bytes
) -> None:
    server = stack.enter_context(LooseSmtp({"BODY": b"250 ok\r\n" + goodbye}))
    distrust = Distrust()
    carrier = connect(server, distrust=distrust)
    carrier.deliver(letter(), OPEN)

    outcome = carrier.deliver(letter(), OPEN)

    assert (SENT, 2, False) == (_seen(outcome), len(server.arrivals), distrust.covers((server.host, server.port)))


def test_a_server_that_closed_while_the_connection_was_idle_is_trusted_as_before(
    serve: Serve, connect: Connect
) -> None:
    server = serve({"MAIL": [None, Drop()]})
    carrier = connect(server)
    carrier.deliver(letter(), OPEN)

    outcome = carrier.deliver(letter(), OPEN)

    assert (SENT, [True, True]) == (_seen(outcome), [session.pipelined for session in server.sessions])


def test_a_goodbye_behind_the_reply_to_data_is_the_backends(stack: ExitStack, connect: Connect) -> None:
    server = stack.enter_context(LooseSmtp({"DATA": b"354 go ahead\r\n421 4.3.2 closing\r\n"}))
    distrust = Distrust()

    outcome = connect(server, distrust=distrust).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.BODY, Blame.BACKEND, Trouble.BUSY) == _seen(outcome)
    assert (0, 1, False) == (server.message_count, len(server.arrivals), distrust.covers((server.host, server.port)))


def test_a_distrusted_server_is_trusted_again_after_a_while() -> None:
    clock = FrozenClock()
    distrust = Distrust(clock=clock)
    distrust.note(("mx.test", 25))
    found = []
    for seconds in (0.0, DISTRUST_SECONDS - 1, 1.0):
        clock.now += seconds
        found.append((distrust.covers(("mx.test", 25)), distrust.covers(("mx.test", 587))))

    assert [(True, False), (True, False), (False, False)] == found


def test_distrust_ends_with_the_sessions_that_are_opened_later(serve: Serve, connect: Connect) -> None:
    server, clock = serve({"RCPT": [Drop()]}), FrozenClock()
    carrier = connect(server, distrust=Distrust(clock=clock))
    carrier.deliver(letter(), OPEN)
    carrier.close()
    clock.now += DISTRUST_SECONDS
    carrier.deliver(letter(), OPEN)

    assert [True, False, True] == [session.pipelined for session in server.sessions]


# The law


POSITIVE = "250 2.0.0 Ok"
REFUSALS = ["451 4.3.0 later", "550 5.1.1 no", "554 5.7.1 spam", "452 4.2.2 full", "503 5.5.1 sequence"]
ENDS = [Drop(), Drop("421 4.7.0 busy"), "421 4.3.2 closing", "zzz what", "354 what"]
TOO_MUCH = ["454 Throttling failure", "452 4.5.3 too many"]


def _sticky(replies: Sequence[Any]) -> list[Any]:
    """Once a server takes no more recipients it takes none: only pipelining asks it about those who come then."""
    found: list[Any] = []
    has_accepted, stuck = False, None
    for reply in replies:
        found.append(stuck or reply)
        has_accepted |= reply == POSITIVE
        if reply == TOO_MUCH[0] or (reply == TOO_MUCH[1] and has_accepted):
            stuck = stuck or reply
    return found


SCRIPTS = st.fixed_dictionaries(
    {
        "MAIL": st.sampled_from([POSITIVE] * 6 + [*REFUSALS, *ENDS, TOO_MUCH[0]]),
        "RCPT": st.lists(st.sampled_from([POSITIVE] * 4 + [*REFUSALS, *TOO_MUCH, *ENDS]), min_size=1, max_size=5).map(
            _sticky
        ),
        "DATA": st.sampled_from(["354 go"] * 4 + ["250 what", *REFUSALS, *ENDS[:-1], TOO_MUCH[0]]),
        "BODY": st.sampled_from([POSITIVE] * 3 + [*REFUSALS, *ENDS, TOO_MUCH[0], Unanswered()]),
    }
)


class Scripted:
    """Answers every transaction alike, so that a second try is told the same."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}

    def __call__(self, command: Command) -> Any:
        reply = self.replies[command.verb]
        if command.verb != "RCPT":
            return reply
        lines = command.session.commands
        began = max(at for at, line in enumerate(lines) if line.startswith("MAIL"))
        return reply[len(lines) - began - 2]


def _what_matters(outcome: Outcome) -> Outcome:
    """A line that is cut is told by the system in several ways."""
    is_lost = outcome.reply.code == 0
    return dataclasses.replace(outcome, reply=None, error="") if is_lost else outcome  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def both() -> Iterator[Callable[[dict[str, Any]], list[Outcome]]]:
    """Delivers by one script, without and with pipelining."""
    scripted = Scripted()
    script = dict.fromkeys(["MAIL", "RCPT", "DATA", "BODY"], scripted)
    with SmtpServer(script) as plain, SmtpServer(script, pipelining=True) as modern:

        def deliver(replies: dict[str, Any]) -> list[Outcome]:
            scripted.replies = replies
            recipients = [f"{number}@example.net" for number in range(len(replies["RCPT"]))]
            outcomes = []
            for server in (plain, modern):
                backend = EmailBackend(alias="test", host=server.host, port=server.port, timeout=LONG_SECONDS)
                carrier = SmtpCarrier(backend, distrust=Distrust())
                outcomes.append(_what_matters(carrier.deliver(letter(recipients=recipients), OPEN)))
                carrier.close()
            return outcomes

        yield deliver


@settings(deadline=None, max_examples=150)
@given(replies=SCRIPTS)
def test_for_the_same_replies_the_outcome_is_the_same(
    both: Callable[[dict[str, Any]], list[Outcome]], replies: dict[str, Any]
) -> None:
    """But for those whom the plain exchange does not ask about any more (`_sticky`)."""
    plain, pipelined = both(replies)

    assert plain == pipelined


def test_a_surprise_in_the_middle_leaves_a_carrier_that_lives(serve: Serve, connect: Connect) -> None:
    def surprise() -> None:
        raise ZeroDivisionError("unforeseen")

    carrier = connect(serve())

    outcome = carrier.deliver(letter(recipients=[RECIPIENT]), ScriptedFence(surprise))

    assert (Verdict.RETRY, Stage.BODY) == (outcome.verdict, outcome.stage)
    assert SENT == _seen(carrier.deliver(letter(), OPEN))
