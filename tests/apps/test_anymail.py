"""django-anymail as the delivering backend: the service's API is called as if there were no queue between."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from operator import itemgetter
from typing import Any
from urllib.parse import parse_qsl

import pytest
from anymail.message import attach_inline_image
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.delivery.backends import canonical
from mailqueue.models import Attempt, AttemptOutcome, BackendHealth
from tests import settings as site
from tests.support.http_server import Answer, HttpServer, Request

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

Deliver = Callable[[], None]
PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")
PDF = b"%PDF-1.7\r\n\x00\xff\xfe\n.\r\n..\n"
HAS_MAILERS = hasattr(site, "MAILERS")


@dataclass(frozen=True)
class Service:
    """A mail service: where Anymail has its backend, and what its API says when it takes a mail."""

    backend: str
    taken: Any
    options: dict[str, str]


SPARKPOST = Service(
    "anymail.backends.sparkpost.EmailBackend",
    {"results": {"total_accepted_recipients": 1, "total_rejected_recipients": 0, "id": "1"}},
    {"api_key": "key"},
)
MAILGUN = Service(
    "anymail.backends.mailgun.EmailBackend", {"id": "<1@mailgun.example>", "message": "Queued."}, {"api_key": "key"}
)
POSTMARK = Service(
    "anymail.backends.postmark.EmailBackend",
    {"ErrorCode": 0, "Message": "OK", "MessageID": "1", "To": "jane@example.com"},
    {"server_token": "key"},
)
SERVICES = [pytest.param(service, id=service.backend.split(".")[2]) for service in (SPARKPOST, MAILGUN, POSTMARK)]


class Api:
    """The service's API on loopback, and its backend in the settings of this process and of senders."""

    def __init__(self, server: HttpServer, *, service: Service, settings: Settings, changed: dict[str, Any]) -> None:
        self.server = server
        self._service = service
        options = {"api_url": server.url, "ignore_unsupported_features": True, **service.options}
        if HAS_MAILERS:
            mailer = {"BACKEND": service.backend, "OPTIONS": options}
            changes: dict[str, Any] = {"MAILERS": {**site.MAILERS, canonical(""): mailer}}
        else:
            name = service.backend.split(".")[2]
            ours = ("api_url", *service.options)
            keys = {option: f"{name}_{option}" if option in ours else option for option in options}
            changes = {
                "POST_OFFICE": {**site.POST_OFFICE, "BACKENDS": {"default": service.backend}},
                "ANYMAIL": {keys[option].upper(): value for option, value in options.items()},
            }
        changed.update(changes)
        for name, value in changes.items():
            setattr(settings, name, value)

    def call_directly(self, message: EmailMessage) -> Request:
        """Let Anymail send a message, and give the call that it makes."""
        if HAS_MAILERS:
            from django.core.mail import mailers

            backend = mailers[canonical("")]
        else:
            backend = get_connection(self._service.backend)
        assert backend.send_messages([deepcopy(message)]) == 1
        return self.server.requests.pop()

    def call_of_sender(self) -> Request:
        """Give the only call that came."""
        (request,) = self.server.requests
        return request


@pytest.fixture
def service() -> Service:
    return SPARKPOST


@pytest.fixture
def api(
    service: Service,
    queueing: None,
    settings: Settings,
    changed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Api]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HttpServer(Answer(body=json.dumps(service.taken).encode())) as server:
        yield Api(server, service=service, settings=settings, changed=changed)


def comparable(request: Request) -> dict[str, Any]:
    """Take out of a call what says nothing: the boundary of its parts, and the order of form fields and headers."""
    headers = dict(request.headers.items())
    headers.pop("Content-Length", None)
    kind = headers.pop("Content-Type")
    body: Any
    if kind.startswith("multipart/"):
        form: Any = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + request.body)
        parts = [
            ([str(field) for field in part.values()], part.get_payload(decode=True)) for part in form.get_payload()
        ]
        body = sorted(parts)
    elif kind == "application/x-www-form-urlencoded":
        body = sorted(parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True))
        body = [(name, json.loads(value) if value.startswith("{") else value) for name, value in body]
    else:
        body = json.loads(request.body)
        for mail in body if isinstance(body, list) else [body]:
            mail.get("Headers", []).sort(key=itemgetter("Name"))  # Postmark's
    return {"path": request.path, "headers": headers, "kind": kind.partition(";")[0], "body": body}


def make_message(**fields: Any) -> EmailMultiAlternatives:
    """Make a message whose identity is the caller's."""
    headers = {"Message-ID": "<order-7@example.com>", "Date": "Mon, 02 Mar 2026 10:00:00 -0000", "X-Shop": "7"}
    fields = {
        "subject": "Größe",
        "body": "Zu groß.",
        "from_email": '"Shop, Support" <shop@example.com>',
        "to": ["Jane <jane@example.com>"],
        "headers": headers,
        **fields,
    }
    return EmailMultiAlternatives(**fields)


def plain_message() -> EmailMessage:
    return make_message()


