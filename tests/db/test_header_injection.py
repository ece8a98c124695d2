"""No text, in whatever field of whatever API, becomes a command, a recipient, a header or the body of a mail.

Each text goes all the way: written to the database, read as the sender reads it, and sent to a real SMTP server, which
is asked afterwards what it heard.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from email import message_from_bytes
from email.message import Message
from email.mime.base import MIMEBase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.core.mail.utils import DNS_NAME
from django.db import DataError, connection, transaction
from django.test import override_settings
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from post_office import mail as post_office_mail
from post_office.models import STATUS, Attachment, Email, EmailTemplate

import mailqueue
from mailqueue import EmailBackend
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.models import MessageSource
from mailqueue.outbox.messages import letter_of, load, recipients_of
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.letters import OPEN

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:MIMEBase attachments are deprecated"),  # Django 6.1 still sends them
]

SHOP = "shop@example.com"
JANE = "jane@example.com"
EVIL = "evil@example.net"
BREAKS = ["\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "\n ", "\x0b", "\x0b\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85"]
BREAKS += ["\u2028", "\u2029", "\0", "\r\n.\r\n", "\n.\n", "\r.\r", "\u2028\u2028"]
PAYLOADS = [
    f"Bcc: {EVIL}",
    f"Bcc : {EVIL}",
    "X-Evil: 1",
    f"RCPT TO:<{EVIL}>",
    f"MAIL FROM:<{EVIL}>",
    "DATA",
    "QUIT",
    "e",
]
PAYLOADS += [
    f"> ORCPT=rfc822;{EVIL} <",
    f">\r\nRCPT TO:<{EVIL}",
    f"> NOTIFY=NEVER\nRCPT TO:<{EVIL}>",
    "Content-Type: text/html",
    "ü",
    "=?utf-8?q?=0AX-Evil:_1?=",
]
nasty = st.builds(
    lambda before, some: before + "".join(f"{line_break}{payload}" for line_break, payload in some),
    st.sampled_from(["", "a", "ü", "a b", "x" * 80, "Jane"]),
    st.lists(st.tuples(st.sampled_from(BREAKS), st.sampled_from(PAYLOADS)), min_size=1, max_size=3),
)
addresses = st.builds(
    lambda pattern, text: pattern.format(text.replace(",", "")),
    st.sampled_from([f"{JANE}{{0}}", f"{{0}}{JANE}", f'"{{0}}" <{JANE}>', f"{{0}} <{JANE}>", "jane@{0}", "{0}"]),
    nasty,
)
KNOWN_HEADERS = {
    *("subject", "from", "to", "cc", "reply-to", "date", "message-id", "mime-version", "x-shop", "x-part", "sender"),
    *("content-type", "content-transfer-encoding", "content-disposition", "content-id"),
}
PATH = re.compile(r'(?:MAIL FROM|RCPT TO):<(?:"(?:[^"\\]|\\.)*"|[^<>" ])*>(?: SMTPUTF8)?(?: BODY=8BITMIME)?')
examples = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True, scope="module")
def media() -> Iterator[None]:
    with TemporaryDirectory() as folder, override_settings(MEDIA_ROOT=Path(folder)):
        yield


class Line:
    """One session with a server, and what the server made of the last mail."""

    def __init__(self, server: SmtpServer) -> None:
        self.server = server
        self.carrier = SmtpCarrier(SmtpBackend(alias="test", host=server.host, port=server.port))

    def carry(self, queue: Callable[[str], object], text: str) -> None:
        """Queue a mail that has the text in it, send it, and check what was heard; leave nothing behind."""
        said, took = len(self._commands()), len(self.server.messages)
        with suppress(_RolledBackError), transaction.atomic():
            with suppress(Exception), transaction.atomic():  # refused at the call, as it may be
                queue(text)
            for pk in list(Email.objects.values_list("pk", flat=True)):
                row = load([pk], using="default")[pk]
                self.carrier.deliver(letter_of(row, recipients=recipients_of(row)), OPEN)
            raise _RolledBackError
        self._check(self._commands()[said:], [accepted.content for accepted in self.server.messages[took:]])

    def _commands(self) -> list[str]:
        return [command for session in self.server.sessions for command in session.commands]

    @staticmethod
    def _check(commands: list[str], contents: list[bytes]) -> None:
        assert [] == [command for command in commands if not _is_expected(command)]
        assert len(contents) <= 1
        for content in contents:
            assert content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r")
            head = content.partition(b"\r\n\r\n")[0].decode("latin-1")
            unfolded = re.sub(r"\r\n[ \t]", " ", head).split("\r\n")
            assert [] == [line for line in unfolded if line.partition(":")[0].lower() not in KNOWN_HEADERS]
            _check_parts(message_from_bytes(content))


class _RolledBackError(Exception):
    pass


def _is_expected(command: str) -> bool:
    if ":" in command:
        return PATH.fullmatch(command) is not None and f"<{EVIL}>" not in command
    return command.partition(" ")[0].lower() in {"ehlo", "rset", "data", "quit", "."}


def _check_parts(part: Message) -> None:
    assert {name.lower() for name, _ in part.items()} <= KNOWN_HEADERS
    assert [] == part.defects
    if part.get_content_maintype() == "multipart":  # an attached mail may have any headers
        for inner in part.get_payload():
            _check_parts(inner)


@pytest.fixture(scope="module")
def server() -> Iterator[SmtpServer]:
    with SmtpServer(extensions=("8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8")) as server:
        yield server


@pytest.fixture
def line(server: SmtpServer) -> Iterator[Line]:
    line = Line(server)
    yield line
    line.carrier.close()


def _django(**changes: Any) -> None:
    given: dict[str, Any] = {
        "subject": "Hi",
        "body": "Hello",
        "from_email": SHOP,
        "to": [JANE],
        "cc": ["bob@example.com"],
        "bcc": ["carol@example.com"],
    }
    attached = changes.pop("attached", None)
    alternative = changes.pop("alternative", None)
    attributes = {
        name: changes.pop(name) for name in ("content_subtype", "encoding", "mixed_subtype") if name in changes
    }
    message = EmailMultiAlternatives(**given | changes)
    vars(message).update(attributes)
    if attached:
        message.attach(*attached)
    if alternative:
        message.attach_alternative(*alternative)
    EmailBackend().send_messages([message])


def _part(text: str) -> MIMEBase:
    part = MIMEBase("application", "pdf")
    part.set_payload("x")
    part.add_header("Content-Disposition", "attachment", filename=text)
    part["X-Part"] = text
    return part


DJANGO: dict[str, Callable[[str], object]] = {
    "subject": lambda text: _django(subject=text),
    "body": lambda text: _django(body=text),
    "from": lambda text: _django(from_email=text),
    "to": lambda text: _django(to=[JANE, text]),
    "cc": lambda text: _django(cc=[text]),
    "bcc": lambda text: _django(bcc=[text]),
    "reply_to": lambda text: _django(reply_to=[text]),
    "header": lambda text: _django(headers={"X-Shop": text}),
    "header From": lambda text: _django(headers={"From": text}),
    "header To": lambda text: _django(headers={"To": text}),
    "header Sender": lambda text: _django(headers={"Sender": text}),
    "header Date": lambda text: _django(headers={"Date": text}),
    "header Message-ID": lambda text: _django(headers={"Message-ID": text}),
    "header name": lambda text: _django(headers={f"X-Shop{text}": "1"}),
    "whole header name": lambda text: _django(headers={text: "1"}),
    "attachment name": lambda text: _django(attached=(text, b"x", "application/pdf")),
    "text attachment name": lambda text: _django(attached=(text, "x", "text/plain")),
    "attachment type": lambda text: _django(attached=("a.pdf", b"x", f"application/pdf{text}")),
    "attachment maintype": lambda text: _django(attached=("a.pdf", b"x", f"application{text}/pdf")),
    "text attachment type": lambda text: _django(attached=("a.txt", "x", f"text/plain{text}")),
    "attached mail": lambda text: _django(attached=("a.eml", f"Subject: x{text}\n\nHello", "message/rfc822")),
    "attached part": lambda text: _django(attachments=[_part(text)]),
    "alternative type": lambda text: _django(alternative=("<p>", f"text/html{text}")),
    "alternative": lambda text: _django(alternative=(text, "text/html")),
    "content_subtype": lambda text: _django(content_subtype=f"plain{text}"),
    "encoding": lambda text: _django(encoding=f"utf-8{text}"),
    "mixed_subtype": lambda text: _django(attached=("a.pdf", b"x", "application/pdf"), mixed_subtype=f"mixed{text}"),
}


def _send(**changes: Any) -> object:
    return mailqueue.send(**{"recipients": JANE, "sender": SHOP, "subject": "Hi", "message": "Hello", **changes})


def _post_office(**changes: Any) -> object:
    return post_office_mail.send(
        **{"recipients": JANE, "sender": SHOP, "subject": "Hi", "message": "Hello", **changes}
    )


def _template(text: str, **changes: Any) -> dict[str, Any]:
    EmailTemplate.objects.create(name="t", subject="Hi {{ x|safe }}", content="Hello {{ x|safe }}")
    return {"template": "t", "context": {"x": text}, "subject": "", "message": "", **changes}


def _fields(send: Callable[..., object]) -> dict[str, Callable[[str], object]]:
    return {
        "subject": lambda text: send(subject=text),
        "message": lambda text: send(message=text),
        "sender": lambda text: send(sender=text),
        "recipients": lambda text: send(recipients=[JANE, text]),
        "cc": lambda text: send(cc=[text]),
        "bcc": lambda text: send(bcc=[text]),
        "header": lambda text: send(headers={"X-Shop": text}),
        "header Reply-To": lambda text: send(headers={"Reply-To": text}),
        "header name": lambda text: send(headers={f"X-Shop{text}": "1"}),
        "attachment name": lambda text: send(attachments={text: ContentFile(b"x")}),
        "attachment type": lambda text: send(
            attachments={"a.pdf": {"file": ContentFile(b"x"), "mimetype": f"application/pdf{text}"}}
        ),
        "attachment header": lambda text: send(
            attachments={
                "a.pdf": {"file": ContentFile(b"x"), "mimetype": "image/png", "headers": {"X-Part": text}},
            }
        ),
        "attachment header name": lambda text: send(
            attachments={
                "a.pdf": {"file": ContentFile(b"x"), "mimetype": "image/png", "headers": {f"X-Part{text}": "1"}},
            }
        ),
        "template": lambda text: send(**_template(text)),
        "late template": lambda text: send(**_template(text, render_on_delivery=True)),
    }


def _row(**changes: Any) -> Email:
    fields = {"subject": "Hi", "message": "Hello", "from_email": SHOP, "to": [JANE], "status": STATUS.queued}
    return Email.objects.create(**fields | changes)


def _sql(text: str, *, column: str) -> None:
    mail = _row()
    with connection.cursor() as cursor:
        cursor.execute(f'UPDATE post_office_email SET "{column}" = %s WHERE id = %s', [text, mail.pk])


def _attachment(**changes: Any) -> None:
    attachment = Attachment(**{"name": "a.pdf", "mimetype": "application/pdf", **changes})
    attachment.file.save("a.pdf", ContentFile(b"x"), save=True)
    _row().attachments.add(attachment)


ROWS: dict[str, Callable[[str], object]] = {
    **{
        column: lambda text, column=column: _sql(text, column=column)  # type: ignore[misc]
        for column in ("subject", "message", "html_message", "from_email", "to", "cc", "bcc", "message_id")
    },
    "header": lambda text: _row(headers={"X-Shop": text}),
    "header Reply-To": lambda text: _row(headers={"Reply-To": text}),
    "header name": lambda text: _row(headers={f"X-Shop{text}": "1"}),
    "whole header name": lambda text: _row(headers={text: "1"}),
    "attachment name": lambda text: _attachment(name=text),
    "attachment type": lambda text: _attachment(mimetype=f"application/pdf{text}"),
    "text attachment type": lambda text: _attachment(mimetype=f"text/plain{text}"),
    "attachment header": lambda text: _attachment(headers={"X-Part": text}),
    "attachment header name": lambda text: _attachment(headers={f"X-Part{text}": "1"}),
    "attachment header type": lambda text: _attachment(mimetype=f"image/png{text}", headers={"X-Part": "1"}),
    "template": lambda text: post_office_mail.send(
        **{"recipients": JANE, "sender": SHOP, **_template(text, subject="")}
    ),
}


def _source(*, message: bytes | None = None, parts: Any = None, **changes: Any) -> None:
    fields = {"envelope_from": SHOP, "recipients": [JANE], "message": message, "parts": parts}
    MessageSource.objects.create(email=_row(), **fields | changes)


SOURCES: dict[str, Callable[[str], object]] = {
    "envelope_from": lambda text: _source(parts={"subject": "x"}, envelope_from=text),
    "recipients": lambda text: _source(parts={"subject": "x"}, recipients=[JANE, text]),
    "kept recipients": lambda text: _source(message=b"Subject: x\r\n\r\nHello", recipients=[JANE, text]),
    **{
        name: lambda text, name=name: _source(parts={name: text})  # type: ignore[misc]
        for name in ("subject", "body", "from_email", "content_subtype", "encoding", "mixed_subtype")
    },
    **{
        name: lambda text, name=name: _source(parts={name: [text]})  # type: ignore[misc]
        for name in ("to", "cc", "bcc", "reply_to")
    },
    "header": lambda text: _source(parts={"headers": [["X-Shop", text]]}),
    "header name": lambda text: _source(parts={"headers": [[f"X-Shop{text}", "1"]]}),
    "alternative type": lambda text: _source(parts={"alternatives": [["<p>", f"text/html{text}"]]}),
}
APIS = {
    "django": DJANGO,
    "mailqueue.send": _fields(_send),
    "post_office": _fields(_post_office),
    "row": ROWS,
    "source": SOURCES,
}
FIELDS = [pytest.param(queue, id=f"{api}: {name}") for api, fields in APIS.items() for name, queue in fields.items()]


@pytest.mark.parametrize("queue", FIELDS)
@examples
@given(text=nasty | addresses)
@example(text=f"a\r\nBcc: {EVIL}")
@example(text="a\x0b\x0bX-Evil: 1\x0be")
@example(text=f"{JANE}>\r\nRCPT TO:<{EVIL}")
def test_no_text_in_any_field_becomes_a_command_a_recipient_or_a_header(
    line: Line, queue: Callable[[str], object], text: str
) -> None:
    line.carry(queue, text)


class Verbatim(EmailMessage):
    """Builds its own octets, as classes that sign or encrypt do."""

    octets = b""

    def message(self, **_: Any) -> Any:
        made: Any = super().message()
        made.as_bytes = lambda **_: self.octets
        return made


def _verbatim(octets: bytes) -> None:
    message = Verbatim("Hi", "Hello", SHOP, [JANE])
    message.octets = octets
    EmailBackend().send_messages([message])


def _kept(octets: bytes) -> None:
    MessageSource.objects.create(email=_row(), envelope_from=SHOP, recipients=[JANE], message=octets)


ENDS = [b"\n.\n", b"\r.\r", b"\r\n.\r\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r", b"\n", b"\r", b".", b"\r\n"]
SMUGGLED = f"MAIL FROM:<{EVIL}>\r\nRCPT TO:<{EVIL}>\r\nDATA\r\n".encode()
bodies = st.lists(st.sampled_from([*ENDS, b"Hello", SMUGGLED]), max_size=8).map(b"".join)
EOL = re.compile(rb"\r\n|\r|\n")


@pytest.mark.parametrize("queue", [_verbatim, _kept, lambda octets: _django(body=octets.decode())])
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies)
@example(body=b"\r.\r\n" + SMUGGLED)
def test_no_body_ends_its_mail_early(line: Line, queue: Callable[[bytes], object], body: bytes) -> None:
    took = len(line.server.messages)

    line.carry(lambda _: queue(b"Subject: Hi\r\n\r\n" + body), "")

    (content,) = (accepted.content for accepted in line.server.messages[took:])
    lines = EOL.split(b"Subject: Hi\n\n" + body)
    assert content.rstrip(b"\r\n").endswith(b"\r\n".join(lines).rstrip(b"\r\n"))


NUL_FIELDS = {
    "subject": {"subject": "a\0b"},
    "message": {"message": "a\0b"},
    "html_message": {"html_message": "a\0b"},
    "header": {"headers": {"X-Shop": "a\0b"}},
    "context": {
        "context": {"name": "a\0b"},
        "template": "t",
        "subject": "",
        "message": "",
        "render_on_delivery": True,
    },
}


@pytest.mark.parametrize("changes", NUL_FIELDS.values(), ids=NUL_FIELDS)
def test_a_nul_given_to_post_office_is_refused_at_the_call(changes: dict[str, Any]) -> None:
    EmailTemplate.objects.create(name="t", subject="Hi", content="Hello")

    with pytest.raises((ValueError, DataError), match=r"NUL|u0000|Unicode escape"), transaction.atomic():
        _post_office(**changes)

    assert not Email.objects.exists()


def test_the_name_of_the_host_can_not_speak_to_the_server(server: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DNS_NAME, "_fqdn", f"shop\r\nRCPT TO:<{EVIL}>", raising=False)
    took = len(server.messages)
    line = Line(server)
    said = len(line._commands())

    line.carry(lambda _: _row(), "")

    assert ([], took) == ([c for c in line._commands()[said:] if EVIL in c], len(server.messages))
