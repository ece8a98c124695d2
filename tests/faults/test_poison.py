"""One queue full of mails that can't be sent, each in a way of its own, and the mail of everybody else."""

import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.files.base import ContentFile
from django.db import connection
from post_office import mail as post_office_mail
from post_office.models import STATUS, Attachment, Email, EmailTemplate
from pytest_django import Settings

import mailqueue
from mailqueue.models import Attempt, MessageSource
from mailqueue.ops.states import State, state_of
from mailqueue.testing.smtp_server import SmtpServer
from tests import settings as given
from tests.support.senders import Senders, queue_mails, subjects_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
JANE = "jane@example.com"
SHOP = "shop@example.com"
CONNECTIONS = 4
GOOD = 200
SIZE = 300_000
NEWLINES = "Header values (can't contain newlines|may not contain linefeed)"
SOURCE = "mailqueue_messagesource"


def row(**fields: Any) -> Email:
    """Write a row past every API of ours."""
    usual = {"subject": "poison", "message": "x", "from_email": SHOP, "to": [JANE], "status": STATUS.queued}
    return Email.objects.create(**usual | fields)


def sql(column: str, text: str) -> Email:
    made = row()
    with connection.cursor() as cursor:
        cursor.execute(f'UPDATE post_office_email SET "{column}" = %s WHERE id = %s', [text, made.pk])
    return made


def attached(*, is_there: bool = True, **fields: Any) -> Email:
    attachment = Attachment(**{"name": "a.pdf", "mimetype": "application/pdf", **fields})
    attachment.file.save("a.pdf", ContentFile(b"x"), save=True)
    if not is_there:
        Path(attachment.file.path).unlink()
    made = row()
    made.attachments.add(attachment)
    return made


def templated(content: str) -> Email:
    template, _ = EmailTemplate.objects.get_or_create(
        name=str(abs(hash(content))), defaults={"subject": "poison", "content": content}
    )
    made: Email = post_office_mail.send(JANE, SHOP, template=template, context={"x": 1}, render_on_delivery=True)
    return made


def source(**fields: Any) -> Email:
    made = row()
    MessageSource.objects.create(email=made, **{"envelope_from": SHOP, "recipients": [JANE], **fields})
    return made


def tried_before(recipients: Any) -> Email:
    """Write a mail with a past that can't be read."""
    made = row(status=STATUS.requeued)
    now = "2026-11-21T08:00:00Z"
    Attempt.objects.create(
        email=made, number=1, token="0" * 32, sender="x", backend="default", claimed_at=now, lease_until=now,
        started_at=now, finished_at=now, outcome="retry", recipients=recipients,
    )  # fmt: skip
    return made


def nested(depth: int) -> Any:
    found: Any = "x"
    for _ in range(depth):
        found = [found]
    return found


