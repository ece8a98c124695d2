import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from mailqueue.delivery.letter import Letter
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.delivery.smtp import IDLE_SECONDS, LIFE_SECONDS, MAILS_PER_CONNECTION, SmtpCarrier
from mailqueue.delivery.smtp_pipelining import Distrust
from mailqueue.testing.smtp_server import CERTIFICATE, Command, CutBody, Drop, Silence, SmtpServer, Unanswered
from tests.support.letters import CLOSED, OPEN, RECIPIENT, SENDER, ScriptedFence, broken_letter, letter, message

LARGE_BODY = "0123456789 " * 700_000
"""More than the sockets' buffers hold, so that a server that stops reading is noticed in the body."""


class FrozenClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=[False, True], ids=["plain", "pipelining"])
def serve(request: Any, stack: ExitStack) -> Callable[..., SmtpServer]:
    """Starts scripted servers that are gone when the test ends; of each test once some that offer PIPELINING."""
    offered = {"pipelining": request.param}
    return lambda *args, **options: stack.enter_context(SmtpServer(*args, **offered | options))


@pytest.fixture
def connect(stack: ExitStack) -> Callable[..., SmtpCarrier]:
    """Makes carriers for servers, with the options of Django's SMTP backend."""

    def connect(server: SmtpServer, *, clock: FrozenClock | None = None, **options: Any) -> SmtpCarrier:
        carrier = SmtpCarrier(_backend(server, **options), distrust=Distrust(), **({"clock": clock} if clock else {}))
        stack.callback(carrier.close)
        return carrier

    return connect


Serve = Callable[..., SmtpServer]
Connect = Callable[..., SmtpCarrier]


def _backend(server: SmtpServer, *, trusts: bool = False, **options: Any) -> EmailBackend:
    given: dict[str, Any] = {"alias": "test", "host": server.host, "port": server.port}
    backend = EmailBackend(**given | options)
    if trusts:
        backend.ssl_context = ssl.create_default_context(cafile=str(CERTIFICATE))
    return backend


def _seen(outcome: Outcome) -> tuple[Verdict, Stage, Blame, Trouble]:
    return outcome.verdict, outcome.stage, outcome.blame, outcome.trouble


SENT = (Verdict.SENT, Stage.DONE, Blame.NONE, Trouble.NONE)


def _sessions(server: SmtpServer) -> list[list[str]]:
    return [session.commands for session in server.sessions]


# What is sent


def test_a_mail_is_delivered_with_its_envelope(serve: Serve, connect: Connect) -> None:
    server = serve()

    outcome = connect(server).deliver(letter(recipients=["a@example.net", "b@example.net"]), OPEN)

    assert Outcome(Verdict.SENT, Stage.DONE, reply=Reply(250, "Ok: queued", "2.0.0")) == outcome
    assert [(SENDER, ("a@example.net", "b@example.net"))] == [
        (sent.envelope_from, sent.recipients) for sent in server.messages
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"body": "."},
        {"body": ".\n..\n.dot\nmiddle . dot\n\n.\n"},
        {"body": "ohne Umbruch am Ende: Grüße"},
        {"body": "x" * 3_000, "subject": "Grüße, " * 30},
        {"body": ""},
        {"body": "one\r\ntwo\rthree\n"},
    ],
)
def test_the_octets_are_those_that_djangos_own_backend_sends(
    serve: Serve, connect: Connect, changes: dict[str, Any]
) -> None:
    server = serve()

    connect(server).deliver(letter(**changes), OPEN)
    _backend(server).send_messages([message(**changes)])
    ours, djangos = server.messages

    assert djangos.content == ours.content


def test_a_long_message_with_an_attachment_arrives_whole(serve: Serve, connect: Connect) -> None:
    server = serve()
    content = bytes(range(256)) * 4_000

    connect(server).deliver(letter(attachments=[("data.bin", content, "application/octet-stream")]), OPEN)
    attachment = next(iter(server.messages[0].message.iter_attachments()))

    assert content == attachment.get_content()


