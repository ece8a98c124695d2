"""`mailqueue.send` with a real sender: what was asked for arrives at the server, complete."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from post_office.models import STATUS, Email, EmailTemplate
from pytest_django import Settings

import mailqueue
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.senders import Senders, statuses

pytestmark = pytest.mark.django_db(transaction=True)

PDF = b"%PDF-1.7\r\n\x00\xff" * 100


@pytest.fixture
def drain(senders: Callable[..., Senders], settings: Settings, tmp_path: Path) -> Callable[[], None]:
    """Send all mail that is due, by a sender that finds the attachments where this process puts them."""
    settings.MEDIA_ROOT = str(tmp_path / "media")
    settings.POST_OFFICE_CACHE = False

    def run() -> None:
        changed = {"SETTINGS_JSON": json.dumps({"MEDIA_ROOT": settings.MEDIA_ROOT})}
        with senders().start("--until-empty", env=changed) as sender:
            assert sender.wait(seconds=60) == 0

    return run


@pytest.fixture
def bill() -> EmailTemplate:
    made = EmailTemplate.objects.create(name="bill", subject="Bill for {{ name }}", content="Hello {{ name }}")
    made.translated_templates.create(
        language="de",
        subject="Rechnung für {{ name }}",
        content="Guten Tag {{ name }}",
        html_content="<p>Guten Tag {{ name }}</p>",
    )
    return made


@pytest.mark.parametrize("render_on_delivery", [False, True])
def test_a_template_in_a_language_arrives_with_its_attachment(
    drain: Callable[[], None], server: SmtpServer, bill: EmailTemplate, render_on_delivery: bool
) -> None:
    mail = mailqueue.send(
        ['"Müller, Änne" <aenne@example.com>'],
        "Shop <shop@example.com>",
        template="bill",
        language="de",
        context={"name": "Änne"},
        attachments={"Rechnung.pdf": PDF},
        headers={"X-Order": "5"},
        bcc="archive@example.com",
        priority="now",
        ref="order:5",
        key="bill-5",
        render_on_delivery=render_on_delivery,
    )
    drain()
    (accepted,) = server.messages
    found = accepted.message

    assert mail is not None
    assert {STATUS.sent: 1} == statuses()
    assert ("shop@example.com", {"aenne@example.com", "archive@example.com"}) == (
        accepted.envelope_from,
        set(accepted.recipients),
    )
    assert ("Rechnung für Änne", mail.message_id, mail.headers["Date"], "5", None) == (
        found["Subject"],
        found["Message-ID"],
        found["Date"],
        found["X-Order"],
        found["Bcc"],
    )
    bodies: list[Any] = [found.get_body((kind,)) for kind in ("plain", "html")]
    assert ["Guten Tag Änne", "<p>Guten Tag Änne</p>"] == [body.get_content().strip() for body in bodies]
    assert [("Rechnung.pdf", "application/pdf", PDF)] == [
        (part.get_filename(), part.get_content_type(), part.get_content()) for part in found.iter_attachments()
    ]


def test_mail_written_in_bulk_arrives_each_with_its_own_text(drain: Callable[[], None], server: SmtpServer) -> None:
    mailqueue.send_many(
        [
            {
                "recipients": f"jane{number}@example.com",
                "sender": "shop@example.com",
                "subject": f"mail {number}",
                "message": f"for jane{number}",
                "attachments": {"terms.pdf": PDF},
            }
            for number in range(50)
        ]
    )
    drain()

    assert {(f"jane{number}@example.com",): f"mail {number}" for number in range(50)} == {
        accepted.recipients: accepted.message["Subject"] for accepted in server.messages
    }
    assert {PDF} == {
        part.get_content() for accepted in server.messages for part in accepted.message.iter_attachments()
    }
    assert 50 == Email.objects.filter(status=STATUS.sent).count()
