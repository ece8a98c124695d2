import smtplib
from typing import Any

import pytest
from anymail.exceptions import AnymailUnsupportedFeature
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.filebased import EmailBackend as FileBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend

from mailqueue.delivery.django_backend import DjangoCarrier, addressed
from mailqueue.delivery.letter import Letter, UnreadableError
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.delivery.smtp import IDLE_SECONDS
from mailqueue.testing.smtp_server import Command, Drop, SmtpServer, Unanswered
from tests.support.letters import CLOSED, OPEN, RECIPIENT, SENDER, ScriptedFence, broken_letter, letter, message

SENT = (Verdict.SENT, Stage.DONE, Blame.NONE, Trouble.NONE)


class Service:
    """A mail service of a test: makes backends, and remembers what they were used for."""

    def __init__(
        self,
        *,
        answers: list[Any] | None = None,
        refuses_to_open: Exception | None = None,
        refuses_to_close: Exception | None = None,
    ) -> None:
        self.answers = answers or []
        self.refuses_to_open = refuses_to_open
        self.refuses_to_close = refuses_to_close
        self.sent: list[EmailMessage] = []
        self.acts: list[str] = []

    def __call__(self) -> BaseEmailBackend:
        self.acts.append("make")
        return ServiceBackend(self)


class ServiceBackend(BaseEmailBackend):
    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service

    def open(self) -> None:
        self.service.acts.append("open")
        if self.service.refuses_to_open:
            raise self.service.refuses_to_open

    def close(self) -> None:
        self.service.acts.append("close")
        if self.service.refuses_to_close:
            raise self.service.refuses_to_close

    def send_messages(self, email_messages: Any) -> Any:
        answer = self.service.answers.pop(0) if self.service.answers else len(email_messages)
        if isinstance(answer, Exception):
            raise answer
        self.service.sent += email_messages
        return answer


class ApiError(Exception):
    """As Anymail's: the status as an attribute, or on the response."""

    def __init__(self, *, status_code: int | None = None, response: Any = None) -> None:
        super().__init__("the service said no")
        self.status_code = status_code
        self.response = response


class ApiResponse:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


class ReadTimeout(OSError):  # noqa: N818 - the name is what counts
    """As that of requests: no TimeoutError by type, but caused by one."""


class ConnectTimeout(OSError):  # noqa: N818 - the name is what counts
    """As that of requests."""


def _deliver(*answers: Any) -> Outcome:
    return DjangoCarrier(Service(answers=list(answers))).deliver(letter(), OPEN)


def _seen(outcome: Outcome) -> tuple[Verdict, Stage, Blame, Trouble]:
    return outcome.verdict, outcome.stage, outcome.blame, outcome.trouble


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


# What a backend returns


def test_a_mail_that_the_backend_counts_is_sent() -> None:
    service = Service()

    outcome = DjangoCarrier(service).deliver(letter(), OPEN)

    assert (SENT, [[RECIPIENT]]) == (_seen(outcome), [sent.to for sent in service.sent])


@pytest.mark.parametrize("answer", [0, None, False])
def test_a_mail_that_the_backend_does_not_count_is_retried(answer: Any) -> None:
    outcome = DjangoCarrier(lambda: _returning(answer)).deliver(letter(), OPEN)

    assert (Verdict.RETRY, Blame.MESSAGE, Trouble.NONE) == (outcome.verdict, outcome.blame, outcome.trouble)


def _returning(answer: Any) -> BaseEmailBackend:
    class Backend(BaseEmailBackend):
        def send_messages(self, email_messages: Any) -> Any:  # noqa: ARG002
            return answer

    return Backend()


def test_djangos_file_backend_is_driven_as_it_is(tmp_path: Any) -> None:
    carrier = DjangoCarrier(lambda: FileBackend(alias="file", file_path=str(tmp_path)))

    outcome = carrier.deliver(letter(), OPEN)
    carrier.close()
    written = "".join(path.read_text() for path in tmp_path.iterdir())

    assert (SENT, True) == (_seen(outcome), "Message-ID: <order-1@example.com>" in written)


