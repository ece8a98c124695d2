"""Non-ASCII characters before an address's @: with SMTPUTF8 (RFC 6531) they go as they are, without it nowhere."""

import email
import email.policy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.header import decode_header, make_header
from email.message import Message
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from mailqueue.delivery.letter import Letter
from mailqueue.delivery.outcomes import Blame, Outcome, RecipientOutcome, Reply, Stage, Trouble, Verdict
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.letters import OPEN, RECIPIENT, SENDER, letter

JURGEN = "jürgen@example.net"
UTF8 = ("8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
NEEDS_UTF8 = "non-ASCII characters before the @ need SMTPUTF8, which the server does not offer"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def modern(stack: ExitStack) -> SmtpServer:
    """A server that offers SMTPUTF8."""
    return stack.enter_context(SmtpServer(extensions=UTF8))


@pytest.fixture
def plain(stack: ExitStack) -> SmtpServer:
    """A server that doesn't."""
    return stack.enter_context(SmtpServer())


@pytest.fixture
def connect(stack: ExitStack) -> Callable[[SmtpServer], SmtpCarrier]:
    def connect(server: SmtpServer) -> SmtpCarrier:
        carrier = SmtpCarrier(EmailBackend(alias="test", host=server.host, port=server.port))
        stack.callback(carrier.close)
        return carrier

    return connect


Connect = Callable[[SmtpServer], SmtpCarrier]


def failed(text: str) -> Outcome:
    return Outcome(Verdict.FAIL, Stage.MAIL, Blame.MESSAGE, Trouble.NONE, Reply(0, text, "5.6.7"))


def head(server: SmtpServer) -> list[str]:
    """Return the lines of the header that a server was given, as text."""
    return server.messages[0].content.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def test_the_envelope_carries_the_address_as_it_is(modern: SmtpServer, connect: Connect) -> None:
    outcome = connect(modern).deliver(letter(recipients=[JURGEN, RECIPIENT], envelope_from="büro@example.com"), OPEN)

    assert (Verdict.SENT, {}) == (outcome.verdict, outcome.recipients)
    assert [
        "MAIL FROM:<büro@example.com> SMTPUTF8 BODY=8BITMIME",
        f"RCPT TO:<{JURGEN}>",
        f"RCPT TO:<{RECIPIENT}>",
    ] == modern.sessions[0].commands[1:4]


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("Jane <jürgen@example.net>", "jürgen@example.net"),
        ('"Müller, J" <jürgen@bücher.example>', "jürgen@xn--bcher-kva.example"),
        ("jürgen", "jürgen"),
        ('"jürgen m"@example.net', '"jürgen m"@example.net'),
    ],
)
def test_the_domain_is_encoded_all_the_same(modern: SmtpServer, connect: Connect, address: str, path: str) -> None:
    connect(modern).deliver(letter(recipients=[address], to=[RECIPIENT]), OPEN)

    assert [(path,)] == [sent.recipients for sent in modern.messages]


def test_the_header_carries_the_addresses_as_they_are(modern: SmtpServer, connect: Connect) -> None:
    changes: dict[str, Any] = {
        "from_email": "büro@example.com",
        "to": ["jürgen@example.net", '"Müller, A" <müller@example.net>', "ann@example.net"],
        "cc": ["cç@example.net"],
        "reply_to": ["rückfrage@example.com"],
        "headers": {"Sender": "ß@example.com", "X-Shop": "Grüße"},
    }
    connect(modern).deliver(letter(recipients=["jürgen@example.net"], **changes), OPEN)
    found: Any = email.message_from_string("\n".join(head(modern)), policy=email.policy.default)

    assert ["büro@example.com", "ß@example.com", "rückfrage@example.com", "cç@example.net"] == [
        found[name].addresses[0].addr_spec for name in ("From", "Sender", "Reply-To", "Cc")
    ]
    assert [("", "jürgen"), ("Müller, A", "müller"), ("", "ann")] == [
        (address.display_name, address.username) for address in found["To"].addresses
    ]
    assert [] == [line for line in head(modern) if "?=@" in line]
    assert "Grüße" == found["X-Shop"]


def test_what_is_no_address_is_left_alone(modern: SmtpServer, connect: Connect) -> None:
    text = "=?utf-8?q?gr=C3=BC=C3=9Fe?=@example.com"
    connect(modern).deliver(letter(recipients=[JURGEN], body=f"\n\nTo: {text}\n", subject="jürgen@example.com"), OPEN)
    found = modern.messages[0]

    assert f"To: {text}".encode() in found.content
    assert "jürgen@example.com" == str(make_header(decode_header(found.message["Subject"])))


