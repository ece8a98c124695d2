"""The page of a mail in the admin: whatever the mail is, there is a page, and it changes nothing."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.mail import EmailMultiAlternatives
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from post_office.models import STATUS, Attachment, Email, EmailTemplate, Log
from pytest_django import Settings

import mailqueue
from mailqueue.models import AttemptOutcome
from tests.support.outbox import queueing  # noqa: F401  (a fixture)
from tests.support.situations import SITUATIONS, make_attempt, make_mail

pytestmark = pytest.mark.django_db

HOSTILE = '<h1 style="position:fixed">Hi</h1><script>alert(1)</script><img src="https://tracker.example/x.png">'


def page_of(client: Client, mail: Email) -> str:
    response = client.get(reverse("admin:post_office_email_change", args=[mail.pk]))
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_has_a_page_with_its_state(admin_client: Client, situation: str) -> None:
    make, state = SITUATIONS[situation]

    assert f"mail-state-{state}" in page_of(admin_client, make())


def test_the_page_shows_text_addresses_and_headers(admin_client: Client) -> None:
    mail = make_mail(message="Dear <Ann>", bcc=["carl@example.com"], headers={"X-Order": "17"})
    page = page_of(admin_client, mail)

    assert ("Dear &lt;Ann&gt;" in page, "carl@example.com" in page, "X-Order" in page) == (True, True, True)


def test_the_html_of_a_mail_is_not_in_the_page(admin_client: Client) -> None:
    page = page_of(admin_client, make_mail(html_message=HOSTILE))

    assert ("alert(1)" in page, "tracker.example" in page) == (False, False)


def test_the_page_leads_to_the_preview(admin_client: Client) -> None:
    mail = make_mail(html_message=HOSTILE)

    assert reverse("admin:post_office_email_preview", args=[mail.pk]) in page_of(admin_client, mail)


def test_the_preview_is_a_sandboxed_document(admin_client: Client) -> None:
    mail = make_mail(html_message=HOSTILE)
    response = admin_client.get(reverse("admin:post_office_email_preview", args=[mail.pk]))

    assert '<h1 style="position:fixed">Hi</h1><img>' in response.content.decode()
    assert response["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_there_is_no_preview_of_a_mail_without_html(admin_client: Client) -> None:
    response = admin_client.get(reverse("admin:post_office_email_preview", args=[make_mail().pk]))

    assert response.status_code == 404


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("{% nonsense %}", {}),
        ("{{ name|unknown_filter }}", {}),
        ("{% include 'missing.html' %}", {}),
        ("fine", {"headers": {"X-Bad": "a\nb"}}),
    ],
)
def test_a_mail_that_can_not_be_built_has_a_page_with_the_reason(
    admin_client: Client, source: str, fields: dict[str, object]
) -> None:
    template = EmailTemplate.objects.create(name="t", subject="Hello", content=source, html_content=source)
    mail = make_mail(template=template, context={"name": "Ann"}, **fields)

    assert "This mail can't be built:" in page_of(admin_client, mail)


def test_a_mail_whose_attachment_is_gone_has_a_page_with_the_reason(
    admin_client: Client, settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    mail = make_mail()
    attachment = Attachment(name="invoice.pdf", mimetype="application/pdf")
    attachment.file.save("invoice.pdf", ContentFile(b"%PDF"), save=True)
    mail.attachments.add(attachment)
    attachment.file.storage.delete(attachment.file.name)
    page = page_of(admin_client, mail)

    assert ("FileNotFoundError" in page, "invoice.pdf" in page) == (True, True)


def test_the_preview_of_a_mail_that_can_not_be_built_says_why(admin_client: Client) -> None:
    mail = make_mail(html_message="<p>Hi</p>", headers={"X-Bad": "a\nb"})
    response = admin_client.get(reverse("admin:post_office_email_preview", args=[mail.pk]))

    assert (response.status_code, response.content.startswith(b"This mail can't be built:")) == (422, True)


def test_a_mail_is_not_changed_by_a_post_to_its_page(admin_client: Client) -> None:
    mail = make_mail(subject="Before")
    response = admin_client.post(
        reverse("admin:post_office_email_change", args=[mail.pk]), {"subject": "After", "status": "2"}
    )
    mail.refresh_from_db()

    assert (response.status_code, mail.subject) == (403, "Before")


def test_the_timeline_has_the_newest_attempt_last(admin_client: Client) -> None:
    mail = make_mail()
    make_attempt(mail, AttemptOutcome.RETRY, stage="rcpt", reply_code=451, enhanced_code="4.7.1", reply="greylisted")
    make_attempt(mail, AttemptOutcome.FAILED, stage="data", reply_code=554, reply="spam", recipients=None)
    page = page_of(admin_client, mail)

    assert page.index("451 4.7.1 greylisted") < page.index("554 spam")


@pytest.mark.parametrize("is_counted", [True, False])
def test_the_timeline_says_of_an_attempt_that_it_counts_where_it_does(admin_client: Client, is_counted: bool) -> None:
    mail = make_mail()
    make_attempt(mail, AttemptOutcome.RETRY, is_counted=is_counted)
    page = page_of(admin_client, mail)

    assert (is_counted, False) == ("<dt>counts against the retries</dt><dd>yes</dd>" in page, "costs" in page)


def test_the_timeline_tells_recipients_apart(admin_client: Client) -> None:
    make, _ = SITUATIONS["partly sent"]
    page = page_of(admin_client, make())

    assert "<strong>bob@example.com</strong>: failed" in page
    assert "550 5.1.1 no such user" in page


@pytest.mark.parametrize(
    ("situation", "words"),
    [("claimed, not started", "claimed, not started"), ("being sent", "being sent"), ("sent", "2.0 s")],
)
def test_the_timeline_tells_how_far_an_attempt_is(admin_client: Client, situation: str, words: str) -> None:
    make, _ = SITUATIONS[situation]
    page = page_of(admin_client, make())

    assert words in page[page.index("mail-timeline") :]


def test_the_log_of_post_office_is_on_the_page(admin_client: Client) -> None:
    mail = make_mail()
    Log.objects.create(email=mail, status=1, exception_type="SMTPDataError", message="554 spam")

    assert "SMTPDataError" in page_of(admin_client, mail)


@pytest.mark.usefixtures("queueing")
def test_a_message_that_post_office_can_not_hold_is_shown_as_it_will_be_sent(admin_client: Client) -> None:
    message = EmailMultiAlternatives("Invitation", "Come!", "a@example.com", ["ann@example.com"])
    message.attach_alternative("<p>Come soon</p>", "text/html")
    message.attach_alternative("BEGIN:VCALENDAR", "text/calendar")
    with mailqueue.collect() as mails:
        message.send()
    preview = admin_client.get(reverse("admin:post_office_email_preview", args=[mails[0].pk])).content.decode()

    assert "Come!" in page_of(admin_client, mails[0])
    assert "<p>Come soon</p>" in preview


@pytest.mark.usefixtures("queueing")
def test_a_comma_within_a_name_does_not_make_two_recipients(admin_client: Client) -> None:
    message = EmailMultiAlternatives("Hello", "Hello", "a@example.com", ['"Doe, Jane" <jane@example.com>'])
    with mailqueue.collect() as mails:
        message.send()

    assert "&quot;Doe, Jane&quot; &lt;jane@example.com&gt;" in page_of(admin_client, mails[0])


def test_who_may_not_see_mail_sees_none(client: Client, django_user_model: type) -> None:
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))  # type: ignore[attr-defined]
    mail = make_mail(html_message="<p>Hi</p>")
    addresses = ["admin:post_office_email_change", "admin:post_office_email_preview"]
    codes = [client.get(reverse(name, args=[mail.pk])).status_code for name in addresses]

    assert codes == [403, 403]


def test_a_mail_that_does_not_exist_has_no_preview(admin_client: Client) -> None:
    response = admin_client.get(reverse("admin:post_office_email_preview", args=[1]))

    assert response.status_code == 404


def test_a_deleted_mail_takes_its_attempts_along(admin_client: Client) -> None:
    make, _ = SITUATIONS["to be retried"]
    mail = make()
    admin_client.post(reverse("admin:post_office_email_delete", args=[mail.pk]), {"post": "yes"})

    assert (Email.objects.count(), mail.attempts.model.objects.count()) == (0, 0)


def test_recipients_that_post_office_overrides_are_shown_as_they_were_given_and_in_the_header_as_they_are_sent(
    admin_client: Client, settings: Settings
) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "OVERRIDE_RECIPIENTS": ["staging@example.com"]}

    page = page_of(admin_client, make_mail())

    assert '<div class="readonly">ann@example.com</div>' in page
    assert '<th scope="row">To</th><td>staging@example.com</td>' in page


def test_the_timeline_gives_a_short_duration_in_milliseconds(admin_client: Client) -> None:
    mail = make_mail()
    now = timezone.now()
    make_attempt(mail, AttemptOutcome.SENT, started_at=now, finished_at=now + timedelta(milliseconds=42))

    assert "42 ms" in page_of(admin_client, mail)


def test_an_attachment_is_named_with_its_type(admin_client: Client, settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    mail = make_mail()
    attachment = Attachment(name="invoice.pdf", mimetype="application/pdf")
    attachment.file.save("invoice.pdf", ContentFile(b"%PDF"), save=True)
    mail.attachments.add(attachment)

    assert 'invoice.pdf</a> <span class="mail-quiet">application/pdf, 4\xa0bytes</span>' in page_of(admin_client, mail)


def test_the_preview_of_a_mail_with_an_attachment_shows_its_html(
    admin_client: Client, settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    mail = make_mail(html_message="<p>Here it is</p>")
    attachment = Attachment(name="invoice.pdf", mimetype="application/pdf")
    attachment.file.save("invoice.pdf", ContentFile(b"%PDF"), save=True)
    mail.attachments.add(attachment)
    response = admin_client.get(reverse("admin:post_office_email_preview", args=[mail.pk]))

    assert (response.status_code, "Here it is" in response.text) == (200, True)


def test_the_timeline_tells_the_queue_id_and_who_was_held(admin_client: Client) -> None:
    mail = make_mail(status=STATUS.sent)
    results = {"ann@example.com": {"verdict": "hold", "code": 553, "enhanced": "5.7.1", "reply": "not verified"}}
    make_attempt(mail, AttemptOutcome.SENT, queue_id="4ZbQ1x", recipients=results)
    page = admin_client.get(reverse("admin:post_office_email_change", args=[mail.pk])).content.decode()

    assert "<dd>4ZbQ1x</dd>" in page
    assert "<strong>ann@example.com</strong>: held" in page
