"""The scripted server is what the other tests believe in."""

import os
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailqueue.testing import Drop, Silence, SmtpServer
from tests.support.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]

MAIL = b"Message-ID: <1@example.com>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n.hidden\r\n"


class FrozenClock:
    """In place of the module `time`, where a limit counts what comes in a second."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FrozenClock:
    clock = FrozenClock()
    monkeypatch.setattr("mailqueue.testing.smtp_limits.time", clock)
    return clock


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


def test_a_message_that_is_larger_than_the_limit_is_refused_at_its_end_too() -> None:
    with SmtpServer(size_limit=100) as server, _client(server) as client:
        client.ehlo()
        client.mail("a@example.com")
        client.rcpt("b@example.net")
        code, text = client.data(b"x" * 101)

    assert (552, b"5.3.4 Message size exceeds fixed limit", []) == (code, text, server.messages)


def _offer(client: smtplib.SMTP, count: int = 1) -> list[int]:
    """Offer one message to that many recipients, and return what was said to each, or to MAIL if that was refused."""
    client.ehlo_or_helo_if_needed()
    client.rset()
    code, _ = client.mail("a@example.com")
    return [client.rcpt(f"b{number}@example.net")[0] for number in range(count)] if code == 250 else [code]


def test_a_rate_limit_allows_a_burst_of_one_second_and_then_that_many_a_second(clock: FrozenClock) -> None:
    with SmtpServer(rate_limit=20) as server, _client(server) as client:
        burst = [_offer(client) for _ in range(21)]
        clock.now += 0.5
        later = [_offer(client) for _ in range(11)]

    assert ([[250]] * 20 + [[454]], [[250]] * 10 + [[454]]) == (burst, later)


@pytest.mark.usefixtures("clock")
def test_who_is_refused_by_the_rate_limit_is_told_so_and_counted() -> None:
    with SmtpServer(rate_limit=1) as server, _client(server) as client:
        client.ehlo()
        client.mail("a@example.com")
        client.rcpt("b@example.net")
        client.rset()
        server.limits.rate_reply = "450 4.7.1 Slow down"
        reply = client.mail("a@example.com")

    assert (450, b"4.7.1 Slow down") == reply
    # The greeting, EHLO, MAIL, RCPT, RSET, MAIL and QUIT.
    assert (7, 1) == (server.command_count, server.refused_count)


def test_all_recipients_of_a_message_count_against_the_rate(clock: FrozenClock) -> None:
    with SmtpServer(rate_limit=2) as server, _client(server) as client:
        first = _offer(client, 4)
        clock.now += 1.25
        early = _offer(client)
        clock.now += 0.25
        late = _offer(client)

    assert ([250] * 4, [454], [250]) == (first, early, late)


def test_a_rate_limit_may_be_set_and_lifted_while_the_server_runs(server: SmtpServer) -> None:
    with _client(server) as client:
        server.limits.rate_limit = 0.1
        limited = [_offer(client), _offer(client)]
        server.limits.rate_limit = None

        assert ([[250], [454]], [250]) == (limited, _offer(client))


def test_a_rate_limit_is_that_of_all_connections_together() -> None:
    with SmtpServer(rate_limit=0.1) as server, _client(server) as one, _client(server) as other:
        assert ([250], [454]) == (_offer(one), _offer(other))


def test_a_daily_quota_counts_recipients_of_what_was_taken_and_of_what_is_offered() -> None:
    with SmtpServer(daily_quota=3) as server, _client(server) as client, _client(server) as other:
        client.sendmail("a@example.com", ["b@example.net", "c@example.net"], MAIL)
        dropped = _offer(client, 2)
        client.rset()
        held = _offer(other)
        code, text = client.mail("a@example.com")

    assert ([250, 454], [250]) == (dropped, held)
    assert (454, b"4.7.0 Throttling failure: Daily message quota exceeded.", 2) == (code, text, server.recipient_count)


def test_a_message_has_no_more_recipients_than_the_limit_allows() -> None:
    with SmtpServer(recipient_limit=2) as server, _client(server) as client:
        refused = client.sendmail("a@example.com", ["b@example.net", "c@example.net", "d@example.net"], MAIL)

    assert {"d@example.net": (452, b"4.5.3 Too many recipients")} == refused
    assert ("b@example.net", "c@example.net") == server.messages[0].recipients


def test_a_connection_too_many_is_turned_away_and_the_others_are_served() -> None:
    with SmtpServer(connection_limit=2) as server, _client(server) as one, _client(server) as two:
        with pytest.raises(smtplib.SMTPConnectError, match=r"421.*Too many concurrent SMTP connections"):
            _client(server)
        codes = [one.noop()[0], two.noop()[0]]

    assert ([250, 250], 2, 1) == (codes, server.most_open_connections, server.refused_count)
    assert [False, False, True] == [session.is_turned_away for session in server.sessions]


@pytest.mark.parametrize("farewell", ["quit", "close"])
def test_a_connection_that_was_given_up_makes_room_at_once(farewell: str) -> None:
    with SmtpServer(connection_limit=1) as server:
        for _ in range(50):
            getattr(_client(server), farewell)()

    assert (50, 0, 1) == (server.connect_count, server.refused_count, server.most_open_connections)


def test_the_script_has_the_first_word_and_a_limit_the_next(server: SmtpServer) -> None:
    server.limits.rate_limit = 0.1
    server.script.set("MAIL", ["550 5.7.1 No", "250 2.1.0 Ok", None])
    with _client(server) as client:
        assert [[550], [250], [250], [454]] == [_offer(client) for _ in range(4)]


def test_pipelining_is_offered_when_it_is_on() -> None:
    with SmtpServer(pipelining=True) as server, _client(server) as client:
        client.ehlo()

        assert client.has_extn("pipelining")


@pytest.mark.parametrize("pipelining", [True, False])
def test_commands_sent_together_are_served_and_noticed(pipelining: bool) -> None:
    with SmtpServer(pipelining=pipelining) as server, _client(server) as client:
        client.ehlo()
        client.send(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
        codes = [client.getreply()[0] for _ in range(3)]
        client.send(MAIL + b".\r\n")
        codes.append(client.getreply()[0])

    assert ([250, 250, 354, 250], True, 1) == (codes, server.sessions[0].pipelined, len(server.messages))


@pytest.mark.parametrize("latency", [0, 0.01])
def test_a_client_that_waits_for_every_reply_does_not_pipeline(latency: float) -> None:
    with SmtpServer(latency=latency) as server:
        _send(server)

    assert not server.sessions[0].pipelined


def test_a_command_that_comes_before_the_reply_to_the_last_one_is_pipelined() -> None:
    with SmtpServer() as server:
        client = _client(server)
        server.latency = 3600
        client.putcmd("NOOP")
        server.wait_until(lambda: server.command_count == 2)
        client.putcmd("NOOP")
        wait_until(lambda: server.sessions[0].pipelined)
        client.close()


def test_what_comes_right_behind_a_final_dot_is_pipelined(server: SmtpServer) -> None:
    with _client(server) as client:
        _offer(client)
        client.docmd("DATA")
        client.send(MAIL + b".\r\nNOOP\r\n")
        codes = [client.getreply()[0], client.getreply()[0]]

    assert ([250, 250], True) == (codes, server.sessions[0].pipelined)


def test_commands_sent_together_share_one_latency() -> None:
    with SmtpServer(latency=0.2) as server, _client(server) as client:
        began = time.monotonic()
        client.send(b"NOOP\r\n" * 100)
        codes = [client.getreply()[0] for _ in range(100)]

    # By itself each would take its 0.2 seconds.
    assert ([250] * 100, True) == (codes, time.monotonic() - began < 15)


def test_a_thousand_commands_sent_together_are_answered(server: SmtpServer) -> None:
    server.latency = 0.001
    with _client(server) as client:
        client.send(b"NOOP\r\n" * 1_000)

        assert {250} == {client.getreply()[0] for _ in range(1_000)}


FAULTS = [
    ("expired", "certificate has expired"),
    ("wrong_host", "doesn't match|not valid for|mismatch"),
    ("untrusted", "self.signed certificate"),
]


@pytest.mark.parametrize(("certificate", "fault"), FAULTS)
def test_a_bad_certificate_has_just_the_one_fault(certificate: Any, fault: str) -> None:
    with SmtpServer(tls="starttls", certificate=certificate) as server, _client(server) as client:
        trusting = ssl.create_default_context(cafile=server.certificate_path)
        with pytest.raises(ssl.SSLCertVerificationError, match=fault):
            client.starttls(context=trusting)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_client_that_trusts_the_certificate_may_encrypt(tls: Any) -> None:
    with SmtpServer(tls=tls) as server:
        trusting = ssl.create_default_context(cafile=server.certificate_path)
        if tls == "implicit":
            client: smtplib.SMTP = smtplib.SMTP_SSL("localhost", server.port, context=trusting, timeout=10)
        else:
            client = _client(server)
            client.starttls(context=trusting)
        with client:
            client.noop()

    assert server.sessions[0].is_encrypted


def test_a_connection_too_many_is_turned_away_inside_tls() -> None:
    with SmtpServer(tls="implicit", connection_limit=0) as server:
        trusting = ssl.create_default_context(cafile=server.certificate_path)
        with pytest.raises(smtplib.SMTPConnectError, match="421"):
            smtplib.SMTP_SSL("localhost", server.port, context=trusting, timeout=10)


def test_a_certificate_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such certificate: 'old'"):
        SmtpServer(certificate="old")  # type: ignore[arg-type]


def test_a_reply_before_a_drop_is_counted_as_any_other() -> None:
    with SmtpServer({"NOOP": Drop("421 4.3.2 Bye")}) as server, _client(server) as client:
        codes = [client.noop()[0]]

    assert ([421], 1) == (codes, server.refused_count)


NEEDS_NOTHING = """
import sys
import mailqueue.testing
from mailqueue.testing import SmtpServer
with SmtpServer() as server:
    server.port
print([name for name in ("django.db", "pytest", "post_office") if name in sys.modules])
"""


def test_the_server_needs_neither_settings_nor_pytest() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    run = subprocess.run(
        [sys.executable, "-c", NEEDS_NOTHING],
        env=environment,
        cwd=CHECKOUT,
        text=True,
        capture_output=True,
        check=True,
    )

    assert "[]" == run.stdout.strip()