def test_a_display_name_and_an_international_domain_are_prepared_for_the_envelope(
    serve: Serve, connect: Connect
) -> None:
    server = serve()

    connect(server).deliver(letter(recipients=['"Doe, Jane" <jane@bücher.example>']), OPEN)

    assert [("jane@xn--bcher-kva.example",)] == [sent.recipients for sent in server.messages]


def test_the_size_is_told_where_the_server_wants_to_know_it(serve: Serve, connect: Connect) -> None:
    server = serve(size_limit=10_000)

    connect(server).deliver(letter(), OPEN)
    size = len(server.messages[0].content)

    assert f"MAIL FROM:<{SENDER}> SIZE={size}" in server.sessions[0].commands


def test_what_is_larger_than_the_server_takes_fails_before_it_is_sent(serve: Serve, connect: Connect) -> None:
    server = serve(size_limit=500)

    outcome = connect(server).deliver(letter(body="x" * 1_000), OPEN)

    assert (Verdict.FAIL, Stage.MAIL, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert "5.3.4" == outcome.reply.enhanced
    assert [["ehlo"]] == [[command.split()[0] for command in commands] for commands in _sessions(server)]


def test_the_reply_to_the_final_dot_is_kept_with_its_queue_id(serve: Serve, connect: Connect) -> None:
    server = serve({"BODY": "250 2.0.0 accepted\n2.0.0 queued as 4F3A"})

    outcome = connect(server).deliver(letter(), OPEN)

    assert Reply(250, "accepted queued as 4F3A", "2.0.0") == outcome.reply


# What cannot be built


@pytest.mark.parametrize("error", [FileNotFoundError("invoice.pdf"), KeyError("name"), RecursionError("template")])
def test_a_mail_that_cannot_be_built_fails_with_its_reason(serve: Serve, connect: Connect, error: Exception) -> None:
    server = serve()

    outcome = connect(server).deliver(broken_letter(error), OPEN)

    assert (Verdict.FAIL, Stage.BUILD, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert (type(error).__name__, str(error)) == (outcome.error, outcome.reply.text)
    assert 0 == server.connect_count


def test_a_reason_that_no_database_takes_is_made_fit_for_it(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve()).deliver(broken_letter(FileNotFoundError("Rechnung\x00 f\udcfcr Ann.pdf")), OPEN)

    assert "Rechnung f?r Ann.pdf" == outcome.reply.text


def test_a_reason_that_cannot_be_read_is_left_out(serve: Serve, connect: Connect) -> None:
    class Mute(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise ValueError

    outcome = connect(serve()).deliver(broken_letter(Mute()), OPEN)

    assert (Verdict.FAIL, "Mute", "") == (outcome.verdict, outcome.error, outcome.reply.text)


def test_a_mail_that_memory_did_not_suffice_for_is_tried_again(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve()).deliver(broken_letter(MemoryError()), OPEN)

    assert (Verdict.RETRY, Stage.BUILD, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)


@pytest.mark.parametrize(
    "broken",
    [
        letter(recipients=["no address at all <"]),
        letter(recipients=["a@example.net\r\nRCPT TO:<b@example.net>"]),
        letter(envelope_from="shop@example.com>\r\nRSET"),
        letter(recipients=[]),
        letter(subject="two\nlines"),
        letter(headers={"X-Order": "1\r\nBcc: b@example.net"}),
    ],
    ids=[
        "nonsense",
        "injection",
        "sender",
        "none",
        "subject",
        "header",
    ],
)
def test_a_bad_address_or_header_fails_before_anything_is_sent(serve: Serve, connect: Connect, broken: Letter) -> None:
    server = serve()

    outcome = connect(server).deliver(broken, OPEN)

    assert (Verdict.FAIL, Stage.BUILD, 0) == (outcome.verdict, outcome.stage, server.connect_count)


# The session


def test_a_server_that_is_down_is_the_backends_fault(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.stop()

    outcome = connect(server).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.CONNECT, Blame.BACKEND, Trouble.CONNECT) == _seen(outcome)
    assert "ConnectionRefusedError" == outcome.error


def test_a_server_that_is_back_is_used_again(serve: Serve, connect: Connect) -> None:
    server = serve()
    carrier = connect(server)
    server.stop()
    carrier.deliver(letter(), OPEN)
    server.start()

    outcome = carrier.deliver(letter(), OPEN)

    assert SENT == _seen(outcome)


def test_a_host_name_that_cannot_be_is_the_backends_fault(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve(), host="a" * 70 + ".example").deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.CONNECT, Blame.BACKEND, Trouble.CONNECT) == _seen(outcome)


@pytest.mark.parametrize(
    ("script", "stage", "trouble"),
    [
        ({"GREETING": "421 4.3.2 busy"}, Stage.GREETING, Trouble.CROWDED),
        ({"GREETING": "554 go away"}, Stage.GREETING, Trouble.CONNECT),
        ({"GREETING": Drop()}, Stage.GREETING, Trouble.CONNECT),
        ({"EHLO": "421 4.3.2 busy"}, Stage.EHLO, Trouble.CROWDED),
        ({"EHLO": Drop()}, Stage.EHLO, Trouble.CONNECT),
        ({"EHLO": "502 what", "HELO": "502 what"}, Stage.EHLO, Trouble.CONNECT),
        ({"MAIL": "421 4.3.2 busy"}, Stage.MAIL, Trouble.CROWDED),
        ({"MAIL": "450 4.7.0 too many connections"}, Stage.MAIL, Trouble.CROWDED),
        ({"MAIL": "432 4.3.2 concurrent connections"}, Stage.MAIL, Trouble.CROWDED),
        ({"RCPT": "421 4.7.0 busy"}, Stage.RCPT, Trouble.BUSY),
        ({"DATA": "421 4.7.0 busy"}, Stage.DATA, Trouble.BUSY),
        ({"BODY": "421 4.7.0 busy"}, Stage.FINAL_DOT, Trouble.BUSY),
    ],
)
def test_a_server_that_is_closing_is_the_backends_trouble_and_loses_the_connection(
    serve: Serve, connect: Connect, script: dict[str, Any], stage: Stage, trouble: Trouble
) -> None:
    server = serve(script)
    carrier = connect(server)

    outcome = carrier.deliver(letter(), OPEN)

    assert (Verdict.DEFER, stage, Blame.BACKEND, trouble) == _seen(outcome)
    assert (False, 1) == (carrier.is_connected(), server.connect_count)


def test_a_server_without_ehlo_is_greeted_with_helo(serve: Serve, connect: Connect) -> None:
    server = serve({"EHLO": "502 5.5.1 what?"})

    outcome = connect(server).deliver(letter(), OPEN)

    assert SENT == _seen(outcome)


@pytest.mark.parametrize(
    ("verb", "verdict", "stage"),
    [
        ("GREETING", Verdict.DEFER, Stage.GREETING),
        ("EHLO", Verdict.DEFER, Stage.EHLO),
        ("MAIL", Verdict.RETRY, Stage.MAIL),
        ("RCPT", Verdict.RETRY, Stage.RCPT),
        ("DATA", Verdict.RETRY, Stage.DATA),
        ("BODY", Verdict.UNKNOWN, Stage.FINAL_DOT),
    ],
)
def test_a_server_that_falls_silent_is_waited_for_no_longer_than_the_time_out(
    serve: Serve, connect: Connect, impatient: Callable[..., None], verb: str, verdict: Verdict, stage: Stage
) -> None:
    impatient(stage, Stage.MAIL)
    carrier = connect(serve({verb: Silence()}))

    outcome = carrier.deliver(letter(), OPEN)

    assert (verdict, stage, "TimeoutError") == (outcome.verdict, outcome.stage, outcome.error)
    assert not carrier.is_connected()


# TLS and log-in


@pytest.mark.parametrize(("tls", "option"), [("starttls", "use_tls"), ("implicit", "use_ssl")])
def test_a_mail_goes_encrypted_to_a_server_whose_certificate_is_trusted(
    serve: Serve, connect: Connect, tls: str, option: str
) -> None:
    server = serve(tls=tls)

    outcome = connect(server, trusts=True, **{option: True}).deliver(letter(), OPEN)

    assert SENT == _seen(outcome)
    assert [True] == [session.is_encrypted for session in server.sessions]


@pytest.mark.parametrize(("tls", "option"), [("starttls", "use_tls"), ("implicit", "use_ssl")])
def test_a_certificate_that_nobody_trusts_shuts_the_backend_and_nothing_is_sent(
    serve: Serve, connect: Connect, tls: str, option: str
) -> None:
    server = serve(tls=tls)

    outcome = connect(server, **{option: True}).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.TLS, Blame.BACKEND, Trouble.SHUT) == _seen(outcome)
    assert "SSLCertVerificationError" == outcome.error
    assert [] == [command for commands in _sessions(server) for command in commands if command.startswith("MAIL")]


def test_without_starttls_nothing_is_sent_in_plain_text(serve: Serve, connect: Connect) -> None:
    server = serve()

    outcome = connect(server, use_tls=True).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.TLS, Blame.BACKEND, Trouble.SHUT) == _seen(outcome)
    assert [["ehlo"]] == [[command.split()[0] for command in commands] for commands in _sessions(server)]


