"""A mail is read in the admin, and does not notice it: no script of it runs, and nothing is fetched unasked."""

import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect
from post_office.models import STATUS, Attachment, Email
from pytest_django import Settings

from mailqueue.models import AttemptOutcome, MessageSource
from tests.browser.conftest import SCREENS, SCREENSHOTS, Shoot, is_expected
from tests.support.hostile import hostile_html
from tests.support.http_server import Answer, HttpServer
from tests.support.outbox import queueing  # noqa: F401  (a fixture)
from tests.support.situations import make_attempt, make_mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("queueing")]

PIXEL = bytes.fromhex("47494638396101000100800000ff0000ffffff21f90401000000002c00000000010001000002024401003b")
NEWSLETTER = """
<html><head><style>
.cta { display: inline-block; padding: 10px 18px; background: #146c43; color: #fff; border-radius: 4px }
td { font-family: Georgia, serif }</style></head><body bgcolor="#ffffff" style="margin:0;background:#f4f1ea">
<table width="100%" cellpadding="0" cellspacing="0"><tr><td align="center">
<table width="560" style="max-width:100%;background:#fff">
<tr><td style="padding:24px"><h1 style="color:#146c43">Thank you, Ann</h1>
<p>Your order <strong>17</strong> is on its way. It should be with you on Thursday.</p>
<table width="100%" border="0"><tr><td>Green tea, 250 g</td><td align="right">12.50 €</td></tr>
<tr><td>Postage</td><td align="right">3.90 €</td></tr></table>
<p><a class="cta" href="https://shop.example.com/orders/17?token=abc">Follow your parcel</a></p>
<p>Questions? <a href="mailto:help@example.com">Write to us</a>.</p>
<img src="https://img.example.com/banner.png" width="300" height="80" alt="Autumn teas are here">
</td></tr></table></td></tr></table></body></html>
"""


@pytest.fixture
def spy() -> Iterator[HttpServer]:
    """A stand-in for the host that wants to know whether its mail is read."""
    with HttpServer(Answer(body=PIXEL, headers={"Content-Type": "image/gif"})) as server:
        yield server


@pytest.fixture
def curious(browser: Browser, live_server: object, screen: str, admin_user: User, spy: HttpServer) -> Iterator[Page]:
    """A page of somebody who asks for remote images: the spy alone may be asked for anything."""
    site = str(live_server)
    context = browser.new_context(base_url=site, **SCREENS[screen])  # type: ignore[arg-type]
    strange: list[str] = []
    context.on("request", lambda request: request.url.startswith((site, spy.url)) or strange.append(request.url))
    context.on("console", lambda line: is_expected(line) or strange.append(line.text))
    log_in(context, admin_user)
    yield context.new_page()
    context.close()
    assert strange == []


def log_in(context: BrowserContext, user: User) -> None:
    client = Client()
    client.force_login(user)
    cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "domain": "localhost", "path": "/"}])


def address_of(mail: Email, end: str = "change/") -> str:
    return f"/admin/post_office/email/{mail.pk}/{end}"


def shoot_preview(page: Page, name: str, screen: str) -> None:
    """Keep a picture of the preview: in one of the whole page, what was out of sight is blank."""
    frame = page.locator("iframe.mail-preview")
    frame.scroll_into_view_if_needed()
    page.screenshot(path=SCREENSHOTS / f"{name}-preview-{screen}.png")


def attach(mail: Email, name: str, content: bytes, mimetype: str = "application/pdf") -> Attachment:
    attachment = Attachment(name=name, mimetype=mimetype)
    attachment.file.save("stored.bin", ContentFile(content), save=True)
    mail.attachments.add(attachment)
    return attachment