FAILING: dict[str, tuple[Callable[[], Email], str]] = {
    "newline in the subject": (lambda: row(subject="a\nBcc: x@example.com"), NEWLINES),
    "form feed in subject": (lambda: row(subject="a\fBcc : x@example.com"), NEWLINES),
    "newline in a header": (lambda: row(headers={"X-Shop": "1\r\nBcc: x"}), NEWLINES),
    "newline in a header's name": (lambda: row(headers={"X\nBcc": "1"}), "Header names can't"),
    "newline in from": (lambda: sql("from_email", "shop@example.com\nBcc: x@example.com"), "newlines|Invalid"),
    "newline in to": (lambda: sql("to", f"{JANE}\r\nRCPT TO:<x@example.com>"), "Invalid address"),
    "newline in cc": (lambda: sql("cc", f"{JANE}\nx"), "newlines|Invalid address"),
    "headers that are no dict": (lambda: row(headers=["X-Shop", "1"]), "headers"),
    "a missing file": (lambda: attached(is_there=False), "No such file"),
    "a broken type": (lambda: attached(mimetype="nonsense"), "'nonsense'"),
    "a type with a newline": (lambda: attached(mimetype="image/png\nX: 1"), NEWLINES),
    "headers of an attachment": (lambda: attached(headers=["x"]), "headers"),
    "a template that raises": (lambda: templated("{% load poison %}{% explode %}"), "the price list is gone"),
    "a template that is none": (lambda: templated("{% if x %}"), "Unclosed tag"),
    "a template without end": (lambda: templated("{% extends 'forever.html' %}"), "recursion|extend|Template"),
    "deep template": (lambda: templated("{% if x %}" * 3_000 + "{% endif %}" * 3_000), "recursion"),
    "exit": (lambda: templated("{% load poison %}{% leave 'exit' %}"), "SystemExit|exit"),
    "interrupt": (lambda: templated("{% load poison %}{% leave 'interrupt' %}"), "KeyboardInterrupt|interrupt"),
    "generator exit": (lambda: templated("{% load poison %}{% leave 'close' %}"), "GeneratorExit|close"),
    "base exception": (lambda: templated("{% load poison %}{% leave 'base' %}"), "BaseException|base"),
    "larger than SIZE": (lambda: row(message="x" * SIZE), "SIZE"),
    "a header larger than SIZE": (lambda: row(headers={"X-Huge": "x" * 1_000_000}), "SIZE"),
    "a space in an address": (lambda: sql("to", "jane doe"), "Invalid address"),
    "no recipient": (lambda: sql("to", ""), "no recipients"),
    "commas alone": (lambda: sql("to", ", ,"), "no recipients"),
    "a domain too long": (lambda: sql("to", f"jane@{'ü' * 64}.com"), "Invalid address|label|long"),
    "a bracket too many": (lambda: sql("to", "jane@example.com> SIZE=1"), "Invalid address"),
    "unknown charset": (lambda: source(parts={"encoding": "no-such-charset"}), "no-such-charset"),
    "parts that are a list": (lambda: source(parts=["x"]), SOURCE),
    "parts that are a text": (lambda: source(parts="x"), SOURCE),
    "parts with a wrong list": (lambda: source(parts={"to": 7}), "mailqueue_messagesource|int"),
    "parts with a wrong entry": (lambda: source(parts={"attachments": [7]}), SOURCE),
    "parts with wrong alternatives": (lambda: source(parts={"alternatives": [[1, 2, 3, 4, 5]]}), SOURCE),
    "parts with unknown names": (lambda: source(parts={"message": "x"}), SOURCE),
    "parts without end": (lambda: source(parts={"headers": nested(900)}), "mailqueue_messagesource|unpack|value"),
    "a dict of recipients": (lambda: source(parts={"subject": "x"}, recipients={"a": 1}), SOURCE),
    "recipients that are a number": (lambda: source(message=b"x", recipients=7), SOURCE),
    "recipients of numbers": (lambda: source(message=b"x", recipients=[7]), SOURCE),
    "attributes of a list": (lambda: source(attributes=["x"]), SOURCE),
    "attributes with a wrong time": (lambda: source(attributes={"send_at": {"$datetime": "x"}}), "isoformat"),
    "a past that is a list": (lambda: tried_before([1]), "earlier attempts"),
    "a past that is a text": (lambda: tried_before("x"), "earlier attempts"),
    "a past of texts": (lambda: tried_before({JANE: "sent"}), "earlier attempts"),
    "a past without verdicts": (lambda: tried_before({JANE: {}}), "earlier attempts"),
}  # fmt: skip
WEIRD = ["mute", "wordy", "code", "no code", "refused", "nobody"]


@pytest.fixture
def changed(settings: Settings, tmp_path: Path, server: SmtpServer) -> dict[str, Any]:
    """Settings of this process and of the senders: a backend that raises anything, and templates from a folder."""
    weird = "tests.support.poison.WeirdBackend"
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "forever.html").write_text("{% include 'forever.html' %}")
    options = {"libraries": {"poison": "tests.support.poison"}}
    engines = [
        {**engine, "DIRS": [str(templates)], "OPTIONS": {**engine["OPTIONS"], **options}} for engine in given.TEMPLATES
    ]
    changes: dict[str, Any] = {"TEMPLATES": engines, "MEDIA_ROOT": str(tmp_path / "media")}
    if django.VERSION >= (6, 1):
        smtp = settings.MAILERS["smtp"]
        reached = {**smtp, "OPTIONS": {**smtp["OPTIONS"], "port": server.port}}
        changes["MAILERS"] = {**settings.MAILERS, "smtp": reached, "weird": {"BACKEND": weird}}
    else:
        changes["POST_OFFICE"] = {"BACKENDS": {**settings.POST_OFFICE["BACKENDS"], "weird": weird}}
    for name, value in changes.items():
        setattr(settings, name, value)
    return changes