def test_tls_that_is_not_available_for_now_counts_on_the_breaker(serve: Serve, connect: Connect) -> None:
    server = serve({"STARTTLS": "454 4.7.0 TLS not available"}, tls="starttls")

    outcome = connect(server, use_tls=True).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.TLS, Blame.BACKEND, Trouble.CONNECT) == _seen(outcome)


def test_a_server_that_speaks_no_tls_on_a_tls_port_shuts_the_backend(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve(), use_ssl=True).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.TLS, Blame.BACKEND, Trouble.SHUT) == _seen(outcome)


def test_a_client_certificate_that_is_missing_shuts_the_backend(serve: Serve, connect: Connect) -> None:
    carrier = connect(serve(tls="implicit"), use_ssl=True, ssl_certfile="/nowhere/client.crt")

    outcome = carrier.deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.TLS, Trouble.SHUT) == (outcome.verdict, outcome.stage, outcome.trouble)


def test_a_mail_is_sent_after_a_log_in(serve: Serve, connect: Connect) -> None:
    server = serve(users={"shop": "secret"})

    outcome = connect(server, username="shop", password="secret").deliver(letter(), OPEN)

    assert (SENT, "shop") == (_seen(outcome), server.sessions[0].user)


@pytest.mark.parametrize(
    ("options", "script", "trouble"),
    [
        ({"users": {"shop": "secret"}}, {}, Trouble.SHUT),
        ({}, {}, Trouble.SHUT),
        ({"users": {"shop": "wrong"}}, {"AUTH": "454 4.7.0 not now"}, Trouble.CONNECT),
        ({"users": {"shop": "wrong"}}, {"AUTH": Drop()}, Trouble.CONNECT),
        ({"users": {"shop": "wrong"}}, {"AUTH": "421 4.7.0 too many errors"}, Trouble.CROWDED),
    ],
    ids=["refused", "not offered", "not now", "lost", "closing"],
)
def test_a_log_in_that_fails_is_the_backends_fault(
    serve: Serve, connect: Connect, options: dict[str, Any], script: dict[str, Any], trouble: Trouble
) -> None:
    carrier = connect(serve(script, **options), username="shop", password="wrong")

    outcome = carrier.deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.AUTH, Blame.BACKEND, trouble) == _seen(outcome)