# What a backend raises


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (smtplib.SMTPSenderRefused(550, b"5.1.8 no", SENDER), (Verdict.HOLD, Stage.MAIL, Blame.BACKEND)),
        (smtplib.SMTPSenderRefused(421, b"busy", SENDER), (Verdict.DEFER, Stage.MAIL, Blame.BACKEND)),
        (smtplib.SMTPDataError(451, b"4.3.0 later"), (Verdict.RETRY, Stage.DATA, Blame.MESSAGE)),
        (smtplib.SMTPDataError(554, b"5.7.1 spam"), (Verdict.FAIL, Stage.DATA, Blame.MESSAGE)),
        (smtplib.SMTPAuthenticationError(535, b"5.7.8 no"), (Verdict.DEFER, Stage.AUTH, Blame.BACKEND)),
        (smtplib.SMTPConnectError(554, b"no"), (Verdict.DEFER, Stage.GREETING, Blame.BACKEND)),
        (smtplib.SMTPHeloError(501, b"no"), (Verdict.DEFER, Stage.EHLO, Blame.BACKEND)),
        (
            smtplib.SMTPRecipientsRefused({RECIPIENT: (550, b"5.1.1 unknown")}),
            (Verdict.FAIL, Stage.RCPT, Blame.RECIPIENT),
        ),
        (smtplib.SMTPRecipientsRefused({RECIPIENT: (421, b"busy")}), (Verdict.DEFER, Stage.RCPT, Blame.BACKEND)),
        (smtplib.SMTPRecipientsRefused({}), (Verdict.RETRY, Stage.RCPT, Blame.MESSAGE)),
        (ApiError(status_code=429), (Verdict.DEFER, Stage.DATA, Blame.BACKEND)),
        (ApiError(status_code=422), (Verdict.FAIL, Stage.DATA, Blame.MESSAGE)),
        (ApiError(response=ApiResponse(400)), (Verdict.FAIL, Stage.DATA, Blame.MESSAGE)),
        (ApiError(response=ApiResponse(503)), (Verdict.RETRY, Stage.DATA, Blame.MESSAGE)),
        (ApiError(status_code=200), (Verdict.RETRY, Stage.DATA, Blame.MESSAGE)),
        (ApiError(), (Verdict.RETRY, Stage.DATA, Blame.MESSAGE)),
        (ConnectionRefusedError("no"), (Verdict.DEFER, Stage.CONNECT, Blame.BACKEND)),
        (ConnectTimeout("no"), (Verdict.DEFER, Stage.CONNECT, Blame.BACKEND)),
        (_caused(ApiError(), ConnectionRefusedError()), (Verdict.DEFER, Stage.CONNECT, Blame.BACKEND)),
        (ConnectionResetError("gone"), (Verdict.UNKNOWN, Stage.FINAL_DOT, Blame.NONE)),
        (smtplib.SMTPServerDisconnected("gone"), (Verdict.UNKNOWN, Stage.FINAL_DOT, Blame.NONE)),
        (_caused(ReadTimeout("slow"), TimeoutError()), (Verdict.UNKNOWN, Stage.FINAL_DOT, Blame.NONE)),
        (ZeroDivisionError("unforeseen"), (Verdict.RETRY, Stage.DATA, Blame.MESSAGE)),
    ],
    ids=repr,
)
def test_what_a_backend_raises_is_judged(error: Exception, expected: tuple[Any, ...]) -> None:
    outcome = _deliver(error)

    assert expected == (outcome.verdict, outcome.stage, outcome.blame)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_api_key_shuts_the_backend(status: int) -> None:
    outcome = _deliver(ApiError(status_code=status))

    assert (Verdict.DEFER, Trouble.SHUT, "ApiError") == (outcome.verdict, outcome.trouble, outcome.error)


def test_a_mail_refused_for_each_recipient_differently_is_told_for_each_by_its_name_in_the_letter() -> None:
    names = ["Ann <a@example.net>", "Bob <b@example.net>"]
    refused = {"a@example.net": (550, b"5.1.1 unknown"), "b@example.net": (451, b"4.7.1 later")}
    carrier = DjangoCarrier(Service(answers=[smtplib.SMTPRecipientsRefused(refused)]))

    outcome = carrier.deliver(letter(recipients=names), OPEN)

    assert {names[0]: Reply(550, "unknown", "5.1.1"), names[1]: Reply(451, "later", "4.7.1")} == {
        name: result.reply for name, result in outcome.recipients.items()
    }


