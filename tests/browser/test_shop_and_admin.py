"""A walk through the shop and the admin, as a customer and as the person who runs the site."""

import re

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect
from post_office.models import STATUS, Email, Log

import mailqueue
from mailqueue.models import Attempt, AttemptOutcome
from mailqueue.ops.states import State, state_of
from tests.browser.conftest import Shoot
from tests.support.outbox import queueing  # noqa: F401  (a fixture)
from tests.support.situations import SITUATIONS, make_attempt, make_mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("queueing")]

LIST = "/admin/post_office/email/"


def fill_order(page: Page) -> None:
    page.goto("/")
    page.get_by_label("Name").fill("Ann")
    page.get_by_label("E-mail address").fill("ann@example.com")
    page.get_by_label("Item").select_option("tea")


def open_mail(page: Page, mail: Email) -> None:
    page.goto(f"{LIST}{mail.pk}/change/")


def test_an_order_is_followed_to_its_end_without_a_reload(visitor: Page, shoot: Shoot) -> None:
    fill_order(visitor)
    visitor.get_by_role("button", name="Place the order", exact=True).click()
    state = visitor.locator("#orders .state").first
    expect(state).to_have_text("waiting")
    shoot(visitor, "shop-order")
    visitor.evaluate("window.isSamePage = true")
    mail = Email.objects.get()
    attempt = make_attempt(mail)
    expect(state).to_have_text("sending")
    now = timezone.now()
    Attempt.objects.filter(pk=attempt.pk).update(finished_at=now, outcome=AttemptOutcome.SENT, reply_code=250)
    Email.objects.filter(pk=mail.pk).update(status=STATUS.sent)
    expect(state).to_have_text("sent")
    shoot(visitor, "shop-sent")

    assert visitor.evaluate("window.isSamePage") is True


def test_a_failing_order_leaves_nothing_and_the_page_says_so(visitor: Page, shoot: Shoot) -> None:
    fill_order(visitor)
    visitor.get_by_role("button", name="Place the order, then fail").click()
    expect(visitor.get_by_role("status")).to_contain_text("Neither exists")
    expect(visitor.locator("#orders")).to_have_text("No order yet.")
    shoot(visitor, "shop-failed")

    assert Email.objects.count() == 0


def test_a_wrong_order_is_explained(visitor: Page, shoot: Shoot) -> None:
    fill_order(visitor)
    visitor.get_by_label("E-mail address").fill("ann@nowhere")
    visitor.get_by_role("button", name="Place the order", exact=True).click()
    expect(visitor.locator(".errorlist")).to_be_visible()
    expect(visitor.get_by_label("E-mail address")).to_have_attribute("aria-invalid", "true")
    shoot(visitor, "shop-wrong")


def test_an_order_can_be_placed_by_keyboard(visitor: Page) -> None:
    visitor.goto("/")
    visitor.get_by_label("Name").focus()
    visitor.keyboard.type("Ann")
    visitor.keyboard.press("Tab")
    visitor.keyboard.type("ann@example.com")
    visitor.keyboard.press("Tab")
    visitor.keyboard.type("Tea")
    visitor.keyboard.press("Tab")
    visitor.keyboard.press("Enter")
    expect(visitor.locator("#orders .state")).to_have_text("waiting")

    assert Email.objects.count() == 1


def test_the_list_is_searched_and_narrowed(admin: Page, shoot: Shoot) -> None:
    for make, _ in SITUATIONS.values():
        make()
    wanted = make_mail(to="zoe@example.org", subject="Invoice 17", message_id="<1.2@host>")
    admin.goto(LIST)
    shoot(admin, "admin-list")
    admin.goto(f"{LIST}?state=held")
    expect(admin.locator("#result_list tbody tr")).to_have_count(1)
    admin.goto(LIST)
    admin.locator("#searchbar").fill("1.2@host")
    admin.keyboard.press("Enter")
    expect(admin.locator("#result_list tbody tr")).to_have_count(1)
    admin.get_by_role("link", name="Invoice 17").click()

    expect(admin).to_have_url(re.compile(f"/{wanted.pk}/change/"))


