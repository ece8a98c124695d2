"""The admin and sensitive mail: nobody reads it, superusers included, and what was wiped can't be sent again."""

from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.models import MailOptions
from tests.support.mails import make_mail
from tests.support.secrets import SECRET, attach, keep_source, make_secret_mail, mark_wiped

pytestmark = pytest.mark.django_db

LIST = "admin:post_office_email_changelist"
PAGE = "admin:post_office_email_change"
IMAGE = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)


def text_of(client: Client, name: str, *args: object, **query: str) -> str:
    response = client.get(reverse(name, args=args), query)
    assert response.status_code == 200
    return response.content.decode()


def act(client: Client, *mails: Email) -> str:
    data = {"action": "requeue_selected", "index": "0", ACTION_CHECKBOX_NAME: [str(mail.pk) for mail in mails]}
    response = client.post(reverse(LIST), data, follow=True)
    return " ".join(str(message) for message in response.context["messages"])


@pytest.mark.parametrize("message", [None, SECRET.encode()])
def test_the_page_shows_nothing_of_what_it_says_and_tells_why(admin_client: Client, message: bytes | None) -> None:
    mail = make_secret_mail()
    keep_source(mail, message=message)
    attach(mail)
    page = text_of(admin_client, PAGE, mail.pk)

    assert (SECRET in page, "jane@example.com" in page) == (False, True)
    assert "This mail is sensitive: its subject, text, headers and attachments are shown to nobody." in page


def test_the_reason_why_it_can_not_be_built_is_not_shown_either(admin_client: Client) -> None:
    mail = make_secret_mail()
    Email.objects.filter(pk=mail.pk).update(context=None, headers={"X-Code": f"{SECRET}\n"})

    assert SECRET not in text_of(admin_client, PAGE, mail.pk)


def test_the_page_of_an_ordinary_mail_says_nothing_of_this(admin_client: Client) -> None:
    mail = make_mail(message="Thank you.")
    MailOptions.objects.create(email=mail, ref="order 5")
    page = text_of(admin_client, PAGE, mail.pk)

    assert ("Thank you." in page, "mail-hidden" in page) == (True, False)


def test_there_is_no_preview(admin_client: Client) -> None:
    mail = make_secret_mail()

    assert admin_client.get(reverse("admin:post_office_email_preview", args=[mail.pk])).status_code == 404


@pytest.mark.parametrize(("is_sensitive", "code"), [(False, 200), (True, 404)])
def test_there_are_no_images(admin_client: Client, is_sensitive: bool, code: int) -> None:
    mail = make_mail()
    MailOptions.objects.create(email=mail, is_sensitive=is_sensitive)
    keep_source(mail, message=message_with_image())
    address = reverse("admin:post_office_email_image", args=[mail.pk, IMAGE])

    assert code == admin_client.get(address).status_code


def message_with_image() -> bytes:
    message = EmailMessage()
    message.set_content(f'<img src="cid:{IMAGE}">', subtype="html")
    message.add_related(b"\x89PNG", "image", "png", cid=f"<{IMAGE}>")
    return message.as_bytes()


def test_the_list_shows_no_subject(admin_client: Client) -> None:
    make_secret_mail()
    make_mail(subject="Your order")
    page = text_of(admin_client, LIST)

    assert (SECRET in page, "(sensitive)" in page, "Your order" in page) == (False, True, True)


@pytest.mark.parametrize(("words", "is_found"), [(SECRET, False), ("jane@", True), ("jane@ code", False)])
def test_a_subject_that_nobody_may_read_can_not_be_found_out_by_searching(
    admin_client: Client, words: str, is_found: bool
) -> None:
    mail = make_secret_mail()
    response = admin_client.get(reverse(LIST), {"q": words})

    assert ([mail.pk] if is_found else []) == [found.pk for found in response.context["cl"].result_list]


@pytest.mark.parametrize(
    "lookup",
    [
        "subject__contains",
        "message__startswith",
        "html_message",
        "context__code",
        "headers__X-Code",
        "attachments__isnull",
        "mailqueue_source__isnull",
        "mailqueue_source__message__contains",
    ],
)
def test_what_nobody_may_read_can_not_be_found_out_by_an_address_that_filters(
    admin_client: Client, lookup: str
) -> None:
    make_secret_mail()

    assert 400 == admin_client.get(reverse(LIST), {lookup: SECRET}).status_code


@pytest.mark.parametrize(
    ("name", "lookup"),
    [
        ("admin:post_office_log_changelist", "email__subject__contains"),
        ("admin:post_office_attachment_changelist", "emails__message__contains"),
    ],
)
def test_it_can_not_be_found_out_through_other_lists_either(admin_client: Client, name: str, lookup: str) -> None:
    assert 400 == admin_client.get(reverse(name), {lookup: SECRET}).status_code