@pytest.mark.parametrize(
    ("error", "stage", "trouble"),
    [
        (ConnectionRefusedError(), Stage.CONNECT, Trouble.CONNECT),
        (TimeoutError(), Stage.CONNECT, Trouble.CONNECT),
        (smtplib.SMTPConnectError(421, b"busy"), Stage.GREETING, Trouble.CROWDED),
        (smtplib.SMTPAuthenticationError(535, b"5.7.8 no"), Stage.AUTH, Trouble.SHUT),
        (smtplib.SMTPNotSupportedError("STARTTLS"), Stage.TLS, Trouble.SHUT),
        (ApiError(status_code=401), Stage.DATA, Trouble.SHUT),
        (ApiError(status_code=500), Stage.CONNECT, Trouble.CONNECT),
        (ZeroDivisionError(), Stage.CONNECT, Trouble.CONNECT),
    ],
    ids=repr,
)
def test_whatever_fails_while_a_backend_opens_is_the_backends_fault(
    error: Exception, stage: Stage, trouble: Trouble
) -> None:
    carrier = DjangoCarrier(Service(refuses_to_open=error))

    outcome = carrier.deliver(letter(), OPEN)

    assert (Verdict.DEFER, stage, Blame.BACKEND, trouble) == _seen(outcome)
    assert not carrier.is_connected()


def test_a_backend_that_cannot_be_made_is_the_backends_fault() -> None:
    def make() -> BaseEmailBackend:
        raise ImportError("no such service")

    outcome = DjangoCarrier(make).deliver(letter(), OPEN)

    assert (Verdict.DEFER, Stage.CONNECT, Blame.BACKEND, Trouble.CONNECT) == _seen(outcome)


def test_a_mail_that_cannot_be_built_never_opens_a_backend() -> None:
    service = Service()

    outcome = DjangoCarrier(service).deliver(broken_letter(FileNotFoundError("invoice.pdf")), OPEN)

    assert ((Verdict.FAIL, Stage.BUILD, Blame.MESSAGE, Trouble.NONE), []) == (_seen(outcome), service.acts)


def test_an_error_that_cannot_even_be_judged_is_retried() -> None:
    outcome = _deliver(smtplib.SMTPRecipientsRefused({RECIPIENT: None}))  # type: ignore[dict-item]

    assert (Verdict.RETRY, Blame.MESSAGE, "TypeError") == (outcome.verdict, outcome.blame, outcome.error)


# The fence and the life of a backend


def test_behind_a_closed_fence_the_backend_is_not_given_the_mail() -> None:
    service = Service()

    outcome = DjangoCarrier(service).deliver(letter(), CLOSED)

    assert (Verdict.DEFER, Blame.BACKEND, "LeaseLost", []) == (
        outcome.verdict,
        outcome.blame,
        outcome.error,
        service.sent,
    )


def test_the_fence_is_asked_after_the_backend_was_opened_and_before_it_sends() -> None:
    service = Service()
    seen: list[str] = []

    DjangoCarrier(service).deliver(letter(), ScriptedFence(lambda: seen.extend(service.acts)))

    assert ["make", "open"] == seen


def test_one_backend_stays_open_for_several_mails() -> None:
    service = Service()
    carrier = DjangoCarrier(service)

    carrier.deliver(letter(), OPEN)
    carrier.deliver(letter(), OPEN)

    assert (["make", "open"], True) == (service.acts, carrier.is_connected())


def test_after_an_error_a_new_backend_is_made() -> None:
    service = Service(answers=[ConnectionResetError()], refuses_to_close=OSError("already gone"))
    carrier = DjangoCarrier(service)
    carrier.deliver(letter(), OPEN)

    outcome = carrier.deliver(letter(), OPEN)

    assert (SENT, ["make", "open", "close", "make", "open"]) == (_seen(outcome), service.acts)


def test_an_idle_backend_expires() -> None:
    service, now = Service(), [0.0]
    carrier = DjangoCarrier(service, clock=lambda: now[0])
    carrier.deliver(letter(), OPEN)
    carrier.expire()
    was_connected = carrier.is_connected()
    now[0] += IDLE_SECONDS

    carrier.expire()

    assert (True, False, "close") == (was_connected, carrier.is_connected(), service.acts[-1])


