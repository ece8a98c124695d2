"""Who may read what a mail says in the admin, and at which addresses; what these answers let a browser do."""

import re
from email import message_from_bytes
from email.message import EmailMessage as Message
from email.mime.text import MIMEText
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.core.mail import EmailMessage
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import AsyncRequestFactory, Client
from django.test.html import parse_html
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from post_office.models import STATUS, Attachment, Email, EmailTemplate, Log
from pytest_django import Settings

import mailqueue
from mailqueue.admin.reading import SOURCE_BYTES
from mailqueue.admin.streams import in_turn
from mailqueue.models import AttemptOutcome, MailOptions, MessageSource, StopReason
from mailqueue.ops.attached import CHUNK_BYTES, Chunks, read_file
from mailqueue.ops.contents import contents_of, raw_message
from tests.support.outbox import queueing  # noqa: F401  (a fixture)
from tests.support.situations import make_attempt, make_mail, stop_mail

pytestmark = pytest.mark.django_db

SECRET = "rosebud4711"
IMAGE = "0123456789abcdef" * 2
PIXEL = b"GIF89a, more or less"
PAGE = "admin:post_office_email_change"
PREVIEW = "admin:post_office_email_preview"
SOURCE = "admin:mailqueue_email_source"
DOWNLOAD = "admin:mailqueue_email_download"
ATTACHMENT = "admin:mailqueue_email_attachment"
READ = [PREVIEW, "admin:post_office_email_image", SOURCE, DOWNLOAD, ATTACHMENT]


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)


@pytest.fixture
def clerk(client: Client) -> Client:
    """Somebody who sees mail, attachments, logs and templates, may delete mail, and may not read what mail says."""
    return logged_in(
        client,
        "view_email",
        "delete_email",
        "view_attachment",
        "change_attachment",
        "add_attachment",
        "delete_attachment",
        "view_log",
        "change_log",
        "delete_log",
        "view_emailtemplate",
    )


def logged_in(client: Client, *permissions: str) -> Client:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def attach(mail: Email, *, name: str = "invoice.pdf", content: bytes = b"%PDF") -> Attachment:
    attachment = Attachment(name=name, mimetype="text/html")
    attachment.file.save("stored.bin", ContentFile(content), save=True)
    mail.attachments.add(attachment)
    return attachment


def make_full_mail(**fields: Any) -> tuple[Email, Attachment]:
    """Write a mail that says the secret wherever it says anything, with an image and an attachment."""
    template = EmailTemplate.objects.create(name="code", subject="Your code", content="{{ code }}")
    mail = make_mail(
        subject="Your code",
        message=SECRET,
        html_message=f'<p>{SECRET}</p><img src="cid:{IMAGE}">',
        headers={"X-Code": SECRET},
        context={"code": SECRET},
        **fields,
    )
    Email.objects.filter(pk=mail.pk).update(template=template, context=None)
    keep_image(mail)
    return mail, attach(mail, name=f"{SECRET}.pdf", content=SECRET.encode())


def keep_image(mail: Email, *, subtype: str = "gif") -> None:
    message = Message()
    message["Subject"] = "Your code"
    message.set_content(SECRET)
    message.add_alternative(f'<p>{SECRET}</p><img src="cid:{IMAGE}">', subtype="html")
    message.add_attachment(PIXEL, "image", subtype, cid=f"<{IMAGE}>")
    keep_message(mail, message.as_bytes())


def keep_message(mail: Email, message: bytes) -> None:
    """Keep a mail as the bytes that its caller built."""
    recipients = ["ann@example.com"]
    MessageSource.objects.create(email=mail, envelope_from="shop@example.com", recipients=recipients, message=message)


def address(name: str, mail: Email, attachment: Attachment) -> str:
    arguments = {"admin:post_office_email_image": [IMAGE], ATTACHMENT: [attachment.pk]}
    return reverse(name, args=[mail.pk, *arguments.get(name, [])])


def get(client: Client, name: str, *args: object, **query: str) -> Any:
    return client.get(reverse(name, args=args), query)