def test_a_hostile_mail_runs_nothing_and_reaches_nobody(
    admin: Page, spy: HttpServer, shoot: Shoot, screen: str
) -> None:
    mail = make_mail(html_message=hostile_html(spy.url))
    admin.goto(address_of(mail))
    frame = admin.frame_locator("iframe.mail-preview")
    expect(frame.get_by_role("heading")).to_have_text("A very good offer")
    expect(frame.locator("img.inline")).to_be_visible()
    expect(admin.locator(".mail-remote")).to_contain_text("2 images of other hosts are not shown.")
    links = frame.locator("a.link")
    expect(links).to_have_count(3)
    for link in links.all():
        link.click()
    shoot_preview(admin, "mail-hostile", screen)
    shoot(admin, "mail-hostile")
    expect(frame.get_by_role("heading")).to_have_text("A very good offer")
    title = admin.title()
    admin.goto(address_of(mail, "preview/"))
    expect(admin.get_by_role("heading")).to_have_text("A very good offer")
    admin.get_by_text("Click here").click()
    admin.get_by_text("Log in").click()

    assert ([], 0, False) == (spy.requests, spy.connection_count, "hacked" in title + admin.title())
    assert admin.url.endswith(address_of(mail, "preview/"))


def test_the_sandbox_alone_would_hold_it_too(
    browser: Browser, live_server: object, screen: str, admin_user: User, spy: HttpServer
) -> None:
    mail = make_mail(html_message="<p>Replaced on its way.</p>")
    context = browser.new_context(base_url=str(live_server), **SCREENS[screen])  # type: ignore[arg-type]
    log_in(context, admin_user)
    page = context.new_page()
    raw = hostile_html(spy.url)
    page.route("**/preview/", lambda route: route.fulfill(response=route.fetch(), body=raw))
    page.goto(address_of(mail))
    frame = page.frame_locator("iframe.mail-preview")
    expect(frame.get_by_role("heading")).to_have_text("A very good offer")
    frame.get_by_role("button", name="Log in").click()
    titles = page.title()
    page.goto(address_of(mail, "preview/"))
    expect(page.get_by_role("heading")).to_have_text("A very good offer")
    page.get_by_role("button", name="Log in").click()
    titles += page.title()
    context.close()

    assert ([], False) == (spy.requests, "hacked" in titles)


def test_remote_images_are_fetched_when_asked_for_and_nothing_else_is(
    curious: Page, spy: HttpServer, shoot: Shoot, screen: str
) -> None:
    mail = make_mail(html_message=hostile_html(spy.url))
    curious.goto(address_of(mail))
    curious.get_by_role("link", name="Show remote images").click()
    frame = curious.frame_locator("iframe.mail-preview")
    images = frame.locator("img.remote")
    expect(images).to_have_count(2)
    for image in images.all():
        expect(image).to_have_js_property("naturalWidth", 1)
    expect(curious.locator(".mail-remote")).to_contain_text("2 images of other hosts are shown, for this look only.")
    shoot_preview(curious, "mail-hostile-images", screen)
    shoot(curious, "mail-hostile-images")
    curious.wait_for_load_state()  # with it, all that the page and the mail in it fetch has come
    fetched = sorted(request.path for request in spy.requests)
    referrers = {request.headers["Referer"] for request in spy.requests}
    curious.get_by_role("link", name="Hide remote images").click()
    expect(curious.get_by_role("link", name="Show remote images")).to_be_visible()
    curious.wait_for_load_state()

    assert (["/odd.png", "/pixel.png"], {None}) == (fetched, referrers)
    assert (2, False) == (len(spy.requests), "hacked" in curious.title())