def message_with_parts() -> EmailMessage:
    message = make_message(
        cc=["cc@example.com"], bcc=["bcc@example.com"], reply_to=["a@example.com", '"B, C" <b@example.com>']
    )
    cid = attach_inline_image(message, PIXEL, "logo.gif")
    message.attach_alternative(f'<p>Größe <img src="cid:{cid}"></p>', "text/html")
    message.attach_alternative("<html amp4email>Größe</html>", "text/x-amp-html")
    message.attach("Rechnung, März.pdf", PDF, "application/pdf")
    message.attach("terms.txt", "Größe\n", "text/plain")
    return message


def html_message() -> EmailMessage:
    message = make_message(body="<p>Zu groß.</p>")
    message.content_subtype = "html"
    return message


def message_with_attributes() -> EmailMessage:
    message: Any = make_message()
    message.tags = ["order", "first"]
    message.metadata = {"order": 7, "total": "12.50"}
    message.track_opens = True
    message.track_clicks = False
    message.envelope_sender = "bounces@example.com"
    message.send_at = datetime(2026, 3, 3, 4, 5, 6, tzinfo=UTC)
    return message


def message_to_many() -> EmailMessage:
    message: Any = make_message(to=["jane@example.com", "Joe <joe@example.com>"])
    message.merge_data = {"jane@example.com": {"name": "Jane"}, "joe@example.com": {"name": "Joe"}}
    message.merge_global_data = {"shop": "Größe"}
    message.merge_metadata = {"jane@example.com": {"order": 7}, "joe@example.com": {"order": 8}}
    message.merge_headers = {"jane@example.com": {"List-Unsubscribe": "<https://example.com/7>"}}
    return message


def message_from_template() -> EmailMessage:
    message: Any = make_message(subject="", body="")
    message.template_id = "order"
    message.merge_global_data = {"number": 7}
    message.esp_extra = {"options": {"sandbox": True}}
    return message


MESSAGES = [
    plain_message,
    message_with_parts,
    html_message,
    message_with_attributes,
    message_to_many,
    message_from_template,
]


@pytest.mark.parametrize("make", MESSAGES)
@pytest.mark.parametrize("service", SERVICES)
def test_the_service_is_called_as_if_there_were_no_queue(make: Any, api: Api, deliver: Deliver) -> None:
    message = make()
    direct = comparable(api.call_directly(message))
    message.send()
    deliver()

    assert direct == comparable(api.call_of_sender())
    assert [STATUS.sent] == list(Email.objects.values_list("status", flat=True))


# What the API answers


def test_a_mail_that_the_service_refuses_has_failed(api: Api, deliver: Deliver) -> None:
    api.server.answer = Answer(400, b'{"errors": [{"message": "bad address"}]}')
    plain_message().send()
    deliver()

    assert [(STATUS.failed, AttemptOutcome.FAILED)] == fates()


def test_a_mail_that_the_service_stumbles_over_is_retried(api: Api, deliver: Deliver) -> None:
    api.server.answer = Answer(500)
    plain_message().send()
    deliver()

    assert [(STATUS.requeued, AttemptOutcome.RETRY)] == fates()


def test_a_refused_key_shuts_the_backend_and_costs_the_mail_nothing(api: Api, deliver: Deliver) -> None:
    api.server.answer = Answer(401)
    plain_message().send()
    deliver()

    assert [(STATUS.requeued, AttemptOutcome.DEFERRED)] == fates()
    assert [canonical("")] == list(BackendHealth.objects.exclude(shut_at=None).values_list("alias", flat=True))


def test_too_many_calls_cost_the_mail_nothing(api: Api, deliver: Deliver) -> None:
    api.server.answer = Answer(429, headers={"Retry-After": "120"})
    plain_message().send()
    deliver()

    assert [(STATUS.requeued, AttemptOutcome.DEFERRED)] == fates()


def fates() -> list[tuple[Any, Any]]:
    return list(Attempt.objects.values_list("email__status", "outcome"))


class SignedMessage(EmailMessage):
    def message(self, *arguments: Any, **options: Any) -> Any:
        built = super().message(*arguments, **options)
        built["X-Signature"] = "1"
        return built


def test_a_message_that_is_kept_as_bytes_is_not_sent_as_something_else(api: Api, deliver: Deliver) -> None:
    SignedMessage("Order", "Thank you.", "shop@example.com", ["jane@example.com"]).send()
    deliver()

    assert [] == api.server.requests
    assert [(STATUS.failed, AttemptOutcome.FAILED)] == fates()


@pytest.mark.parametrize("service", SERVICES)
def test_the_service_is_told_no_headers_but_the_callers(api: Api, deliver: Deliver) -> None:
    message = make_message(headers={"X-Shop": "7"})
    direct = comparable(api.call_directly(message))
    message.send()
    deliver()

    assert direct == comparable(api.call_of_sender())


def test_what_the_services_template_is_to_give_stays_unset(api: Api, deliver: Deliver) -> None:
    message: Any = message_from_template()
    message.from_email = None
    direct = comparable(api.call_directly(message))
    message.send()
    deliver()

    assert direct == comparable(api.call_of_sender())
