"""Nobody in the middle gets a mail or a password: certificates are verified, and STARTTLS is never left out."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from django.core.mail.backends.smtp import EmailBackend
from post_office.models import STATUS, Email

from mailqueue.delivery.outcomes import Blame, Outcome, Stage, Trouble, Verdict
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.models import Attempt, BackendHealth
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.letters import OPEN, letter
from tests.support.sender_fixtures import queueing, senders, server
from tests.support.senders import Senders, queue_mails

__all__ = ["queueing", "senders", "server"]

USER, PASSWORD = "shop", "hunter2hunter2"
LOG_IN = {"username": USER, "password": PASSWORD}
WAYS = [("starttls", "use_tls"), ("implicit", "use_ssl")]
SHUT = (Verdict.DEFER, Stage.TLS, Blame.BACKEND, Trouble.SHUT)
Deliver = Callable[..., Outcome]


@pytest.fixture
def deliver() -> Iterator[Deliver]:
    """Delivers one letter to a server, with a password."""
    with ExitStack() as stack:

        def deliver(server: SmtpServer, *, trusts: bool = True, **options: Any) -> Outcome:
            given = {"alias": "test", "host": server.host, "port": server.port, **LOG_IN, **options}
            backend = EmailBackend(**given)
            if trusts:
                backend.ssl_context = ssl.create_default_context(cafile=str(server.certificate_path))
            carrier = SmtpCarrier(backend)
            stack.callback(carrier.close)
            return carrier.deliver(letter(), OPEN)

        yield deliver


def _seen(outcome: Outcome) -> tuple[Verdict, Stage, Blame, Trouble]:
    return outcome.verdict, outcome.stage, outcome.blame, outcome.trouble


def _verbs(server: SmtpServer) -> set[str]:
    return {command.split(" ")[0].upper() for session in server.sessions for command in session.commands}


@pytest.mark.parametrize("certificate", ["expired", "wrong_host", "untrusted"])
@pytest.mark.parametrize(("tls", "option"), WAYS)
def test_a_certificate_that_is_not_the_servers_shuts_the_backend_before_any_password_is_said(
    deliver: Deliver, tls: Any, option: str, certificate: Any
) -> None:
    with SmtpServer(tls=tls, users={USER: PASSWORD}, certificate=certificate) as server:
        outcome = deliver(server, **{option: True})

    assert SHUT == _seen(outcome)
    assert "certificate verify failed" in outcome.reply.text.lower().replace("_", " ")
    assert _verbs(server) <= {"EHLO", "STARTTLS"}


@pytest.mark.parametrize(("tls", "option"), WAYS)
def test_what_the_system_does_not_trust_is_not_trusted(deliver: Deliver, tls: Any, option: str) -> None:
    with SmtpServer(tls=tls, users={USER: PASSWORD}) as server:
        outcome = deliver(server, trusts=False, **{option: True})

    assert SHUT == _seen(outcome)
    assert _verbs(server) <= {"EHLO", "STARTTLS"}


@pytest.mark.parametrize(
    "script",
    [
        {"EHLO": "250-mx.test\n250 AUTH PLAIN LOGIN"},
        {"EHLO": "250 mx.test\nXXXXXXXX\nAUTH PLAIN LOGIN"},
        {"EHLO": "502 5.5.1 Speak plainly", "HELO": "250 mx.test"},
        {"STARTTLS": "502 5.5.1 Not implemented"},
        {"STARTTLS": "554 5.7.0 No TLS for you"},
        {"STARTTLS": "454 4.7.0 TLS not available due to temporary reason"},
        {"STARTTLS": "250 2.0.0 Go on in plain text"},
        {"STARTTLS": "550 5.7.1 Go on in plain text"},
    ],
    ids=["not offered", "stripped", "helo", "not implemented", "refused", "not now", "wrong code", "policy"],
)
def test_without_tls_there_is_neither_a_password_nor_a_mail(deliver: Deliver, script: Any) -> None:
    with SmtpServer(script, tls="starttls", users={USER: PASSWORD}) as server:
        outcome = deliver(server, use_tls=True)

    assert (Verdict.DEFER, Blame.BACKEND) == (outcome.verdict, outcome.blame)
    assert _verbs(server) <= {"EHLO", "HELO", "STARTTLS", "QUIT"}
    assert [] == server.messages


def test_credentials_come_after_the_handshake(deliver: Deliver) -> None:
    with SmtpServer(tls="starttls", users={USER: PASSWORD}) as server:
        outcome = deliver(server, use_tls=True)

    assert Verdict.SENT == outcome.verdict
    assert ["ehlo", "STARTTLS", "ehlo", "AUTH"] == [line.split(" ")[0] for line in server.sessions[0].commands[:4]]


@pytest.fixture
def carry() -> Iterator[Callable[..., SmtpCarrier]]:
    """Makes carriers that trust a server, and that can be told to connect anew."""
    with ExitStack() as stack:

        def carry(server: SmtpServer, **options: Any) -> SmtpCarrier:
            backend = EmailBackend(alias="test", host=server.host, port=server.port, **options)
            backend.ssl_context = ssl.create_default_context(cafile=str(server.certificate_path))
            carrier = SmtpCarrier(backend)
            stack.callback(carrier.close)
            return carrier

        yield carry


@pytest.mark.parametrize(("tls", "option"), WAYS)
def test_a_new_connection_goes_on_with_the_tls_session_of_the_last_one(
    carry: Callable[..., SmtpCarrier], tls: Any, option: str
) -> None:
    with SmtpServer(tls=tls) as server:
        carrier = carry(server, **{option: True})
        for _ in range(3):
            carrier.deliver(letter(), OPEN)
            carrier.close()

    assert [False, True, True] == [session.is_resumed for session in server.sessions]


def test_a_connection_that_was_lost_leaves_its_tls_session_too(carry: Callable[..., SmtpCarrier]) -> None:
    with SmtpServer(tls="starttls") as server:
        carrier = carry(server, use_tls=True)
        carrier.deliver(letter(), OPEN)
        server.drop_connections()
        outcome = carrier.deliver(letter(), OPEN)

    assert Verdict.SENT == outcome.verdict
    assert [False, True] == [session.is_resumed for session in server.sessions]


def test_a_tls_session_of_another_context_is_not_offered(carry: Callable[..., SmtpCarrier]) -> None:
    with SmtpServer(tls="implicit") as server:
        carrier = carry(server, use_ssl=True)
        carrier.deliver(letter(), OPEN)
        carrier.close()
        carrier._backend.ssl_context = ssl.create_default_context(cafile=str(server.certificate_path))
        outcome = carrier.deliver(letter(), OPEN)

    assert Verdict.SENT == outcome.verdict
    assert [False, False] == [session.is_resumed for session in server.sessions]


def test_a_certificate_that_went_bad_is_refused_in_spite_of_an_earlier_session(
    carry: Callable[..., SmtpCarrier],
) -> None:
    with SmtpServer(tls="implicit") as server:
        carrier = carry(server, use_ssl=True)
        carrier.deliver(letter(), OPEN)
        carrier.close()
        server.certificate = "wrong_host"
        outcome = carrier.deliver(letter(), OPEN)

    assert SHUT == _seen(outcome)


class Relay:
    """Passes on what is said to a server, but closes the second connection at once."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connection_count = 0
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connection_count += 1
                if self.connection_count == 2:
                    client.close()
                    continue
                upstream = socket.create_connection((self._server.host, self._server.port))
                for pair in ((client, upstream), (upstream, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(65_536):
                target.sendall(data)


def test_a_handshake_that_fails_with_an_earlier_session_is_tried_without_it_at_once(
    carry: Callable[..., SmtpCarrier],
) -> None:
    with SmtpServer(tls="implicit") as server:
        relay = Relay(server)
        carrier = carry(server, use_ssl=True)
        carrier._backend.port = relay.port
        carrier.deliver(letter(), OPEN)
        carrier.close()
        outcome = carrier.deliver(letter(), OPEN)
        carrier.close()
        relay.close()

    assert (Verdict.SENT, 3) == (outcome.verdict, relay.connection_count)
    assert [False, False] == [session.is_resumed for session in server.sessions]


class ManInTheMiddle:
    """Passes on what is said to a server in the clear, and puts words of his own behind the reply to STARTTLS."""

    def __init__(self, server: SmtpServer, words: bytes) -> None:
        self._server = server
        self._words = words
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        upstream = socket.create_connection((self._server.host, self._server.port))
        threading.Thread(target=self._pass_on, args=(client, upstream), daemon=True).start()
        with suppress(OSError), client, upstream:
            while data := upstream.recv(65_536):
                client.sendall(data + self._words if data.startswith(b"220 2.0.0") else data)

    @staticmethod
    def _pass_on(client: socket.socket, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                upstream.sendall(data)


@pytest.mark.parametrize(
    "words", [b"250 evil\r\n", b"250-evil\r\n250-SIZE 1\r\n250 SMTPUTF8\r\n", b"535 5.7.8 no\r\n"]
)
def test_what_was_said_before_the_handshake_is_no_reply_after_it(deliver: Deliver, words: bytes) -> None:
    with SmtpServer(tls="starttls", users={USER: PASSWORD}) as server:
        man = ManInTheMiddle(server, words)
        outcome = deliver(server, use_tls=True, port=man.port)
        man.close()

    # The words are in the clear: they are forgotten, or spoil the handshake.
    assert outcome.verdict is Verdict.SENT or SHUT == _seen(outcome)
    assert "evil" not in str(outcome.reply)
    assert "SIZE=" not in " ".join(server.sessions[0].commands)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp+tls"), ("implicit", "smtps")])
def test_mail_waits_for_a_server_that_proves_who_it_is(senders: Callable[..., Senders], tls: Any, scheme: str) -> None:
    queue_mails(3)
    with SmtpServer(tls=tls, users={USER: PASSWORD}) as server:
        environment = {"EMAIL_URL": f"{scheme}://{USER}:{PASSWORD}@localhost:{server.port}"}
        with senders().start(env=environment) as sender:
            sender.wait_for("backend.shut")
            assert sender.stop() == 0

    assert _verbs(server) <= {"EHLO", "STARTTLS"}
    assert {STATUS.queued} == set(Email.objects.values_list("status", flat=True))
    assert not Attempt.objects.filter(is_counted=True).exists()
    assert "certificate" in BackendHealth.objects.get().shut_reason.lower()