def test_missing_credentials_shut_the_backend(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve(users={"shop": "secret"})).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.MAIL, Blame.BACKEND, Trouble.SHUT) == _seen(outcome)


def test_a_password_is_in_no_outcome_and_in_no_repr(serve: Serve, connect: Connect) -> None:
    carrier = connect(serve(users={"shop": "x"}), username="shop", password="geheim-ß")

    outcome = carrier.deliver(letter(), OPEN)

    assert (Trouble.SHUT, False) == (outcome.trouble, "geheim" in f"{carrier!r} {outcome!r}")


# Refusals


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"MAIL": "451 4.3.0 later"}, (Verdict.RETRY, Stage.MAIL, Blame.MESSAGE, Trouble.NONE)),
        ({"MAIL": "553 5.1.8 bad sender"}, (Verdict.HOLD, Stage.MAIL, Blame.BACKEND, Trouble.SENDER)),
        ({"MAIL": "452 4.7.0 too many messages"}, (Verdict.DEFER, Stage.MAIL, Blame.BACKEND, Trouble.THROTTLED)),
        ({"MAIL": "550 5.4.5 daily quota"}, (Verdict.DEFER, Stage.MAIL, Blame.BACKEND, Trouble.SHUT)),
        ({"RCPT": "450 4.2.0 greylisted"}, (Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, Trouble.NONE)),
        ({"RCPT": "550 5.1.1 unknown"}, (Verdict.FAIL, Stage.RCPT, Blame.RECIPIENT, Trouble.NONE)),
        ({"RCPT": "552 too many recipients"}, (Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, Trouble.NONE)),
        ({"DATA": "451 4.3.0 later"}, (Verdict.RETRY, Stage.DATA, Blame.MESSAGE, Trouble.NONE)),
        ({"DATA": "554 5.7.1 no"}, (Verdict.FAIL, Stage.DATA, Blame.MESSAGE, Trouble.POLICY)),
        ({"BODY": "451 4.3.0 later"}, (Verdict.RETRY, Stage.FINAL_DOT, Blame.MESSAGE, Trouble.NONE)),
        ({"BODY": "552 5.3.4 too big"}, (Verdict.FAIL, Stage.FINAL_DOT, Blame.MESSAGE, Trouble.NONE)),
        ({"BODY": "550 5.7.1 spam"}, (Verdict.FAIL, Stage.FINAL_DOT, Blame.MESSAGE, Trouble.POLICY)),
        (
            {"BODY": "454 Throttling failure: Maximum sending rate exceeded."},
            (Verdict.DEFER, Stage.FINAL_DOT, Blame.BACKEND, Trouble.THROTTLED),
        ),
        (
            {"BODY": "454 Throttling failure: Daily message quota exceeded."},
            (Verdict.DEFER, Stage.FINAL_DOT, Blame.BACKEND, Trouble.SHUT),
        ),
    ],
)
def test_a_refusal_is_told_with_its_stage_and_its_blame(
    serve: Serve, connect: Connect, script: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    server = serve(script)

    outcome = connect(server).deliver(letter(), OPEN)

    assert expected == _seen(outcome)
    assert ([], {}) == (server.messages, outcome.recipients)


@pytest.mark.parametrize(
    "script", [{"MAIL": ["451 4.3.0 no"]}, {"RCPT": ["550 5.1.1 no"]}, {"DATA": ["451 no"]}, {"BODY": ["550 no"]}]
)
def test_after_a_refusal_the_next_mail_goes_over_the_same_connection(
    serve: Serve, connect: Connect, script: dict[str, Any]
) -> None:
    server = serve(script)
    carrier = connect(server)
    carrier.deliver(letter(), OPEN)

    outcome = carrier.deliver(letter(), OPEN)

    assert (SENT, 1) == (_seen(outcome), server.connect_count)


def test_a_connection_that_is_lost_while_it_is_reset_is_replaced(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": ["550 5.1.1 no"], "RSET": Drop()})
    carrier = connect(server)

    outcome = carrier.deliver(letter(), OPEN)

    assert (Verdict.FAIL, False) == (outcome.verdict, carrier.is_connected())


# Several recipients

THREE = ["a@example.net", "b@example.net", "c@example.net"]


def test_some_recipients_accepted_and_some_refused_is_told_for_each(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": [None, "550 5.1.1 unknown", "451 4.7.1 later"]})

    outcome = connect(server).deliver(letter(recipients=THREE), OPEN)

    assert (Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, Trouble.NONE) == _seen(outcome)
    assert {"a@example.net": Verdict.SENT, "b@example.net": Verdict.FAIL, "c@example.net": Verdict.RETRY} == {
        recipient: result.verdict for recipient, result in outcome.recipients.items()
    }
    assert [("a@example.net",)] == [sent.recipients for sent in server.messages]


def test_each_recipient_keeps_the_reply_that_was_meant_for_it(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": [None, "550 5.1.1 unknown"]})

    outcome = connect(server).deliver(letter(recipients=THREE[:2]), OPEN)

    assert (Verdict.SENT, Stage.DONE) == (outcome.verdict, outcome.stage)
    assert [Reply(250, "Ok: queued", "2.0.0"), Reply(550, "unknown", "5.1.1")] == [
        outcome.recipients[recipient].reply for recipient in THREE[:2]
    ]


def test_a_message_refused_after_some_recipients_were_is_refused_for_the_others(
    serve: Serve, connect: Connect
) -> None:
    server = serve({"RCPT": [None, "550 5.1.1 unknown"], "BODY": "451 4.3.0 later"})

    outcome = connect(server).deliver(letter(recipients=THREE[:2]), OPEN)

    assert (Verdict.RETRY, Stage.FINAL_DOT, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert [Verdict.RETRY, Verdict.FAIL] == [outcome.recipients[recipient].verdict for recipient in THREE[:2]]


def test_recipients_that_are_all_refused_alike_need_no_list(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": "550 5.1.1 unknown"})

    outcome = connect(server).deliver(letter(recipients=THREE), OPEN)

    assert (Verdict.FAIL, {}) == (outcome.verdict, outcome.recipients)
    assert server.pipelining == ("DATA" in server.sessions[0].commands)


def test_after_421_at_a_later_recipient_nobody_has_the_mail(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": [None, "550 5.1.1 unknown", Drop("421 4.7.0 busy")]})

    outcome = connect(server).deliver(letter(recipients=THREE), OPEN)

    assert (Verdict.DEFER, Stage.RCPT, Blame.BACKEND, Trouble.BUSY) == _seen(outcome)
    assert ({}, []) == (outcome.recipients, server.messages)


def test_who_is_put_off_by_throttling_is_retried_when_others_have_the_mail(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": [None, "454 Throttling failure"]})

    outcome = connect(server).deliver(letter(recipients=THREE[:2]), OPEN)

    assert [Verdict.SENT, Verdict.RETRY] == [outcome.recipients[recipient].verdict for recipient in THREE[:2]]
    assert Verdict.RETRY == outcome.verdict


def test_throttling_defers_the_mail_as_a_whole_while_nobody_has_it(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": ["550 5.1.1 unknown", "454 Throttling failure"]})

    outcome = connect(server).deliver(letter(recipients=THREE[:2]), OPEN)

    assert (Verdict.DEFER, Stage.RCPT, Blame.BACKEND, Trouble.THROTTLED) == _seen(outcome)
    assert {} == outcome.recipients


def test_an_unknown_outcome_is_unknown_only_for_those_who_were_accepted(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": [None, "550 5.1.1 unknown"], "BODY": Unanswered()})

    outcome = connect(server).deliver(letter(recipients=THREE[:2]), OPEN)

    assert Verdict.UNKNOWN == outcome.verdict
    assert [Verdict.UNKNOWN, Verdict.FAIL] == [outcome.recipients[recipient].verdict for recipient in THREE[:2]]


# Losses


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_a_connection_lost_before_the_final_dot_is_replaced_once_at_once(
    serve: Serve, connect: Connect, verb: str
) -> None:
    server = serve({verb: [Drop()]})

    outcome = connect(server).deliver(letter(), OPEN)

    assert (SENT, 2, 1) == (_seen(outcome), server.connect_count, len(server.messages))


@pytest.mark.parametrize(("verb", "stage"), [("MAIL", Stage.MAIL), ("RCPT", Stage.RCPT), ("DATA", Stage.DATA)])
def test_the_second_loss_of_the_same_mail_is_the_mails_own(
    serve: Serve, connect: Connect, verb: str, stage: Stage
) -> None:
    server = serve({verb: Drop()})

    outcome = connect(server).deliver(letter(), OPEN)

    assert (Verdict.RETRY, stage, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert 2 == server.connect_count


def test_a_connection_cut_in_the_middle_of_the_body_is_replaced_once(serve: Serve, connect: Connect) -> None:
    server = serve({"DATA": [CutBody(10_000)]})

    outcome = connect(server).deliver(letter(body=LARGE_BODY), OPEN)

    assert (SENT, 2, 1) == (_seen(outcome), server.connect_count, len(server.messages))


def test_a_body_cut_twice_is_the_mails_own_fault(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve({"DATA": CutBody(10_000)})).deliver(letter(body=LARGE_BODY), OPEN)

    assert (Verdict.RETRY, Stage.BODY, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)


def test_a_server_gone_right_before_the_final_dot_is_noticed_before_it(serve: Serve, connect: Connect) -> None:
    server = serve()

    outcome = connect(server).deliver(letter(), ScriptedFence(server.drop_connections))

    assert (Verdict.RETRY, Stage.BODY, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert (2, []) == (server.connect_count, server.messages)


def test_when_the_second_connection_cannot_be_had_the_loss_is_the_backends(serve: Serve, connect: Connect) -> None:
    server = serve({"RCPT": [Drop()], "GREETING": [None, "421 4.3.2 busy"]})

    outcome = connect(server).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.GREETING, Blame.BACKEND, Trouble.CROWDED) == _seen(outcome)


def test_a_reply_that_is_not_smtp_is_a_loss(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve({"RCPT": "zzz what"})).deliver(letter(), OPEN)

    assert (Verdict.RETRY, Stage.RCPT, "GarbledReplyError") == (outcome.verdict, outcome.stage, outcome.error)


def test_a_reply_to_the_final_dot_that_is_not_smtp_leaves_the_mail_unknown(serve: Serve, connect: Connect) -> None:
    outcome = connect(serve({"BODY": "zzz what"})).deliver(letter(), OPEN)

    assert (Verdict.UNKNOWN, Stage.FINAL_DOT) == (outcome.verdict, outcome.stage)


@pytest.mark.parametrize(("answer", "accepted"), [(Drop(), 0), (Unanswered(), 1)])
def test_a_connection_lost_after_the_final_dot_leaves_the_mail_unknown_and_untried(
    serve: Serve, connect: Connect, answer: Any, accepted: int
) -> None:
    server = serve({"BODY": answer})
    carrier = connect(server)

    outcome = carrier.deliver(letter(), OPEN)

    assert (Verdict.UNKNOWN, Stage.FINAL_DOT, Blame.NONE, Trouble.NONE) == _seen(outcome)
    assert (accepted, 1, False) == (len(server.messages), server.connect_count, carrier.is_connected())


def test_a_connection_that_the_server_closed_while_it_was_idle_is_replaced_without_counting(
    serve: Serve, connect: Connect
) -> None:
    server = serve({"MAIL": [None, Drop()]})
    carrier = connect(server)
    carrier.deliver(letter(), OPEN)
    server.drop_connections()

    outcome = carrier.deliver(letter(), OPEN)

    assert (SENT, 3) == (_seen(outcome), server.connect_count)


def test_a_server_that_says_it_waited_too_long_is_connected_to_again(serve: Serve, connect: Connect) -> None:
    server = serve({"MAIL": [None, Drop("421 4.4.2 Error: timeout exceeded")]})
    carrier = connect(server)
    carrier.deliver(letter(), OPEN)

    outcome = carrier.deliver(letter(), OPEN)

    assert (SENT, 2) == (_seen(outcome), server.connect_count)


# The fence


def test_behind_a_closed_fence_the_final_dot_is_not_sent(serve: Serve, connect: Connect) -> None:
    server = serve()
    carrier = connect(server)

    outcome = carrier.deliver(letter(), CLOSED)
    server.wait_until(lambda: server.open_connection_count == 0)

    assert (Verdict.DEFER, Stage.BODY, Blame.BACKEND, Trouble.NONE) == _seen(outcome)
    assert ("LeaseLost", [], False) == (outcome.error, server.messages, carrier.is_connected())
    assert "DATA" == server.sessions[0].commands[-1]


def test_the_fence_is_asked_when_all_but_the_dot_is_said(serve: Serve, connect: Connect) -> None:
    server = serve()
    said: list[str] = []

    connect(server).deliver(letter(), ScriptedFence(lambda: said.extend(server.sessions[0].commands)))

    assert ["MAIL", "RCPT", "DATA"] == [command.split()[0] for command in said if not command.startswith("ehlo")]


def test_a_surprise_before_the_final_dot_is_retried_and_the_carrier_lives(serve: Serve, connect: Connect) -> None:
    def surprise() -> None:
        raise ZeroDivisionError("unforeseen")

    server = serve()
    carrier = connect(server)

    outcome = carrier.deliver(letter(), ScriptedFence(surprise))

    assert (Verdict.RETRY, Stage.BODY, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
    assert ("ZeroDivisionError", []) == (outcome.error, server.messages)
    assert SENT == _seen(carrier.deliver(letter(), OPEN))


# The life of a connection


def test_a_connection_serves_a_limited_number_of_mails(serve: Serve, connect: Connect) -> None:
    server = serve()
    carrier = connect(server)

    for _ in range(MAILS_PER_CONNECTION + 1):
        carrier.deliver(letter(), OPEN)

    assert [MAILS_PER_CONNECTION, 1] == [session.commands.count(".") for session in server.sessions]
    assert "QUIT" == server.sessions[0].commands[-1]


@pytest.mark.parametrize(
    ("steps", "count", "connects"),
    [(IDLE_SECONDS - 1, 3, 1), (IDLE_SECONDS, 2, 2), (IDLE_SECONDS - 1, int(LIFE_SECONDS // 7) + 2, 2)],
    ids=["busy", "idle", "old"],
)
def test_a_connection_is_left_when_it_was_idle_or_is_old(
    serve: Serve, connect: Connect, steps: float, count: int, connects: int
) -> None:
    server, clock = serve(), FrozenClock()
    carrier = connect(server, clock=clock)

    for _ in range(count):
        carrier.deliver(letter(), OPEN)
        clock.now += steps

    assert connects == server.connect_count


def test_an_idle_connection_expires_with_a_goodbye(serve: Serve, connect: Connect) -> None:
    server, clock = serve(), FrozenClock()
    carrier = connect(server, clock=clock)
    carrier.deliver(letter(), OPEN)
    clock.now += IDLE_SECONDS

    carrier.expire()

    assert (False, "QUIT") == (carrier.is_connected(), server.sessions[0].commands[-1])


def test_a_connection_in_use_does_not_expire(serve: Serve, connect: Connect) -> None:
    carrier = connect(serve(), clock=FrozenClock())
    carrier.deliver(letter(), OPEN)

    carrier.expire()

    assert carrier.is_connected()


@pytest.mark.parametrize("answer", [Drop(), "500 what?", "421 gone"])
def test_a_goodbye_that_fails_changes_nothing(serve: Serve, connect: Connect, answer: Any) -> None:
    server = serve({"QUIT": answer})
    carrier = connect(server)
    outcome = carrier.deliver(letter(), OPEN)

    carrier.close()

    assert (SENT, False) == (_seen(outcome), carrier.is_connected())


def test_a_carrier_that_never_connected_can_be_closed(serve: Serve, connect: Connect) -> None:
    server = serve()

    connect(server).close()

    assert 0 == server.connect_count


def test_a_message_that_knows_its_own_octets_is_sent_as_it_is(serve: Serve, connect: Connect) -> None:
    class Ready(EmailMessage):
        def message(self, **_: Any) -> Any:
            class Octets:
                def as_bytes(self, **_: Any) -> bytes:
                    return b"Subject: mine\r\n\r\nas it is"

            return Octets()

    server = serve()

    connect(server).deliver(Letter(SENDER, [RECIPIENT], lambda: Ready(to=[RECIPIENT])), OPEN)

    assert [b"Subject: mine\r\n\r\nas it is\r\n"] == [sent.content for sent in server.messages]


def test_a_script_may_depend_on_what_was_said(serve: Serve, connect: Connect) -> None:
    def refuse_b(command: Command) -> str | None:
        return "550 5.1.1 unknown" if "<b@" in command.argument else None

    outcome = connect(serve({"RCPT": refuse_b})).deliver(letter(recipients=THREE), OPEN)

    assert [Verdict.SENT, Verdict.FAIL, Verdict.SENT] == [outcome.recipients[name].verdict for name in THREE]
