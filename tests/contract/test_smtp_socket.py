"""What a server says is read as smtplib reads it, up to a limit in size and in time."""

import dataclasses
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.core.mail.backends.smtp import EmailBackend
from hypothesis import given, settings
from hypothesis import strategies as st

from mailqueue.delivery.outcomes import Outcome, Stage, Verdict
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.delivery.smtp_pipelining import Distrust
from mailqueue.delivery.smtp_socket import LINE_BYTES, REPLY_BYTES, GarbledReplyError, SmtpSocket
from mailqueue.testing import SmtpServer
from tests.support.letters import OPEN, letter
from tests.support.loose_smtp import FRIENDLY, LooseSmtp

SHORT_SECONDS = 0.2
LONG_SECONDS = 30.0


class Pair:
    """Our socket, and the server's end of it."""

    def __init__(self) -> None:
        # Of TCP: the socket under test is to be one like those of real servers.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            self.server, _ = listener.accept()
        self.ours = SmtpSocket(client)
        self.ours.seconds = LONG_SECONDS

    def close(self) -> None:
        self.ours.close()
        self.server.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


LINES = st.one_of(
    st.builds(
        lambda code, mark, text, end: code + mark + text + end,
        st.sampled_from([b"250", b"354", b"451", b"550", b"025", b"2x0"]),
        st.sampled_from([b" ", b"-", b"", b"\t"]),
        st.text("ab 2.0-", max_size=8).map(str.encode),
        st.sampled_from([b"\r\n", b"\n", b" \r\n"]),
    ),
    # smtplib takes " 2" and "+2" for codes, none of which is one.
    st.binary(max_size=6).filter(lambda octets: not any(octet in b"0123456789" for octet in octets[:3])),
)