def test_a_carrier_that_never_sent_can_be_closed() -> None:
    service = Service()

    DjangoCarrier(service).close()

    assert [] == service.acts


# The envelope


def _shown(built: EmailMessage) -> dict[str, Any]:
    mime = built.message()
    return {name: mime[name] for name in ("From", "To", "Cc", "Bcc")}


def test_a_letter_to_all_recipients_leaves_the_message_alone() -> None:
    def build() -> EmailMessage:
        return message(to=["a@example.net"], cc=["b@example.net"])

    built = addressed(Letter(SENDER, ["a@example.net", "b@example.net"], build))

    assert (["a@example.net"], ["b@example.net"], [], False) == (built.to, built.cc, built.bcc, "To" in _extra(built))


def _extra(built: EmailMessage) -> dict[str, Any]:
    return dict(built.extra_headers)


def test_a_letter_to_some_recipients_goes_to_those_and_shows_all() -> None:
    def build() -> EmailMessage:
        return message(to=["a@example.net", "Bob <b@example.net>"], cc=["c@example.net"], bcc=["d@example.net"])

    before = _shown(build())

    built = addressed(Letter(SENDER, ["Bob <b@example.net>", "d@example.net"], build))

    assert (["Bob <b@example.net>", "d@example.net"], before) == (built.recipients(), _shown(built))


def test_a_recipient_that_the_message_does_not_name_is_a_blind_copy() -> None:
    built = addressed(Letter(SENDER, ["x@example.net"], message))

    assert (["x@example.net"], RECIPIENT) == (built.bcc, str(_shown(built)["To"]))


def test_a_to_header_that_the_caller_set_is_kept() -> None:
    headers = {"To": "undisclosed-recipients:;"}

    built = addressed(Letter(SENDER, ["x@example.net"], lambda: message(headers=headers)))

    assert ("undisclosed-recipients:;", {"To": "undisclosed-recipients:;"}) == (str(_shown(built)["To"]), headers)


def test_an_envelope_sender_of_its_own_leaves_the_from_header_alone() -> None:
    built = addressed(Letter("bounces@example.com", [RECIPIENT], message))

    assert ("bounces@example.com", SENDER) == (built.from_email, str(_shown(built)["From"]))


# A project's own SMTP backend, on a real line


class Signing(SmtpBackend):
    """Sends in its own way, as a backend that signs would."""

    def _send(self, email_message: EmailMessage) -> bool:
        email_message.extra_headers["X-Signed"] = "yes"
        return super()._send(email_message)


def _signing(server: SmtpServer) -> DjangoCarrier:
    return DjangoCarrier(lambda: Signing(alias="test", host=server.host, port=server.port, timeout=30))


def test_a_projects_own_smtp_backend_sends_in_its_own_way_over_one_connection() -> None:
    with SmtpServer() as server:
        carrier = _signing(server)
        outcomes = [_seen(carrier.deliver(letter(), OPEN)) for _ in range(3)]
        carrier.close()

    assert ([SENT] * 3, ["yes"] * 3, 1) == (
        outcomes,
        [sent.message["X-Signed"] for sent in server.messages],
        server.connect_count,
    )


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"RCPT": "550 5.1.1 unknown"}, (Verdict.FAIL, Stage.RCPT, Blame.RECIPIENT, Trouble.NONE)),
        ({"MAIL": Drop("421 busy")}, (Verdict.DEFER, Stage.MAIL, Blame.BACKEND, Trouble.CROWDED)),
        ({"BODY": "451 4.3.0 later"}, (Verdict.RETRY, Stage.DATA, Blame.MESSAGE, Trouble.NONE)),
        ({"BODY": Unanswered()}, (Verdict.UNKNOWN, Stage.FINAL_DOT, Blame.NONE, Trouble.NONE)),
        ({"GREETING": "554 no"}, (Verdict.DEFER, Stage.GREETING, Blame.BACKEND, Trouble.CONNECT)),
    ],
)
def test_a_projects_own_smtp_backend_is_judged_like_ours(script: dict[str, Any], expected: tuple[Any, ...]) -> None:
    with SmtpServer(script) as server:
        carrier = _signing(server)
        outcome = carrier.deliver(letter(), OPEN)
        carrier.close()

    assert expected == _seen(outcome)


