"""post_office's own API with our sender: what it queues arrives as post_office would have sent it."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone
from post_office import mail
from post_office.models import STATUS, Email, EmailTemplate
from pytest_django import Settings

from mailqueue.models import Attempt
from mailqueue.ops.states import State, state_of
from mailqueue.testing.smtp_server import Accepted, SmtpServer
from tests import settings as given
from tests.support.senders import Senders

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
Deliver = Callable[[], None]
JANE = "jane@example.com"
PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")
ENGINES = [
    *given.TEMPLATES,
    {"BACKEND": "post_office.template.backends.post_office.PostOfficeTemplates", "APP_DIRS": True, "OPTIONS": {}},
]


@pytest.fixture
def changed(settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """Settings of this process and of the senders that it starts."""
    changes: dict[str, Any] = {
        "TEMPLATES": ENGINES,
        "MEDIA_ROOT": str(tmp_path / "media"),
        "POST_OFFICE": {**settings.POST_OFFICE, "TEMPLATE_ENGINE": "post_office"},
    }
    for name, value in changes.items():
        setattr(settings, name, value)
    return changes


@pytest.fixture
def deliver(senders: MakeSenders, changed: dict[str, Any]) -> Deliver:
    """Drain the queue with a real sender, under the settings as they are then."""

    def run() -> None:
        with senders().start("--until-empty", env={"SETTINGS_JSON": json.dumps(changed)}) as sender:
            assert sender.wait(seconds=60) == 0

    return run


def only(server: SmtpServer) -> Accepted:
    (accepted,) = server.messages
    return accepted


def text_of(accepted: Accepted, kind: str = "plain") -> str:
    part: Any = accepted.message.get_body((kind,))
    return str(part.get_content()).strip()


def make_template(**fields: Any) -> EmailTemplate:
    texts = {"subject": "Order {{ number }}", "content": "Dear {{ name }}", "html_content": "<p>Dear {{ name }}</p>"}
    return EmailTemplate.objects.create(**{"name": "order", **texts, **fields})


def test_a_template_in_the_readers_language_with_copies_and_headers(server: SmtpServer, deliver: Deliver) -> None:
    default = make_template()
    texts = {
        "subject": "Bestellung {{ number }}",
        "content": "Hallo {{ name }}",
        "html_content": "<p>Hallo {{ name }}</p>",
    }
    default.translated_templates.create(language="de", **texts)
    mail.send(
        JANE,
        "Shop <shop@example.com>",
        template=default,
        language="de",
        context={"number": 7, "name": "Jürgen"},
        cc=["cc@example.com"],
        bcc=["bcc@example.com"],
        headers={"Reply-To": "help@example.com", "X-Shop": "7"},
        priority="high",
    )
    deliver()
    accepted = only(server)

    assert {JANE, "cc@example.com", "bcc@example.com"} == set(accepted.recipients)
    assert ("Bestellung 7", "Hallo Jürgen", "<p>Hallo Jürgen</p>") == (
        accepted.message["Subject"],
        text_of(accepted),
        text_of(accepted, "html"),
    )
    assert ("help@example.com", "7", "Shop <shop@example.com>") == (
        accepted.message["Reply-To"],
        accepted.message["X-Shop"],
        accepted.message["From"],
    )
    assert accepted.message["Bcc"] is None


def test_a_template_rendered_on_delivery_brings_its_inline_images(
    server: SmtpServer, deliver: Deliver, tmp_path: Path
) -> None:
    logo = tmp_path / "logo.gif"
    logo.write_bytes(PIXEL)
    html = "{% load post_office %}" + f"<p>{{{{ name }}}}</p><img src=\"{{% inline_image '{logo}' %}}\">"
    template = make_template(html_content=html)
    mail.send(
        JANE, "shop@example.com", template=template, context={"number": 7, "name": "Ann"}, render_on_delivery=True
    )
    deliver()
    accepted = only(server)
    (image,) = [part for part in accepted.message.walk() if part.get_content_type() == "image/gif"]

    assert ("Order 7", "Dear Ann", PIXEL) == (accepted.message["Subject"], text_of(accepted), image.get_content())
    assert f"cid:{str(image['Content-ID']).strip('<>')}" in text_of(accepted, "html")


def test_attachments_of_every_spelling(server: SmtpServer, deliver: Deliver, tmp_path: Path) -> None:
    on_disk = tmp_path / "terms.txt"
    on_disk.write_text("Terms\n")
    attachments = {
        "bill.pdf": ContentFile(b"%PDF-1.7 \x00\xff"),
        "terms.txt": str(on_disk),
        "data.bin": {"file": ContentFile(b"\x01\x02"), "mimetype": "application/x-data"},
        "logo.gif": {
            "file": ContentFile(b"R0lGODlhAQ=="),
            "mimetype": "image/gif",
            "headers": {"Content-Transfer-Encoding": "base64", "Content-ID": "<logo>"},
        },
    }
    mail.send(JANE, "shop@example.com", subject="Bill", message="See there.", attachments=attachments)
    deliver()
    parts = {part.get_filename() or part["Content-ID"]: part for part in only(server).message.iter_attachments()}
    contents = {name: part.get_payload(decode=True) for name, part in parts.items()}

    assert {
        "bill.pdf": b"%PDF-1.7 \x00\xff",
        "terms.txt": b"Terms\n",
        "data.bin": b"\x01\x02",
        "<logo>": b"GIF89a\x01",
    } == {name: content.replace(b"\r\n", b"\n") for name, content in contents.items()}
    assert "application/x-data" == parts["data.bin"].get_content_type()


def test_scheduled_mail_waits_and_expired_mail_never_goes(server: SmtpServer, deliver: Deliver) -> None:
    now = timezone.now()
    later = mail.send(JANE, "shop@example.com", subject="later", scheduled_time=now + timedelta(hours=1))
    mail.send(JANE, "shop@example.com", subject="due", scheduled_time=now - timedelta(seconds=1))
    late = mail.send(JANE, "shop@example.com", subject="late", expires_at=now - timedelta(seconds=1))
    deliver()

    assert ["due"] == [accepted.message["Subject"] for accepted in server.messages]
    assert (State.SCHEDULED, State.EXPIRED) == (state_of(later).state, state_of(late).state)


def test_send_many_arrives_whole(server: SmtpServer, deliver: Deliver) -> None:
    mail.send_many(
        [
            {"sender": "shop@example.com", "recipients": [JANE], "subject": f"mail {n}", "message": "Hi"}
            for n in range(30)
        ]
    )
    deliver()

    assert {f"mail {n}" for n in range(30)} == {accepted.message["Subject"] for accepted in server.messages}
    assert {STATUS.sent} == set(Email.objects.values_list("status", flat=True))


def test_a_backend_alias_is_a_lane_of_its_own(
    server: SmtpServer, deliver: Deliver, changed: dict[str, Any], settings: Settings
) -> None:
    if hasattr(given, "MAILERS"):
        smtp = {**given.MAILERS["smtp"], "OPTIONS": {"host": server.host, "port": server.port}}
        changed["MAILERS"] = settings.MAILERS = {**given.MAILERS, "smtp": smtp, "bulk": smtp}
    else:
        backends = given.POST_OFFICE["BACKENDS"]
        changed["POST_OFFICE"]["BACKENDS"] = {**backends, "bulk": backends["default"]}
        settings.POST_OFFICE = changed["POST_OFFICE"]
    mail.send(JANE, "shop@example.com", subject="news", backend="bulk")
    deliver()

    assert ("news", "bulk") == (only(server).message["Subject"], Attempt.objects.get().backend)


def test_the_override_of_recipients_is_followed(server: SmtpServer, deliver: Deliver, changed: dict[str, Any]) -> None:
    changed["POST_OFFICE"] = {**changed["POST_OFFICE"], "OVERRIDE_RECIPIENTS": ["test@example.com"]}
    mail.send(JANE, "shop@example.com", subject="news")
    deliver()

    assert ("test@example.com",) == only(server).recipients
