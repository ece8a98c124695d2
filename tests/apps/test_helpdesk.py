"""django-helpdesk: tickets from the public form and by mail, follow-ups, merging."""

from collections.abc import Callable, Iterable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from helpdesk.models import FollowUp, Ticket
from post_office.models import Attachment, Email

from mailqueue.testing.smtp_server import Accepted, SmtpServer
from tests.apps.desk import BOSS, DESK, VISITOR, WATCHER, Desk, make_desk

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

Deliver = Callable[[], None]
PDF = b"%PDF-1.7\r\n\x00\xff\xfe\n.\r\n..\n"


@pytest.fixture
def desk(queueing: None, changed: dict[str, Any], tmp_path: Path) -> Desk:
    return make_desk(tmp_path / "mailbox")


def pdf(name: str = "Rechnung Nr. 7, März.pdf") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, PDF, "application/pdf")


def by_recipient(accepted: Iterable[Accepted]) -> dict[str, EmailMessage]:
    """The mails by their recipient; each has one, and no recipient has two."""
    mails = [(mail.recipients, mail.message) for mail in accepted]
    assert len(mails) == len({recipients for recipients, _ in mails})
    return {recipient: message for (recipient,), message in mails}


def text_of(message: Any, kind: str = "plain") -> str:
    return str(message.get_body((kind,)).get_content())


def attachments_of(message: Any) -> list[tuple[str, str, bytes]]:
    return [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in message.iter_attachments()
    ]


def mail_of_visitor(subject: str, text: str, **headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = VISITOR, DESK, subject
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


def test_a_ticket_from_the_public_form_reaches_visitor_and_boss_with_its_attachment(
    desk: Desk, server: SmtpServer, deliver: Deliver
) -> None:
    ticket = desk.submit(title="Größe falsch", body="Zu groß.", attachment=pdf())
    deliver()
    mails = by_recipient(server.messages)
    message = mails[VISITOR]

    assert {VISITOR, BOSS} == set(mails)
    assert (f"Support <{DESK}>", VISITOR) == (message["From"], message["To"])
    assert f"[support-{ticket.pk}] Größe falsch (Opened)" == message["Subject"]
    assert 'a subject of "Größe falsch"' in text_of(message)
    assert "Größe falsch" in text_of(message, "html")
    assert [[("Rechnung Nr. 7, März.pdf", "application/pdf", PDF)]] * 2 == [attachments_of(m) for m in mails.values()]
    assert 1 == Attachment.objects.count()


def test_helpdesk_records_whom_it_has_mailed(desk: Desk) -> None:
    ticket = desk.submit(title="Too big", body="It is.")

    assert [[BOSS, VISITOR]] == [followup.email_recipients for followup in FollowUp.objects.filter(ticket=ticket)]


def test_a_follow_up_reaches_the_visitor_and_the_watchers_with_its_attachment(
    desk: Desk, server: SmtpServer, deliver: Deliver
) -> None:
    ticket = Ticket.objects.create(queue=desk.queue, title="Too big", submitter_email=VISITOR)
    ticket.ticketcc_set.create(email=WATCHER)
    desk.follow_up(ticket, comment="Here is\r\nthe bill.", attachment=pdf("bill.pdf"))
    deliver()
    mails = by_recipient(server.messages)

    assert {VISITOR, WATCHER} == set(mails)
    assert "Here is" in text_of(mails[VISITOR])
    assert [[("bill.pdf", "application/pdf", PDF)]] * 2 == [attachments_of(message) for message in mails.values()]
    assert [[VISITOR, WATCHER]] == [followup.email_recipients for followup in FollowUp.objects.filter(ticket=ticket)]


def test_merging_tells_the_submitter_and_in_secret_the_watchers(
    desk: Desk, server: SmtpServer, deliver: Deliver
) -> None:
    kept = Ticket.objects.create(queue=desk.queue, title="Too big", submitter_email="other@example.com")
    ticket = Ticket.objects.create(queue=desk.queue, title="Much too big", submitter_email=VISITOR)
    for address in (WATCHER, BOSS):
        ticket.ticketcc_set.create(email=address)
    desk.merge(ticket, into=kept)
    deliver()
    (accepted,) = server.messages

    assert [VISITOR, WATCHER, BOSS] == list(accepted.recipients)
    assert (VISITOR, None, None) == tuple(accepted.message[name] for name in ("To", "Cc", "Bcc"))
    assert WATCHER.encode() not in accepted.content
    assert f"merged to ticket [support-{kept.pk}]" in text_of(accepted.message)


def test_a_visitors_template_tags_are_text(desk: Desk, server: SmtpServer, deliver: Deliver) -> None:
    tags = "{% load nothing %} {{ settings.SECRET_KEY }} {% endif %} {{ 7|nothing }} {# no #} {%"
    ticket = desk.submit(title=tags, body=tags, attachment=SimpleUploadedFile("tags.asc", tags.encode(), "text/plain"))
    deliver()
    message = by_recipient(server.messages)[VISITOR]

    assert f"[support-{ticket.pk}] {tags} (Opened)" == message["Subject"]
    assert tags in text_of(message)
    assert tags in text_of(message, "html")
    assert [tags.encode()] == [data for _, _, data in attachments_of(message)]


def test_a_mail_that_comes_in_is_answered_in_its_thread(desk: Desk, server: SmtpServer, deliver: Deliver) -> None:
    desk.receive(mail_of_visitor("Too big", "It is.", Message_ID="<first@visitor.example>"))
    deliver()
    answer = by_recipient(server.messages)[VISITOR]

    assert ("<first@visitor.example>", "auto-replied") == (answer["In-Reply-To"], answer["Auto-Submitted"])
    assert ("All", "auto_reply") == (answer["X-Auto-Response-Suppress"], answer["Precedence"])
    assert ["<first@visitor.example>"] == list(FollowUp.objects.values_list("message_id", flat=True))


def test_a_mail_without_a_message_id_is_answered_too(desk: Desk, server: SmtpServer, deliver: Deliver) -> None:
    desk.receive(mail_of_visitor("Too big", "It is."))
    deliver()

    assert {VISITOR, BOSS} == set(by_recipient(server.messages))


def test_a_reply_to_our_mail_is_put_to_its_ticket(desk: Desk, server: SmtpServer, deliver: Deliver) -> None:
    ticket = desk.submit(title="Größe falsch, und zwar überall auf der ganzen Seite", body="Zu groß.")
    deliver()
    ours = by_recipient(server.messages)[VISITOR]
    message_id = str(ours["Message-ID"])
    reply = mail_of_visitor(f"Re: {ours['Subject']}", "Still.", In_Reply_To=message_id, References=message_id)
    desk.receive(reply)

    assert Email.objects.filter(to=VISITOR).earliest("pk").message_id == message_id
    assert ["Zu groß.", "Still.\n"] == list(ticket.followup_set.order_by("pk").values_list("comment", flat=True))


def test_a_reply_in_a_thread_that_began_by_mail_finds_its_ticket_by_the_message_id_alone(
    desk: Desk, server: SmtpServer, deliver: Deliver
) -> None:
    desk.receive(mail_of_visitor("Too big", "It is.", Message_ID="<first@visitor.example>"))
    deliver()
    thread = str(by_recipient(server.messages)[VISITOR]["In-Reply-To"])
    desk.receive(mail_of_visitor("Something else", "Still.", In_Reply_To=thread))

    assert [2] == [ticket.followup_set.count() for ticket in Ticket.objects.all()]
