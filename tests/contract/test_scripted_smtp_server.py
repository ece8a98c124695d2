"""The scripted server is what the other tests believe in."""

import smtplib
import socket
import time
from collections.abc import Iterator

import pytest

from mailqueue.testing.smtp_server import Silence, SmtpServer

MAIL = b"Message-ID: <1@example.com>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n.hidden\r\n"


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


def _client(server: SmtpServer) -> smtplib.SMTP:
    return smtplib.SMTP(server.host, server.port, local_hostname="client.test", timeout=10)


def _send(server: SmtpServer, content: bytes = MAIL) -> None:
    with _client(server) as client:
        client.sendmail("a@example.com", ["b@example.net"], content)


def test_a_message_is_kept_with_its_envelope_and_its_id(server: SmtpServer) -> None:
    _send(server)
    [kept] = server.wait_for(1)

    assert ("a@example.com", ("b@example.net",), MAIL) == (kept.envelope_from, kept.recipients, kept.content)
    assert (["<1@example.com>"], "Grüße") == (server.message_ids(), str(kept.message["Subject"]))


def test_an_empty_message_ends_with_its_first_dot(server: SmtpServer) -> None:
    with _client(server) as client:
        client.ehlo()
        client.mail("a@example.com")
        client.rcpt("b@example.net")
        client.docmd("DATA")
        reply = client.docmd(".")

    assert (250, [b""]) == (reply[0], [kept.content for kept in server.messages])


def test_commands_that_come_in_one_packet_are_answered_in_their_order(server: SmtpServer) -> None:
    lines = [b"EHLO x", b"MAIL FROM:<a@example.com>", b"RCPT TO:<b@example.net>", b"NOOP", b"VRFY b", b"QUIT", b""]
    with socket.create_connection((server.host, server.port), timeout=10) as sock:
        sock.sendall(b"\r\n".join(lines))
        with sock.makefile("rb") as replies:
            codes = [line[:3] for line in replies if line[3:4] == b" "]

    assert [b"220", b"250", b"250", b"250", b"250", b"502", b"221"] == codes


def test_commands_out_of_their_order_are_refused(server: SmtpServer) -> None:
    with _client(server) as client:
        client.ehlo()
        codes = [client.rcpt("b@example.net")[0], client.docmd("DATA")[0], client.mail("a@example.com")[0]]
        codes.append(client.mail("a@example.com")[0])

    assert [503, 503, 250, 503] == codes


@pytest.mark.parametrize("method", ["auth_plain", "auth_login"])
@pytest.mark.parametrize("initial_response_ok", [True, False])
def test_each_way_of_logging_in_is_understood(method: str, initial_response_ok: bool) -> None:
    with SmtpServer(users={"shop": "secret"}) as server, _client(server) as client:
        client.ehlo()
        client.user, client.password = "shop", "secret"
        name = method.removeprefix("auth_")
        code, _ = client.auth(name, getattr(client, method), initial_response_ok=initial_response_ok)

    assert (235, "shop") == (code, server.sessions[0].user)


def test_a_declared_size_that_is_too_large_is_refused() -> None:
    with SmtpServer(size_limit=1_000) as server, _client(server) as client:
        client.ehlo()
        code, text = client.mail("a@example.com", ["SIZE=1001"])

    assert (552, "1000") == (code, client.esmtp_features["size"])
    assert text.startswith(b"5.3.4")


def test_each_reply_takes_the_latency() -> None:
    began = time.monotonic()
    with SmtpServer(latency=0.05) as server:
        _send(server)

    assert time.monotonic() - began >= 0.05 * 7


def test_steps_of_a_list_are_said_once_each() -> None:
    with SmtpServer({"NOOP": ["450 one", "451 two"]}) as server, _client(server) as client:
        codes = [client.noop()[0] for _ in range(3)]

    assert [450, 451, 250] == codes


def test_a_script_can_be_changed_while_the_server_runs(server: SmtpServer) -> None:
    with _client(server) as client:
        server.script.set("NOOP", "450 later")
        code, _ = client.noop()

    assert 450 == code


def test_a_verb_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such verb: 'HELLO'"):
        SmtpServer({"HELLO": "250 ok"})


def test_a_server_that_is_down_refuses_and_comes_back_on_its_port(server: SmtpServer) -> None:
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        _client(server)
    server.start()

    _send(server)

    assert 1 == len(server.messages)


def test_a_server_that_goes_down_drops_who_is_connected(server: SmtpServer) -> None:
    server.script.set("NOOP", Silence())
    with _client(server) as client:
        client.putcmd("NOOP")
        server.stop()
        server.stop()

        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.getreply()


def test_a_server_is_started_once(server: SmtpServer) -> None:
    with pytest.raises(RuntimeError, match="runs already"):
        server.start()


def test_connections_are_counted(server: SmtpServer) -> None:
    with _client(server), _client(server):
        server.wait_until(lambda: server.open_connection_count == 2)
    server.wait_until(lambda: server.open_connection_count == 0)

    assert 2 == server.connect_count


def test_waiting_in_vain_says_what_for(server: SmtpServer) -> None:
    with pytest.raises(AssertionError, match="in vain for 1 messages; 0 messages accepted"):
        server.wait_for(1, seconds=0.01)