def test_a_server_without_smtputf8_gets_nothing_and_is_not_to_blame(plain: SmtpServer, connect: Connect) -> None:
    carrier = connect(plain)

    assert failed(f"<{JURGEN}>: {NEEDS_UTF8}") == carrier.deliver(letter(recipients=[JURGEN]), OPEN)
    assert ([], ["ehlo"], True) == (
        plain.messages,
        [command.split()[0] for command in plain.sessions[0].commands],
        carrier.is_connected(),
    )


def test_a_sender_who_needs_it_fails_the_mail_for_all(plain: SmtpServer, connect: Connect) -> None:
    outcome = connect(plain).deliver(letter(envelope_from="büro@example.com"), OPEN)

    assert failed(f"<büro@example.com>: {NEEDS_UTF8}") == outcome


def test_a_mail_whose_header_names_such_an_address_goes_to_nobody(plain: SmtpServer, connect: Connect) -> None:
    outcome = connect(plain).deliver(letter(recipients=[RECIPIENT, JURGEN]), OPEN)

    assert (failed(f"<{JURGEN}>: {NEEDS_UTF8}"), []) == (outcome, plain.messages)


def test_nor_does_it_when_only_those_without_the_mail_are_left(
    plain: SmtpServer, modern: SmtpServer, connect: Connect
) -> None:
    rest = letter(recipients=[RECIPIENT], to=[RECIPIENT, JURGEN])
    outcomes = [connect(server).deliver(rest, OPEN) for server in (plain, modern)]

    assert [failed(f"an address in the header: {NEEDS_UTF8}"), Verdict.SENT] == [outcomes[0], outcomes[1].verdict]
    assert f"To: {RECIPIENT}, {JURGEN}" in head(modern)


def test_a_hidden_copy_alone_fails_where_it_cannot_be_sent(plain: SmtpServer, connect: Connect) -> None:
    outcome = connect(plain).deliver(letter(recipients=[RECIPIENT, JURGEN], to=[RECIPIENT]), OPEN)
    refused = Reply(0, f"<{JURGEN}>: {NEEDS_UTF8}", "5.6.7")

    assert {
        RECIPIENT: RecipientOutcome(Verdict.SENT, Reply(250, "Ok: queued", "2.0.0")),
        JURGEN: RecipientOutcome(Verdict.FAIL, refused),
    } == dict(outcome.recipients)
    assert [(SENDER, (RECIPIENT,))] == [(sent.envelope_from, sent.recipients) for sent in plain.messages]


def test_the_size_told_is_that_of_what_is_sent(stack: ExitStack, connect: Connect) -> None:
    server = stack.enter_context(SmtpServer(extensions=UTF8, size_limit=10_000))

    connect(server).deliver(letter(recipients=[JURGEN]), OPEN)
    size = len(server.messages[0].content)

    assert f"MAIL FROM:<{SENDER}> SMTPUTF8 BODY=8BITMIME SIZE={size}" in server.sessions[0].commands


def test_the_next_mail_on_the_connection_is_an_ordinary_one(modern: SmtpServer, connect: Connect) -> None:
    carrier = connect(modern)
    carrier.deliver(letter(recipients=[JURGEN]), OPEN)
    carrier.deliver(letter(), OPEN)

    assert (1, f"MAIL FROM:<{SENDER}>") == (modern.connect_count, modern.sessions[0].commands[5])


class KeptMime(Message):
    """Gives back the bytes that it was read from."""

    data = b"To: =?utf-8?q?j=C3=BCrgen?=@example.net\r\nX-Signature: abc\r\n\r\nHello\r\n"

    def as_bytes(self, *_: Any, **__: Any) -> bytes:
        return self.data


class KeptMessage(EmailMessage):
    """A message that is kept as bytes: signed, perhaps."""

    def message(self, **_: Any) -> Any:
        return email.message_from_bytes(KeptMime.data, _class=KeptMime)


@pytest.mark.parametrize("server", ["modern", "plain"])
def test_a_message_that_is_kept_as_bytes_is_not_changed(
    request: pytest.FixtureRequest, connect: Connect, server: str
) -> None:
    smtp_server: SmtpServer = request.getfixturevalue(server)
    kept = Letter(SENDER, [RECIPIENT, JURGEN], lambda: KeptMessage("", "", SENDER, bcc=[RECIPIENT, JURGEN]))
    connect(smtp_server).deliver(kept, OPEN)

    assert [KeptMime.data] == [sent.content for sent in smtp_server.messages]