def is_over() -> bool:
    return not Email.objects.filter(status__in=[STATUS.queued, STATUS.requeued]).exists()


def test_each_poisoned_mail_fails_with_its_reason_and_every_other_mail_is_sent(
    senders: MakeSenders, server: SmtpServer, changed: dict[str, Any]
) -> None:
    server.size_limit = SIZE
    server.script.set("BODY", "250 2.0.0 Ok \x00 queued")
    good = queue_mails(GOOD // 2, prefix="before")
    poisoned = {name: make() for name, (make, _) in FAILING.items()}
    weird = [row(subject=name, backend_alias="weird") for name in (*WEIRD, "exit", "group", "fine")]
    gone = row(backend_alias="gone")
    wide = row(subject="wide", headers={"X-Wide": "x" * 100_000})
    good += queue_mails(GOOD - len(good), prefix="after")
    environment = {"SETTINGS_JSON": json.dumps(changed)}
    settings = {"CONCURRENCY": CONNECTIONS, "RETRY_DELAYS": [0], "UNKNOWN_OUTCOME": "hold", "GIVE_UP_AFTER": 3}
    with senders(**settings).start(env=environment) as sender:
        wait_until(is_over, seconds=90, what="an end of all mails")
        server.latency = 0.2
        good += queue_mails(20, prefix="later")
        # One is kept for the other backend. Who died of a mail would be missing: "Exception in thread", below.
        server.wait_until(lambda: server.open_connection_count >= CONNECTIONS - 1, what="all connections at work")
        wait_until(is_over)
        assert sender.stop(signal.SIGTERM) == 0
        said = sender.said()

    arrived = subjects_of(server)
    assert set(good) == {subject for subject in arrived if subject in good}
    assert set(arrived.values()) == {1}
    reasons = {name: state_of(mail).detail for name, mail in poisoned.items()}
    assert {} == {n: r for n, r in reasons.items() if not _matches(FAILING[n][1], r)}
    assert {State.FAILED} == {state_of(mail).state for mail in poisoned.values()}
    assert [State.FAILED] * len(WEIRD) + [State.UNKNOWN] * 2 + [State.SENT] == [state_of(m).state for m in weird]
    assert {} == {
        mail.subject: state_of(mail).detail for mail in weird[: len(WEIRD)] if len(state_of(mail).detail) < 12
    }
    assert (State.HELD, True) == (state_of(gone).state, "gone" in state_of(gone).detail)
    assert (State.SENT, 1) == (state_of(wide).state, arrived["wide"])
    assert "Exception in thread" not in said
    assert "sender.failed" not in said
    assert not Attempt.objects.open().exists()


@pytest.mark.parametrize("many", [2_000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_thousands_of_recipients_get_their_mail_once_from_a_server_that_takes_a_hundred(
    senders: MakeSenders, server: SmtpServer, many: int
) -> None:
    server.limits.recipient_limit = 100
    everybody = [f"customer-{number}@example.com" for number in range(many)]
    mail = mailqueue.send(everybody, SHOP, subject="many", message="x")
    good = queue_mails(20)
    with senders().start() as sender:
        wait_until(is_over, seconds=180, what="everybody")
        assert sender.stop(signal.SIGTERM) == 0
    got = Counter(name for accepted in server.messages for name in accepted.recipients)

    assert mail is not None
    assert (State.SENT, 0) == (state_of(mail).state, Attempt.objects.filter(is_counted=True).count())
    assert {1} == {got[name] for name in everybody}
    assert many + len(good) == sum(got.values())


def _matches(pattern: str, reason: str) -> bool:
    return reason.startswith("It failed: ") and re.search(pattern, reason) is not None