def test_the_page_of_a_mail_shows_its_timeline(admin: Page, shoot: Shoot) -> None:
    mail = make_mail(
        status=STATUS.requeued,
        scheduled_time=timezone.now() + timezone.timedelta(hours=1),
        html_message='<p>Thank you.</p><script>document.title = "hacked"</script>',
        message="Thank you for your order.\n\n" + "A long line of text that goes on and on. " * 8,
        headers={"X-Order": "17"},
        cc=["bob@example.com"],
    )
    make_attempt(
        mail, AttemptOutcome.DEFERRED, stage="greeting", reply_code=421, reply="too many connections, come back later"
    )
    results = {
        "ann@example.com": {"verdict": "sent", "code": 250, "enhanced": "2.1.5", "reply": "ok"},
        "bob@example.com": {"verdict": "retry", "code": 451, "enhanced": "4.7.1", "reply": "greylisted for 300 s"},
    }
    make_attempt(
        mail,
        AttemptOutcome.RETRY,
        stage="rcpt",
        reply_code=451,
        enhanced_code="4.7.1",
        reply="greylisted for 300 s",
        recipients=results,
        is_counted=True,
    )
    Log.objects.create(email=mail, status=STATUS.failed, exception_type="", message="451 4.7.1 greylisted for 300 s")
    open_mail(admin, mail)
    expect(admin.locator(".mail-timeline h3")).to_have_text(
        [re.compile("1: deferred"), re.compile("2: to be retried")]
    )
    expect(admin.locator("#mail-state-heading")).to_contain_text("retrying at")
    shoot(admin, "admin-mail")
    with admin.expect_popup() as popup:
        admin.get_by_role("link", name="Preview").click()
    expect(popup.value.locator("p")).to_have_text("Thank you.")
    popup.value.wait_for_load_state()  # what stands behind that text has had its chance

    assert popup.value.title() != "hacked"


def test_a_mail_is_cancelled_and_requeued_on_its_page(admin: Page, shoot: Shoot) -> None:
    mail = make_mail()
    open_mail(admin, mail)
    admin.get_by_role("button", name="Cancel this mail").click()
    expect(admin.locator(".messagelist")).to_contain_text("1 mail was cancelled.")
    expect(admin.locator("#mail-state-heading")).to_have_text("cancelled")
    shoot(admin, "admin-cancelled")
    admin.get_by_role("button", name="Requeue").click()
    expect(admin.locator("#mail-state-heading")).to_have_text("waiting")

    assert state_of(mail).state == State.WAITING


def test_a_mail_that_was_sent_is_sent_again_only_after_a_question(admin: Page, shoot: Shoot) -> None:
    make, _ = SITUATIONS["sent"]
    mail = make()
    open_mail(admin, mail)
    admin.get_by_role("link", name="Send again").click()
    expect(admin.locator("#content")).to_contain_text("These have it already and will get it again: ann@example.com")
    shoot(admin, "admin-send-again")
    admin.get_by_role("link", name="No, go back").click()
    expect(admin.locator("#mail-state-heading")).to_have_text("sent")
    admin.get_by_role("link", name="Send again").click()
    admin.get_by_role("button", name="Yes, send again").click()
    expect(admin.locator("#mail-state-heading")).to_have_text("waiting")


def test_a_selection_is_sent_again_after_a_question(admin: Page, shoot: Shoot) -> None:
    for situation in ("sent", "partly sent", "failed"):
        SITUATIONS[situation][0]()
    admin.goto(LIST)
    admin.locator("#action-toggle").check()
    admin.locator("select[name=action]").select_option("requeue_selected")
    admin.get_by_role("button", name=re.compile("Go|Run")).click()
    expect(admin.locator("#content")).to_contain_text("3 mails will be queued again")
    shoot(admin, "admin-requeue-selection")
    admin.get_by_role("button", name="Yes, send again").click()
    expect(admin.locator(".messagelist")).to_contain_text("3 mails were queued again.")

    assert {STATUS.queued} == set(Email.objects.values_list("status", flat=True))


def test_a_sensitive_mail_shows_that_it_hides_what_it_says(admin: Page, shoot: Shoot) -> None:
    mail = mailqueue.send("ann@example.com", subject="Your code: rosebud", message="rosebud", sensitive=True)
    assert mail is not None
    open_mail(admin, mail)
    expect(admin.locator("body")).to_contain_text("sensitive")
    expect(admin.locator("body")).not_to_contain_text("rosebud")
    shoot(admin, "mail-sensitive")
    admin.goto(LIST)
    expect(admin.locator("#result_list")).not_to_contain_text("rosebud")
    shoot(admin, "list-sensitive")