def body_of(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize(
    ("permissions", "code"),
    [((), 403), (("view_body",), 403), (("view_email",), 403), (("view_email", "view_body"), 200)],
)
def test_what_a_mail_says_takes_the_permission_to_read_it(
    client: Client, name: str, permissions: tuple[str, ...], code: int
) -> None:
    mail, attachment = make_full_mail()
    response = logged_in(client, *permissions).get(address(name, mail, attachment))

    assert (code, code == 200) == (
        response.status_code,
        SECRET.encode() in body_of(response) or b"GIF" in body_of(response),
    )


@pytest.mark.parametrize("name", READ)
def test_who_is_not_logged_in_is_sent_to_the_login(client: Client, name: str) -> None:
    mail, attachment = make_full_mail()
    response = client.get(address(name, mail, attachment))

    assert (302, True) == (response.status_code, response["Location"].startswith(reverse("admin:login")))


@pytest.mark.parametrize("name", READ)
def test_sensitive_mail_is_read_by_nobody(admin_client: Client, name: str) -> None:
    mail, attachment = make_full_mail()
    MailOptions.objects.create(email=mail, is_sensitive=True)

    assert 404 == admin_client.get(address(name, mail, attachment)).status_code


@pytest.mark.parametrize("name", READ)
def test_a_mail_that_is_not_there_is_not_found(admin_client: Client, name: str) -> None:
    mail, attachment = make_full_mail()
    there = address(name, mail, attachment)
    mail.delete()

    assert 404 == admin_client.get(there).status_code


@pytest.mark.parametrize("name", [*READ, PAGE])
def test_reading_changes_nothing(admin_client: Client, name: str) -> None:
    mail, attachment = make_full_mail()
    with CaptureQueriesContext(connection) as queries:
        body_of(admin_client.get(address(name, mail, attachment)))

    assert [] == [query["sql"] for query in queries if not re.match(r"\s*(SELECT|SAVEPOINT|RELEASE)", query["sql"])]


@pytest.mark.parametrize("name", READ)
def test_what_is_read_is_not_posted_to(admin_client: Client, name: str) -> None:
    mail, attachment = make_full_mail()

    assert 405 == admin_client.post(address(name, mail, attachment)).status_code


@pytest.mark.parametrize("name", READ)
def test_what_is_read_can_do_nothing_in_a_browser(admin_client: Client, name: str) -> None:
    mail, attachment = make_full_mail()
    response = admin_client.get(address(name, mail, attachment))
    body_of(response)
    policy = (
        "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    )
    kept = set(response["Cache-Control"].split(", "))

    assert policy == response["Content-Security-Policy"]
    assert ("nosniff", "no-referrer") == (response["X-Content-Type-Options"], response["Referrer-Policy"])
    assert ("SAMEORIGIN", "off") == (response["X-Frame-Options"], response["X-DNS-Prefetch-Control"])
    assert {"private", "no-store"} <= kept


def test_the_page_without_the_permission_says_so_and_shows_the_rest(clerk: Client) -> None:
    mail, _ = make_full_mail()
    make_attempt(mail, AttemptOutcome.RETRY, stage="rcpt", reply_code=451, reply="greylisted")
    Log.objects.create(email=mail, status=STATUS.failed, exception_type="ValueError", message=SECRET)
    page = get(clerk, PAGE, mail.pk).content.decode()

    assert "You can't read what mail says: you don't have the permission mailqueue.view_body." in page
    assert [False, True, True, True] == [
        words in page for words in (SECRET, "Your code", "ann@example.com", "451 greylisted")
    ]
    assert "<iframe" not in page


def test_what_an_exception_quotes_of_a_mail_is_kept_from_who_may_not_read_it(clerk: Client) -> None:
    mail = make_mail(status=STATUS.failed, headers={"X-Code": f"{SECRET}\nx"})
    quote = f"Header values can't contain newlines (got '{SECRET}')"
    results = {"ann@example.com": {"verdict": "fail", "code": 0, "reply": quote}}
    make_attempt(mail, AttemptOutcome.FAILED, stage="build", reply=quote, error="BadHeaderError", recipients=results)
    stop_mail(mail, StopReason.FAILED, note=quote)
    page = get(clerk, PAGE, mail.pk).content.decode()

    assert (False, True) == (SECRET in page, "It failed: BadHeaderError" in page)
    assert "This mail can't be built: " in page


def test_an_error_of_the_network_is_told_to_everybody(clerk: Client) -> None:
    mail = make_mail(status=STATUS.requeued)
    make_attempt(mail, AttemptOutcome.DEFERRED, stage="connect", reply="No route to host", error="OSError")

    assert "No route to host" in get(clerk, PAGE, mail.pk).content.decode()


def test_the_page_to_delete_a_mail_shows_nothing_of_what_it_says(clerk: Client) -> None:
    mail, _ = make_full_mail()
    Log.objects.create(email=mail, status=STATUS.failed, exception_type="ValueError", message=SECRET)
    response = get(clerk, "admin:post_office_email_delete", mail.pk)

    assert (200, False) == (response.status_code, SECRET in response.content.decode())


@pytest.mark.parametrize("page", ["change", "delete", "history", "changelist", "add"])
@pytest.mark.parametrize("model", ["attachment", "log"])
def test_attachments_and_logs_take_the_permission_to_read_mail(
    clerk: Client, admin_client: Client, model: str, page: str
) -> None:
    mail, attachment = make_full_mail()
    log = Log.objects.create(email=mail, status=STATUS.failed, exception_type="ValueError", message=SECRET)
    arguments = [] if page in {"changelist", "add"} else [{"attachment": attachment, "log": log}[model].pk]
    name = f"admin:post_office_{model}_{page}"

    assert 200 == get(admin_client, name, *arguments).status_code
    assert 403 == get(clerk, name, *arguments).status_code


def test_names_of_attachments_are_not_completed_for_who_may_not_read_mail(clerk: Client) -> None:
    attach(make_mail(), name=f"{SECRET}.pdf")
    query = {"app_label": "post_office", "model_name": "attachment_emails", "field_name": "attachment", "term": ""}
    response = get(clerk, "admin:autocomplete", **query)

    assert (403, False) == (response.status_code, SECRET in response.content.decode())


@pytest.mark.parametrize(
    ("name", "lookup"),
    [
        ("admin:post_office_email_changelist", "message__contains"),
        ("admin:post_office_email_changelist", "html_message__contains"),
        ("admin:post_office_email_changelist", "context__code"),
        ("admin:post_office_email_changelist", "headers__X-Code"),
        ("admin:post_office_email_changelist", "attachments__name__contains"),
        ("admin:post_office_email_changelist", "logs__message__contains"),
        ("admin:post_office_email_changelist", "template__content__contains"),
        ("admin:post_office_email_changelist", "attempts__reply__contains"),
        ("admin:post_office_emailtemplate_changelist", "email__message__contains"),
        ("admin:post_office_emailtemplate_changelist", "email__context__code"),
        ("admin:post_office_emailtemplate_changelist", "email__headers__X-Code"),
    ],
)
def test_a_list_is_not_narrowed_in_the_address_by_what_mail_says(clerk: Client, name: str, lookup: str) -> None:
    make_full_mail()

    assert 400 == get(clerk, name, **{lookup: SECRET}).status_code


def test_the_template_of_a_mail_shows_no_context(clerk: Client) -> None:
    mail, _ = make_full_mail()
    Email.objects.filter(pk=mail.pk).update(context={"code": SECRET})
    page = get(clerk, "admin:post_office_emailtemplate_change", EmailTemplate.objects.get().pk)

    assert (200, False) == (page.status_code, SECRET in page.content.decode())


def test_the_preview_is_in_the_page_in_a_sandbox(admin_client: Client) -> None:
    mail = make_mail(html_message="<p>Hi</p>")
    page = get(admin_client, PAGE, mail.pk).content.decode()
    (frame,) = re.findall("<iframe[^>]*>", page)

    assert f'src="{reverse(PREVIEW, args=[mail.pk])}" sandbox referrerpolicy="no-referrer" title="' in frame


def test_remote_images_are_shown_by_the_answer_that_was_asked_for_them_alone(admin_client: Client) -> None:
    mail = make_mail(html_message='<img src="https://img.example/a.png">')
    asked = get(admin_client, PREVIEW, mail.pk, images="remote")
    unasked = get(admin_client, PREVIEW, mail.pk, images="yes")

    assert "img-src data: http: https:;" in asked["Content-Security-Policy"]
    assert "img-src data:;" in unasked["Content-Security-Policy"]
    assert [True, False] == ["https://img.example/a.png" in response.text for response in (asked, unasked)]


def test_the_page_tells_of_remote_images_and_offers_to_show_them(admin_client: Client) -> None:
    mail = make_mail(html_message='<img src="https://img.example/a.png">')
    page = get(admin_client, PAGE, mail.pk).content.decode()
    asked = get(admin_client, PAGE, mail.pk, images="remote").content.decode()

    assert ("1 image of another host is not shown." in page, "?images=remote#" in page) == (True, True)
    assert f'src="{reverse(PREVIEW, args=[mail.pk])}?images=remote"' in asked
    assert "1 image of another host is shown, for this look only." in asked


def test_the_page_of_a_mail_without_remote_images_says_nothing_of_them(admin_client: Client) -> None:
    mail = make_mail(html_message="<p>Hi</p>")

    assert "mail-remote" not in get(admin_client, PAGE, mail.pk).content.decode()


def test_an_image_that_says_to_be_none_is_not_served(admin_client: Client) -> None:
    mail = make_mail()
    keep_image(mail, subtype="x!y")
    response = get(admin_client, "admin:post_office_email_image", mail.pk, IMAGE)

    assert 404 == response.status_code


def test_images_of_a_mail_that_can_not_be_built_are_not_there_and_why(admin_client: Client) -> None:
    mail = make_mail(headers={"X-Bad": "a\nb"})
    response = get(admin_client, "admin:post_office_email_image", mail.pk, IMAGE)

    assert (422, True) == (response.status_code, response.text.startswith("This mail can't be built:"))


@pytest.mark.usefixtures("queueing")
def test_the_source_is_the_message_as_it_is_sent_each_time_the_same(admin_client: Client) -> None:
    message = EmailMessage("Grüße", "Hello", "a@example.com", ["ann@example.com"], headers={"X-Order": "17"})
    with mailqueue.collect() as mails:
        message.send()
    first, second = (get(admin_client, SOURCE, mails[0].pk) for _ in range(2))
    parsed = message_from_bytes(first.content)

    assert first.content == second.content
    assert ("text/plain; charset=utf-8", "17") == (first["Content-Type"], parsed["X-Order"])
    assert parsed["Message-ID"] == mails[0].message_id or ".mailqueue@" in parsed["Message-ID"]


@pytest.mark.parametrize("name", [SOURCE, DOWNLOAD, PAGE])
def test_bcc_stands_in_no_header(admin_client: Client, name: str) -> None:
    mail = make_mail()
    message = MIMEText("Bcc: this line is text")
    message["Bcc"] = "carl@example.com,\r\n dora@example.com"
    message["Subject"] = "Hello"
    message["Resent-Bcc"] = "eve@example.com"
    keep_message(mail, message.as_bytes())
    content = get(admin_client, name, mail.pk).content.decode()

    assert [False, False, False] == [person in content for person in ("carl@", "dora@", "eve@")]
    assert (True, True) == ("Hello" in content, "Bcc: this line is text" in content)


def test_a_message_without_a_body_has_a_source(admin_client: Client) -> None:
    mail = make_mail()
    keep_message(mail, b"Subject: Hello\nBcc: c@d.e")

    assert b"Subject: Hello\n" == get(admin_client, SOURCE, mail.pk).content


def test_a_long_source_is_cut_and_the_download_is_whole(admin_client: Client) -> None:
    mail = make_mail(message="A line of text.\n" * (SOURCE_BYTES // 10))
    shown = get(admin_client, SOURCE, mail.pk).text
    download = get(admin_client, DOWNLOAD, mail.pk)

    assert "[Cut here: this is the first 195.3\xa0KB of " in shown[SOURCE_BYTES:]
    assert len(shown) < SOURCE_BYTES + 200 < len(download.content)
    assert download.content.rstrip().endswith(b"A line of text.")


def test_the_download_is_a_message_in_a_file(admin_client: Client) -> None:
    mail = make_mail()
    response = get(admin_client, DOWNLOAD, mail.pk)

    assert ("message/rfc822", f'attachment; filename="mail-{mail.pk}.eml"') == (
        response["Content-Type"],
        response["Content-Disposition"],
    )


@pytest.mark.parametrize("name", [SOURCE, DOWNLOAD, PREVIEW])
def test_what_can_not_be_built_has_no_source_and_the_answer_says_why(admin_client: Client, name: str) -> None:
    mail = make_mail(html_message="<p>Hi</p>", headers={"X-Bad": "a\nb"})
    response = get(admin_client, name, mail.pk)

    assert (422, True) == (response.status_code, response.text.startswith("This mail can't be built:"))


def test_the_page_of_a_mail_that_can_not_be_built_shows_its_html_as_text(admin_client: Client) -> None:
    mail = make_mail(html_message="<p>Hi</p>", headers={"X-Bad": "a\nb"})
    page = get(admin_client, PAGE, mail.pk).content.decode()

    assert ("&lt;p&gt;Hi&lt;/p&gt;" in page, "<iframe" in page) == (True, False)


def test_headers_are_shown_decoded(admin_client: Client) -> None:
    mail = make_mail()
    keep_message(mail, b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nX-Odd: =?nonsense?q?=FF?=\n\nHello\n")
    page = get(admin_client, PAGE, mail.pk).content.decode()

    assert '<tr><th scope="row">Subject</th><td>Grüße</td></tr>' in page
    assert "<td>=?nonsense?q?=FF?=</td>" in page


UNDECODABLE = [
    b"X-Ref: =?utf-8?b?a?=\n\nHello\n",
    b"Subject: =?utf-8?b?a?=\n\nHello\n",
    b"Subject: =?unicode_escape?q?=5Cud800?=\nX-Ref: =?a\xe4?q?x?=\n\nHello\n",
    b"Content-Type: text/plain; charset=base64\n\nHello\n",
    b"Content-Type: text/plain; charset=undefined\n\nHello\n",
    b'Content-Type: text/plain; charset="a\0b"\n\nHello\n',
    b"Content-Type: text/plain; charset*=nonsense''%FF\n\nHello\n",
    b"Content-Type: text/plain; charset=x-unknown\n\nHello\n",
    b"Content-Type: text/plain; charset=utf-7\n\nHello +2AA-\n",
    b"Content-Type: text/plain;\nContent-Disposition: inline; filename*=nonsense''%FF%00\n\nHello\n",
    b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nHello\n",
    b"Content-Type: multipart/mixed\n\nHello\n",
    b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\nHello\n",
]


def is_all_shown(client: Client, mail: Email) -> bool:
    """Whether the page has headers and leads to a source that is there."""
    page = get(client, PAGE, mail.pk)
    source = get(client, SOURCE, mail.pk)
    words = page.content.decode()
    return (
        (page.status_code, source.status_code) == (200, 200)
        and reverse(SOURCE, args=[mail.pk]) in words
        and '<table class="mail-headers">' in words
        and "can't be built" not in words
    )


@pytest.mark.parametrize("message", UNDECODABLE)
def test_what_can_not_be_decoded_is_shown_as_it_stands(admin_client: Client, message: bytes) -> None:
    mail = make_mail()
    keep_message(mail, message)

    assert is_all_shown(admin_client, mail)


def test_a_header_that_can_not_be_decoded_is_no_reason_to_hide_the_others(admin_client: Client) -> None:
    mail = make_mail(html_message="<p>Hi</p>", headers={"X-Ref": "=?utf-8?b?a?="})
    preview = get(admin_client, PREVIEW, mail.pk)

    assert (200, True) == (preview.status_code, "Hi" in preview.text)
    # Newer Djangos read what looks encoded when they write it.
    assert re.search(r"X-Ref</th><td>(=\?utf-8\?b\?a\?=|a)</td>", get(admin_client, PAGE, mail.pk).content.decode())


def test_a_part_that_can_not_be_decoded_is_no_reason_to_hide_the_others(admin_client: Client) -> None:
    mail = make_mail()
    parts = (
        b"--x\nContent-Type: text/plain; charset=x-klingon\n\nQapla\n--x\nContent-Type: text/html\n\n<p>Hi</p>\n--x--"
    )
    keep_message(mail, b"Content-Type: multipart/alternative; boundary=x\n\n" + parts)
    page = get(admin_client, PAGE, mail.pk).content.decode()

    assert ("Qapla" in page, "<iframe" in page) == (True, True)
    assert "shown as it stands: LookupError: unknown encoding: x-klingon" in page


def test_the_text_of_a_mail_is_its_own_and_not_that_of_an_attachment(admin_client: Client) -> None:
    mail = make_mail()
    message = Message()
    message.set_content("the plain text")
    message.add_alternative("<p>root</p>", subtype="html")
    message.get_payload()[1].add_related(b"<p>related</p>", "text", "html", cid="<r@x>")  # type: ignore[union-attr, index]
    message.add_attachment("the attached text")
    keep_message(mail, message.as_bytes())
    page = get(admin_client, PAGE, mail.pk).content.decode()

    assert (True, False) == ("the plain text" in page, "the attached text" in page)
    assert "root" in get(admin_client, PREVIEW, mail.pk).text


PIECES = ["=?", "?=", "?b?", "?q?", "utf-8", "utf-7", "idna", "a", "=", "=FF", " ", "ä", "\ud800", "x-y"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    value=st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(max_size=30)),
    name=st.sampled_from(["Subject", "X-Ref", "Content-ID", "Content-Type", "Content-Disposition", "Reply-To"]),
)
def test_whatever_can_be_built_has_a_page_with_headers_and_a_source(
    admin_client: Client, name: str, value: str
) -> None:
    mail = make_mail()
    mail.mailqueue_source = MessageSource(
        email=mail,
        envelope_from="shop@example.com",
        recipients=["ann@example.com"],
        message=f"{name}: {value}\n\nHello\n".encode(errors="surrogatepass"),
    )
    contents = contents_of(mail)

    assert ("", True) == (contents.problem, bool(raw_message(mail)))
    assert contents.headers


def test_the_page_tells_when_message_id_and_date_are_not_fixed_yet(admin_client: Client) -> None:
    words = "are fixed when it is first started"
    fixed = make_mail(message_id="<1@example.com>", headers={"Date": "Sat, 21 Nov 2026 09:30:00 -0000"})
    pages = [get(admin_client, PAGE, mail.pk).content.decode() for mail in (make_mail(), fixed)]

    assert [True, False] == [words in page for page in pages]


def test_an_attachment_is_a_file_to_keep_whatever_it_says_to_be(admin_client: Client) -> None:
    mail = make_mail()
    attachment = attach(mail, name="page.html", content=b"<script>alert(1)</script>" * 10_000)
    response = get(admin_client, ATTACHMENT, mail.pk, attachment.pk)

    assert b"<script>alert(1)</script>" * 10_000 == body_of(response)
    assert ("application/octet-stream", 'attachment; filename="page.html"', "250000") == (
        response["Content-Type"],
        response["Content-Disposition"],
        response["Content-Length"],
    )


@pytest.mark.django_db(transaction=True)
def test_an_asynchronous_server_gets_an_attachment_in_pieces_too(admin_user: User) -> None:
    mail = make_mail()
    content = b"0123456789" * 50_000
    attachment = attach(mail, content=content)
    request: Any = AsyncRequestFactory().get("/")
    request.user = admin_user
    response = site.get_model_admin(Email).download_attachment(request, mail.pk, attachment.pk)  # type: ignore[attr-defined]

    async def pieces() -> list[bytes]:
        return [piece async for piece in response.streaming_content]

    found = async_to_sync(pieces)()
    assert (True, True, content) == (response.is_async, len(found) > 1, b"".join(found))


def test_what_an_asynchronous_server_does_not_fetch_to_its_end_is_closed() -> None:
    file = BytesIO(b"0123456789" * 50_000)
    response = StreamingHttpResponse(in_turn(AsyncRequestFactory().get("/"), Chunks(file)))
    was_closed = file.closed
    response.close()

    assert (True, False, True) == (response.is_async, was_closed, file.closed)


def test_an_attachment_of_another_mail_is_not_found(admin_client: Client) -> None:
    attachment = attach(make_mail())

    assert 404 == get(admin_client, ATTACHMENT, make_mail().pk, attachment.pk).status_code


@pytest.mark.parametrize(
    ("name", "shown", "disposition"),
    [
        ('a"b\\c.pdf', "c.pdf", 'attachment; filename="c.pdf"'),
        ('say "hi".txt', "say &quot;hi&quot;.txt", 'attachment; filename="say \\"hi\\".txt"'),
        ("../../etc/passwd", "passwd", 'attachment; filename="passwd"'),
        ("a\r\nSet-Cookie: x=1", "aSet-Cookie: x=1", 'attachment; filename="aSet-Cookie: x=1"'),
        ("发票.pdf", "发票.pdf", "attachment; filename*=utf-8''%E5%8F%91%E7%A5%A8.pdf"),
        ("photo\u202egpj.exe", "photogpj.exe", 'attachment; filename="photogpj.exe"'),
        (
            "<img src=x onerror=alert(1)>",
            "&lt;img src=x onerror=alert(1)&gt;",
            'attachment; filename="<img src=x onerror=alert(1)>"',
        ),
        ("..", "attachment", 'attachment; filename="attachment"'),
    ],
)
def test_the_name_of_an_attachment_does_no_harm(admin_client: Client, name: str, shown: str, disposition: str) -> None:
    mail = make_mail()
    attachment = attach(mail, name=name)
    response = get(admin_client, ATTACHMENT, mail.pk, attachment.pk)
    body_of(response)

    assert disposition == response["Content-Disposition"]
    assert f"download>{shown}</a>" in get(admin_client, PAGE, mail.pk).content.decode()


def test_a_long_name_keeps_its_end(admin_client: Client) -> None:
    mail = make_mail()
    attachment = attach(mail, name="x" * 200 + ".pdf")
    response = get(admin_client, ATTACHMENT, mail.pk, attachment.pk)
    body_of(response)

    assert f'attachment; filename="{"x" * 120}.pdf"' == response["Content-Disposition"]


def test_a_file_that_is_gone_is_said_in_a_sentence(admin_client: Client) -> None:
    mail = make_mail()
    attachment = attach(mail)
    attachment.file.storage.delete(attachment.file.name)
    response = get(admin_client, ATTACHMENT, mail.pk, attachment.pk)
    page = get(admin_client, PAGE, mail.pk).content.decode()

    assert 404 == response.status_code
    assert response.text.startswith("The file of the attachment invoice.pdf can't be read: FileNotFoundError: ")
    assert "Its file can't be read: FileNotFoundError" in page
    assert reverse(ATTACHMENT, args=[mail.pk, attachment.pk]) not in page


def test_attachments_that_stand_in_the_message_are_said_to_be_in_its_source(admin_client: Client) -> None:
    mail = make_mail()
    message = EmailMessage("Hello", "Hello", "a@example.com", ["ann@example.com"])
    message.attach("invoice.pdf", b"%PDF", "application/pdf")
    keep_message(mail, message.message().as_bytes())

    assert "They stand in the message itself" in get(admin_client, PAGE, mail.pk).content.decode()


@pytest.mark.parametrize("query", [{}, {"images": "remote"}])
def test_the_page_is_well_formed(admin_client: Client, query: dict[str, str]) -> None:
    mail = make_mail(
        html_message='<a href="https://x"><img src="https://x/y.png"></a>', headers={"X-Order": "<17>"}, cc=["b@x.org"]
    )
    attach(mail, name='a "b" <c>.pdf')
    results = {"ann@example.com": {"verdict": "sent", "code": 250}, "b@x.org": {"verdict": "retry", "code": 451}}
    make_attempt(mail, AttemptOutcome.RETRY, recipients=results)
    Log.objects.create(email=mail, status=STATUS.failed, exception_type="SMTPDataError", message="554 spam")
    page = get(admin_client, PAGE, mail.pk, **query).content.decode()
    parse_html(page)
    ids = re.findall(r'\sid="([^"]+)"', page)

    assert len(ids) == len(set(ids))


def test_an_image_is_found_by_the_beginning_of_its_content_id(admin_client: Client) -> None:
    mail = make_mail()
    keep_message(
        mail,
        b"Content-Type: image/gif\nContent-Transfer-Encoding: base64\n"
        b"Content-ID: <" + IMAGE.encode() + b"@shop.example.com>\n\nR0lG\n",
    )
    response = get(admin_client, "admin:post_office_email_image", mail.pk, IMAGE)

    assert ("image/gif", b"GIF") == (response["Content-Type"], response.content)


def test_the_page_says_nothing_of_attachments_where_there_are_none(admin_client: Client) -> None:
    assert "mail-attachments-heading" not in get(admin_client, PAGE, make_mail().pk).content.decode()


def test_a_file_whose_reader_goes_away_is_closed(admin_client: Client) -> None:
    mail = make_mail()
    attachment = attach(mail, content=b"x" * 3 * CHUNK_BYTES)
    opened: Any = get(admin_client, ATTACHMENT, mail.pk, attachment.pk)
    _, unread = read_file(attachment)
    _, begun = read_file(attachment)
    next(begun)
    files = [chunks._file for chunks in (unread, begun)]
    for chunks in (unread, begun):
        StreamingHttpResponse(chunks).close()

    assert [True, True] == [file.closed for file in files]
    assert 3 * CHUNK_BYTES == len(body_of(opened))


def test_a_file_that_breaks_off_at_once_is_closed() -> None:
    class Broken(BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError("gone")

    file = Broken()
    with pytest.raises(OSError, match="gone"):
        Chunks(file)

    assert file.closed