def test_the_list_can_be_narrowed_in_the_address_by_what_everybody_may_read(admin_client: Client) -> None:
    mail = make_secret_mail()
    make_mail(status=STATUS.sent)
    response = admin_client.get(reverse(LIST), {"status__exact": STATUS.queued})

    assert [mail.pk] == [found.pk for found in response.context["cl"].result_list]


def test_the_question_before_a_requeue_shows_no_subject(admin_client: Client) -> None:
    mail = make_secret_mail(status=STATUS.sent)
    page = text_of(admin_client, "admin:resend", mail.pk)

    assert (SECRET in page, "(sensitive)" in page) == (False, True)


def test_attachments_of_sensitive_mail_are_not_shown(admin_client: Client) -> None:
    ours, other = make_secret_mail(), make_mail()
    hidden, _ = attach(ours)
    shared, _ = attach(ours, name="shared.txt")
    other.attachments.add(shared)
    shown, _ = attach(other, name="bill.txt")
    page = text_of(admin_client, "admin:post_office_attachment_changelist")
    pages = {
        attachment.name: admin_client.get(reverse("admin:post_office_attachment_change", args=[attachment.pk]))
        for attachment in (hidden, shared, shown)
    }

    assert (SECRET in page, "shared.txt" in page, "bill.txt" in page) == (False, False, True)
    assert {hidden.name: 302, "shared.txt": 302, "bill.txt": 200} == {
        name: response.status_code for name, response in pages.items()
    }


def test_attachments_that_no_mail_has_are_not_shown_for_it_may_have_been_a_sensitive_one(admin_client: Client) -> None:
    mail = make_secret_mail()
    attachment, _ = attach(mail)
    mail.delete()
    page = admin_client.get(reverse("admin:post_office_attachment_change", args=[attachment.pk]))

    assert (SECRET in text_of(admin_client, "admin:post_office_attachment_changelist"), 302) == (
        False,
        page.status_code,
    )


def test_the_page_of_a_wiped_mail_says_so_and_offers_no_requeue(admin_client: Client) -> None:
    mail = make_secret_mail(status=STATUS.sent)
    mark_wiped(mail)
    page = text_of(admin_client, PAGE, mail.pk)

    assert "This mail was sensitive: its subject, text, headers and attachments were wiped at 20" in page
    assert reverse("admin:resend", args=[mail.pk]) not in page


def test_the_page_of_a_mail_whose_time_is_over_offers_no_requeue(admin_client: Client) -> None:
    over = make_mail(status=STATUS.failed, expires_at=timezone.now() - timedelta(seconds=1))
    other = make_mail(status=STATUS.failed, expires_at=timezone.now() + timedelta(hours=1))

    assert [False, True] == [
        reverse("admin:resend", args=[mail.pk]) in text_of(admin_client, PAGE, mail.pk) for mail in (over, other)
    ]


def test_requeue_leaves_out_what_can_not_be_sent_and_says_why(admin_client: Client) -> None:
    wiped, failed = make_secret_mail(status=STATUS.sent), make_mail(status=STATUS.failed)
    mark_wiped(wiped)
    over = make_mail(status=STATUS.failed, expires_at=timezone.now() - timedelta(hours=1))
    interrupted = make_mail(status=None)
    said = act(admin_client, wiped, failed, over, interrupted)

    assert "1 mail was queued again." in said
    assert "1 mail is left as it is: what it said is no longer kept." in said
    assert "1 mail is left as it is: the time in which it may be sent is over." in said
    assert "1 mail is left as it is, for its state does not allow it: interrupted." in said
    assert [0, 2, 1, None] == [Email.objects.get(pk=mail.pk).status for mail in (wiped, failed, over, interrupted)]


def test_the_question_before_a_requeue_counts_what_can_be_sent_and_says_what_can_not(admin_client: Client) -> None:
    wiped, sent = make_secret_mail(status=STATUS.sent), make_mail(status=STATUS.sent)
    mark_wiped(wiped)
    data = {"action": "requeue_selected", "index": "0", ACTION_CHECKBOX_NAME: [str(wiped.pk), str(sent.pk)]}
    page = admin_client.post(reverse(LIST), data).content.decode()

    assert "1 mail will be queued again" in page
    assert 1 == page.count("It will be left as it is: what it said is no longer kept.")
    assert 1 == page.count("These have it already and will get it again:")


def test_there_is_nothing_to_confirm_where_nothing_can_be_sent(admin_client: Client) -> None:
    mail = make_secret_mail(status=STATUS.sent)
    mark_wiped(mail)
    page = text_of(admin_client, "admin:resend", mail.pk)

    assert ("It will be left as it is" in page, "Yes, send again" in page) == (True, False)
