"""Acts as a person orders them: hold and release, an address that is corrected, and orders for a whole filter."""

import csv
import re
from io import StringIO
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect
from post_office.models import STATUS, Email

from mailqueue.models import AttemptOutcome, MailState, StopReason
from mailqueue.ops.states import State, filter_by_state
from tests.browser.conftest import Shoot
from tests.support.situations import LATER, SITUATIONS, make_attempt, make_mail, stop_mail

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/post_office/email/"


def open_mail(page: Page, mail: Email) -> None:
    page.goto(f"{LIST}{mail.pk}/change/")


def order_for_all(page: Page, query: str, action: str) -> None:
    """Choose all that a filter finds, beyond what the page shows, and order something."""
    page.goto(f"{LIST}{query}")
    page.locator("#action-toggle").check()
    page.locator(".actions .question a").click()
    page.locator("select[name=action]").select_option(action)
    page.get_by_role("button", name=re.compile("Go|Run")).click()


def make_failed(number: int) -> Email:
    mail = make_mail(status=STATUS.failed, to=f"guest{number}@example.com", subject=f"Your booking {number}")
    make_attempt(mail, AttemptOutcome.FAILED, reply_code=554, reply="spam")
    stop_mail(mail, StopReason.FAILED, note="554 spam")
    return mail


def test_a_mail_is_held_with_a_note_and_released_by_keyboard(admin: Page, shoot: Shoot) -> None:
    mail = make_mail(scheduled_time=timezone.now() + LATER)
    open_mail(admin, mail)
    shoot(admin, "acts-buttons")
    admin.get_by_role("link", name="Hold …").focus()
    admin.keyboard.press("Enter")
    expect(admin.locator("#content")).to_contain_text("1 mail will be taken out of the queue until somebody releases")
    admin.get_by_label("Why").fill("The price is wrong.")
    shoot(admin, "acts-hold")
    admin.keyboard.press("Enter")
    expect(admin.locator(".messagelist")).to_contain_text("1 mail is held now.")
    expect(admin.locator(".mail-panel").first).to_contain_text("It is held by admin: The price is wrong.")
    shoot(admin, "acts-held")
    admin.get_by_role("button", name="Release").click()
    expect(admin.locator(".messagelist")).to_contain_text("1 mail was released.")
    expect(admin.locator("#mail-state-heading")).to_contain_text("scheduled for")


def test_an_address_is_corrected(admin: Page, shoot: Shoot) -> None:
    mail = make_mail(status=STATUS.sent, to='"Doe, Jane" <jane@exmaple.com>', cc=["bob@example.com"])
    refusal = {
        "verdict": "fail",
        "code": 550,
        "enhanced": "5.1.2",
        "reply": "Domain of recipient address not found: exmaple.com",
    }
    taken = {"verdict": "sent", "code": 250, "enhanced": "2.1.5", "reply": "ok"}
    results = {'"Doe, Jane" <jane@exmaple.com>': refusal, "bob@example.com": taken}
    make_attempt(mail, AttemptOutcome.PARTLY_SENT, recipients=results)
    open_mail(admin, mail)
    admin.get_by_role("link", name="Correct the address …").click()
    expect(admin.locator("#content")).to_contain_text("These will not get it again: bob@example.com")
    expect(admin.locator("#content")).to_contain_text("Domain of recipient address not found")
    line = admin.get_by_label('To: "Doe, Jane"')
    line.fill("jane@")
    admin.keyboard.press("Enter")
    expect(admin.locator(".errorlist")).to_contain_text('"Doe, Jane" <jane@> is not an email address.')
    shoot(admin, "acts-correct")
    line.fill("jane@example.com")
    admin.get_by_role("button", name="Correct and send again").click()
    expect(admin.locator(".messagelist")).to_contain_text("1 address was corrected, and the mail was queued again.")
    expect(admin.locator("#content")).to_contain_text('"Doe, Jane" <jane@example.com>')
    shoot(admin, "acts-corrected")


def test_a_whole_filter_is_requeued_after_a_question_that_counts(admin: Page, shoot: Shoot) -> None:
    mails = [make_failed(number) for number in range(60)]
    make_attempt(mails[0], AttemptOutcome.UNKNOWN)
    Email.objects.filter(pk=mails[1].pk).update(expires_at=timezone.now())
    order_for_all(admin, "?state=failed", "requeue_selected")
    content = admin.locator("#content")
    expect(content).to_contain_text("59 mails will be queued again")
    expect(content).to_contain_text("1 of them could come a second time")
    expect(content).to_contain_text("guest0@example.com")
    expect(content).to_contain_text("1 mail is left as it is: the time in which it may be sent is over.")
    shoot(admin, "acts-requeue-all")
    admin.get_by_role("button", name="Yes, send again").click()
    expect(admin.locator(".messagelist")).to_contain_text("59 mails were queued again.")
    shoot(admin, "acts-requeued-all")

    assert "state=failed" in admin.url
    assert 59 == Email.objects.filter(status=STATUS.queued).count()


def test_a_whole_filter_is_cancelled_only_after_a_question(admin: Page, shoot: Shoot) -> None:
    for number in range(60):
        make_mail(to=f"guest{number}@example.com")
    order_for_all(admin, "?state=waiting", "cancel_selected")
    expect(admin.locator("#content")).to_contain_text("60 mails will be taken out of the queue for good.")
    shoot(admin, "acts-cancel-all")
    admin.get_by_role("link", name="No, go back").click()
    expect(admin.locator("#result_list")).to_be_visible()
    before = MailState.objects.count()
    order_for_all(admin, "?state=waiting", "cancel_selected")
    admin.get_by_role("button", name="Yes, cancel").click()
    expect(admin.locator(".messagelist")).to_contain_text("60 mails were cancelled.")

    assert (0, 60) == (before, filter_by_state(Email.objects.all(), State.CANCELLED).count())


def test_a_list_is_fetched_as_csv(admin: Page, tmp_path: Path) -> None:
    for make, _ in SITUATIONS.values():
        make()
    admin.goto(LIST)
    admin.locator("#action-toggle").check()
    admin.locator("select[name=action]").select_option("export_selected")
    with admin.expect_download() as download:
        admin.get_by_role("button", name=re.compile("Go|Run")).click()
    download.value.save_as(tmp_path / "mails.csv")
    rows = list(csv.DictReader(StringIO((tmp_path / "mails.csv").read_text(encoding="utf-8-sig"))))

    assert {state.value for _, state in SITUATIONS.values()} == {row["state"] for row in rows}