def _read_all(read: Callable[[], tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """What is said until the end of the line, codes that none can be as -1."""
    found = []
    with suppress(OSError):
        while True:
            code, text = read()
            found.append((code if code >= 200 else -1, text))
    return found


@settings(deadline=None, max_examples=200)
@given(lines=st.lists(LINES, max_size=6))
def test_replies_are_read_as_smtplib_reads_them(lines: list[bytes]) -> None:
    said = b"".join(lines)
    pair = Pair()
    theirs = smtplib.SMTP(local_hostname="localhost")
    theirs.sock, sock = socket.socketpair()
    with sock:
        sock.sendall(said)
    pair.server.sendall(said)
    pair.server.close()

    found = _read_all(pair.ours.read)
    expected = _read_all(theirs.getreply)
    pair.close()
    theirs.close()

    assert expected == found


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_reply_may_come_in_pieces(pair: Pair, size: int) -> None:
    said = b"250-one\r\n250-two\r\n250 three\r\n"

    def say() -> None:
        for at in range(0, len(said), size):
            pair.server.sendall(said[at : at + size])

    speaker = threading.Thread(target=say)
    speaker.start()
    found = pair.ours.read()
    speaker.join()

    assert (250, b"one\ntwo\nthree") == found


def test_what_comes_behind_a_reply_is_kept_for_the_next(pair: Pair) -> None:
    pair.server.sendall(b"250 one\r\n451 two\r\n55")
    first, second = pair.ours.read(), pair.ours.read()
    pair.server.sendall(b"0 three\r\n")

    assert [(250, b"one"), (451, b"two"), (550, b"three")] == [first, second, pair.ours.read()]


@pytest.mark.parametrize(
    "said",
    [b"2" * (LINE_BYTES + 10_000), b"250-more and more\r\n" * (REPLY_BYTES // 10)],
    ids=["line", "reply"],
)
def test_an_endless_line_or_reply_is_garbled_and_fills_no_memory(pair: Pair, said: bytes) -> None:
    def say() -> None:
        with suppress(OSError):
            pair.server.sendall(said)

    speaker = threading.Thread(target=say)
    speaker.start()
    with pytest.raises(GarbledReplyError) as raised:
        pair.ours.read()
    pair.ours.close()
    speaker.join()

    assert len(raised.value.raw) <= REPLY_BYTES


def test_a_server_that_says_nothing_is_waited_for_as_long_as_allowed(pair: Pair) -> None:
    pair.server.sendall(b"250-one\r\n")
    pair.ours.seconds = SHORT_SECONDS

    with pytest.raises(TimeoutError):
        pair.ours.read()


def test_a_server_that_reads_nothing_is_waited_for_as_long_as_allowed(pair: Pair) -> None:
    pair.ours.seconds = SHORT_SECONDS
    with pytest.raises(TimeoutError):
        pair.ours.send(b"x" * 50_000_000)


def test_what_has_not_been_read_is_known(pair: Pair) -> None:
    quiet = pair.ours.has_news()
    pair.server.sendall(b"250 one\r\n250 two\r\n")
    pair.ours.read()

    assert (False, True, b"250 two\r\n") == (quiet, pair.ours.has_news(), pair.ours.unread)


def test_large_octets_arrive_whole(pair: Pair) -> None:
    content = bytes(range(256)) * 40_000
    found = bytearray()

    def listen() -> None:
        while len(found) < len(content):
            found.extend(pair.server.recv(65_536))

    listener = threading.Thread(target=listen)
    listener.start()
    pair.ours.send(content)
    listener.join()

    assert content == bytes(found)


# Seen from the carrier


def _deliver(answers: dict[str, bytes], **options: Any) -> Outcome:
    with LooseSmtp(answers) as server:
        backend: Any = {"alias": "test", "host": server.host, "port": server.port, "timeout": LONG_SECONDS}
        carrier = SmtpCarrier(EmailBackend(**backend | options), distrust=Distrust())
        outcome = carrier.deliver(letter(), OPEN)
        carrier.close()
        return outcome


@pytest.mark.parametrize(
    ("verb", "verdict", "stage"),
    [
        ("GREETING", Verdict.DEFER, Stage.GREETING),
        ("EHLO", Verdict.DEFER, Stage.EHLO),
        ("MAIL", Verdict.RETRY, Stage.MAIL),
        ("RCPT", Verdict.RETRY, Stage.RCPT),
        ("BODY", Verdict.UNKNOWN, Stage.FINAL_DOT),
    ],
)
def test_an_endless_reply_ends_as_a_garbled_one(verb: str, verdict: Verdict, stage: Stage) -> None:
    outcome = _deliver({verb: b"250-more\r\n" * 10_000})

    assert (verdict, stage, "GarbledReplyError") == (outcome.verdict, outcome.stage, outcome.error)


def test_a_password_in_a_line_without_end_is_hidden() -> None:
    extensions = FRIENDLY["EHLO"].replace(b"250 ", b"250-AUTH PLAIN\r\n250 ")
    echo = b"235 ok\r\n"

    outcome = _deliver(
        {"EHLO": extensions, "AUTH": echo, "MAIL": b"hunter2hunter2" * 2_000},
        username="shop",
        password="hunter2hunter2",
    )

    assert ("GarbledReplyError", False, True) == (
        outcome.error,
        "hunter2" in outcome.reply.text,
        "***" in outcome.reply.text,
    )


class Cut:
    """A fence behind which nothing can be written any more, the first time that it is asked."""

    def __init__(self) -> None:
        self.carrier: Any = None

    def is_open(self) -> bool:
        carrier, self.carrier = self.carrier, None
        if carrier is not None:
            socket.socket.shutdown(carrier._connection._socket._sock, socket.SHUT_WR)
        return True


@pytest.mark.parametrize(
    ("tls", "verdict", "stage", "connections"),
    [("", Verdict.SENT, Stage.DONE, 2), ("implicit", Verdict.UNKNOWN, Stage.FINAL_DOT, 1)],
    ids=["plain", "TLS"],
)
def test_a_short_message_of_which_nothing_could_be_written_is_lost_before_its_dot_where_that_is_certain(
    monkeypatch: pytest.MonkeyPatch, tls: Any, verdict: Verdict, stage: Stage, connections: int
) -> None:
    fence = Cut()
    with SmtpServer(tls=tls) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate_path))
        backend: Any = {"alias": "test", "host": server.host, "port": server.port, "use_ssl": bool(tls)}
        fence.carrier = carrier = SmtpCarrier(EmailBackend(**backend), distrust=Distrust())
        outcome = carrier.deliver(letter(), fence)
        carrier.close()

    assert (verdict, stage, connections) == (outcome.verdict, outcome.stage, server.connect_count)


class Odd(bytes):
    """Octets that surprise whoever looks at them closely."""

    def isascii(self) -> bool:
        raise ZeroDivisionError("unforeseen")


def test_a_surprise_before_a_mail_is_named_is_not_unknown_because_the_last_mail_ended_with_a_dot() -> None:
    odd = dataclasses.replace(letter(), write=lambda: Odd(b"Subject: odd\r\n\r\nodd\r\n"))
    with SmtpServer(extensions=[]) as server:
        carrier = SmtpCarrier(EmailBackend(alias="test", host=server.host, port=server.port), distrust=Distrust())
        carrier.deliver(letter(), OPEN)
        outcome = carrier.deliver(odd, OPEN)
        carrier.close()

    assert (Verdict.RETRY, Stage.MAIL, "ZeroDivisionError") == (outcome.verdict, outcome.stage, outcome.error)