def test_a_mail_is_read_with_all_that_it_says(
    admin: Page, shoot: Shoot, screen: str, settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    mail = make_mail(
        status=STATUS.sent,
        subject="Your order 17 is on its way",
        message="Thank you, Ann.\n\nYour order 17 is on its way.\n\nhttps://shop.example.com/orders/17?token=abc",
        html_message=NEWSLETTER,
        headers={"X-Order": "17", "List-Unsubscribe": "<https://shop.example.com/unsubscribe?who=" + "a" * 150 + ">"},
        message_id="<1.2.mailqueue@example.com>",
        cc=["bob@example.com"],
    )
    results = {
        "ann@example.com": {"verdict": "sent", "code": 250, "enhanced": "2.1.5", "reply": "ok"},
        "bob@example.com": {"verdict": "retry", "code": 451, "enhanced": "4.7.1", "reply": "greylisted for 300 s"},
    }
    make_attempt(
        mail, AttemptOutcome.RETRY, stage="rcpt", reply_code=451, reply="greylisted for 300 s", recipients=results
    )
    make_attempt(
        mail, AttemptOutcome.SENT, stage="done", reply_code=250, reply="2.0.0 Ok: queued as 4Z", queue_id="4Z"
    )
    attach(mail, "invoice 17 - a rather long name of a file that goes on.pdf", b"%PDF" * 50_000)
    admin.goto(address_of(mail))
    expect(admin.frame_locator("iframe.mail-preview").get_by_role("heading")).to_have_text("Thank you, Ann")
    shoot_preview(admin, "mail-read", screen)
    admin.get_by_text(re.compile(r"^\d+ headers$")).click()
    expect(admin.get_by_role("cell", name="17", exact=True)).to_be_visible()
    admin.get_by_text("Where its links lead").click()
    shoot(admin, "mail-read")
    with admin.expect_download() as download:
        admin.get_by_role("link", name="invoice 17").click()

    assert b"%PDF" * 50_000 == Path(download.value.path()).read_bytes()


def test_the_source_is_shown_and_downloaded(admin: Page, shoot: Shoot) -> None:
    mail = make_mail(subject="Grüße", message="Thank you.", html_message="<p>Thank you.</p>")
    admin.goto(address_of(mail))
    with admin.expect_popup() as popup:
        admin.get_by_role("link", name="Show the source").click()
    expect(popup.value.locator("pre")).to_contain_text("Subject: =?utf-8?")
    shoot(popup.value, "mail-source")
    with admin.expect_download() as download:
        admin.get_by_role("link", name="Download the mail (.eml)").click()

    assert f"mail-{mail.pk}.eml" == download.value.suggested_filename


def test_images_within_a_mail_are_shown(admin: Page, screen: str) -> None:
    mail = make_mail()
    message = EmailMessage()
    message.set_content("Hello")
    html = '<p>Look:</p><img src="cid:logo@shop" width="80" height="80" alt="logo">'
    message.add_alternative(html, subtype="html")
    message.add_attachment(PIXEL, "image", "gif", cid="<logo@shop>")
    MessageSource.objects.create(
        email=mail, envelope_from="a@example.com", recipients=["ann@example.com"], message=message.as_bytes()
    )
    admin.goto(address_of(mail))
    logo = admin.frame_locator("iframe.mail-preview").get_by_alt_text("logo")
    expect(logo).to_have_js_property("naturalWidth", 1)
    shoot_preview(admin, "mail-inline-image", screen)


def test_a_file_that_is_gone_is_said_in_a_sentence(
    admin: Page, shoot: Shoot, settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    mail = make_mail(html_message="<p>Here it is</p>")
    attachment = attach(mail, "invoice.pdf", b"%PDF")
    attachment.file.storage.delete(attachment.file.name)
    admin.goto(address_of(mail))
    expect(admin.locator(".mail-attachments")).to_contain_text("Its file can't be read: FileNotFoundError")
    shoot(admin, "mail-missing-file")


def test_who_may_not_read_mail_sees_its_states_alone(context: BrowserContext, shoot: Shoot) -> None:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_email"))
    log_in(context, user)
    page = context.new_page()
    mail = make_mail(subject="Your order", message="rosebud", html_message="<p>rosebud</p>")
    make_attempt(mail, AttemptOutcome.RETRY, stage="rcpt", reply_code=451, reply="greylisted")
    page.goto(address_of(mail))
    expect(page.locator(".mail-closed")).to_contain_text("mailqueue.view_body")
    expect(page.locator("body")).to_contain_text("greylisted")
    expect(page.locator("body")).not_to_contain_text("rosebud")
    shoot(page, "mail-closed")