def test_a_projects_own_smtp_backend_with_a_dead_connection_is_made_anew() -> None:
    with SmtpServer() as server:
        carrier = _signing(server)
        carrier.deliver(letter(), OPEN)
        server.drop_connections()
        lost = carrier.deliver(letter(), OPEN)
        again = carrier.deliver(letter(), OPEN)
        carrier.close()

    assert (Verdict.UNKNOWN, Verdict.SENT) == (lost.verdict, again.verdict)


@pytest.mark.parametrize(
    "names",
    [
        ["a@example.net", "b@example.net", "c@example.net"],
        ["Ann <a@example.net>", "b@example.net", "Doe <c@example.net>"],
    ],
)
def test_whom_the_server_refused_while_it_took_others_is_not_lost_in_a_projects_own_smtp_backend(
    names: list[str],
) -> None:
    script = {"RCPT": [None, "550 5.1.1 unknown", "451 4.3.0 later"], "BODY": "250 2.0.0 Ok: queued as 4F3A"}
    with SmtpServer(script) as server:
        carrier = _signing(server)
        outcome = carrier.deliver(letter(recipients=names), OPEN)
        carrier.close()

    assert [Verdict.SENT, Verdict.FAIL, Verdict.RETRY] == [outcome.recipients[name].verdict for name in names]
    assert ("4F3A", Reply(451, "later", "4.3.0")) == (outcome.queue_id, outcome.reply)


def test_whom_a_backend_names_in_its_own_way_is_found_by_the_address() -> None:
    class Backwards(SmtpBackend):
        def _send(self, _email_message: EmailMessage) -> bool:
            refused = self.connection.sendmail(SENDER, "b@example.net", b"x") or self.connection.sendmail(
                SENDER, ["a@example.net", "b@example.net"], b"x"
            )
            return refused is not None

    def refuse_b(command: Command) -> str | None:
        return "550 5.1.1 unknown" if "<b@" in command.argument and command.session.recipients else None

    names = ["Ann <a@example.net>", "Bob <b@example.net>", "Carl <c@example.net>"]
    with SmtpServer({"RCPT": refuse_b}) as server:
        carrier = DjangoCarrier(lambda: Backwards(alias="test", host=server.host, port=server.port, timeout=30))
        outcome = carrier.deliver(letter(recipients=names), OPEN)
        carrier.close()

    assert Verdict.FAIL == outcome.recipients[names[1]].verdict


def test_what_is_the_backends_fault_comes_to_what_one_recipient_can_have_beside_those_accepted() -> None:
    replies = [None, "454 Throttling failure", "550 Sender verify failed", "450 too many connections"]
    names = ["a@example.net", "b@example.net", "c@example.net", "d@example.net"]
    with SmtpServer({"RCPT": replies}) as server:
        carrier = _signing(server)
        outcome = carrier.deliver(letter(recipients=names), OPEN)
        carrier.close()

    assert [Verdict.SENT, Verdict.RETRY, Verdict.FAIL, Verdict.RETRY] == [
        outcome.recipients[name].verdict for name in names
    ]
    assert Trouble.THROTTLED == outcome.trouble


class HttpError(Exception):
    """As that of urllib: the status as `code`, the headers on the exception."""

    code = 429

    def __init__(self, **headers: str) -> None:
        super().__init__("slow down")
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize(("headers", "hint"), [({"retry_after": "30"}, 30), ({}, None)])
def test_the_hint_of_an_http_response_is_read_wherever_its_headers_are(
    headers: dict[str, str], hint: float | None
) -> None:
    outcome = _deliver(HttpError(**headers))

    assert (Trouble.THROTTLED, hint) == (outcome.trouble, outcome.reply.retry_after)


def test_what_anymail_refuses_by_itself_fails_at_once() -> None:
    outcome = _deliver(AnymailUnsupportedFeature("no such thing"))

    assert (Verdict.FAIL, Blame.MESSAGE, "AnymailUnsupportedFeature") == (
        outcome.verdict,
        outcome.blame,
        outcome.error,
    )


def test_a_message_whose_parts_cannot_be_read_fails_whatever_the_backend_makes_of_that() -> None:
    outcome = _deliver(_caused(ApiError(), UnreadableError("kept as bytes")))

    assert (Verdict.FAIL, Stage.BUILD, Blame.MESSAGE, Trouble.NONE) == _seen(outcome)
