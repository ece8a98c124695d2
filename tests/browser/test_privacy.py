"""On a copy of the site the admin says who gets mail; of a mail whose content was dropped it says when and why."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.models import StopReason
from mailqueue.outbox.allowed import why_held
from mailqueue.queue.drop import drop
from tests.browser.conftest import Shoot
from tests.support.outbox import queueing  # noqa: F401  (a fixture)
from tests.support.situations import make_mail, stop_mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("queueing")]

LIST = "/admin/post_office/email/"


def test_the_admin_says_who_gets_mail_and_why_others_do_not(admin: Page, shoot: Shoot, settings: Settings) -> None:
    settings.MAILQUEUE = {**settings.MAILQUEUE, "ALLOWED_RECIPIENTS": ["example.com", "*@*.staging.example.com"]}
    mail = make_mail(to="ann@shop.example", status=STATUS.failed)
    stop_mail(mail, StopReason.HELD, note=why_held(["ann@shop.example"]))
    admin.goto(LIST)
    expect(admin.locator(".mail-allowed")).to_contain_text("Only mail to example.com, *@*.staging.example.com is sent")
    shoot(admin, "allowed-list")
    admin.goto(f"{LIST}{mail.pk}/change/")
    expect(admin.locator(".mail-allowed")).to_contain_text("everything else is held")
    expect(admin.locator("#content")).to_contain_text("did not allow ann@shop.example")
    shoot(admin, "allowed-mail")


def test_a_mail_whose_content_was_dropped_is_not_shown_as_empty(admin: Page, shoot: Shoot) -> None:
    mail = make_mail(status=STATUS.sent, html_message="<p>x</p>")
    Email.objects.update(last_updated=timezone.now() - timedelta(days=31))
    list(drop(endings=["sent"], before=timezone.now(), using="default"))
    admin.goto(f"{LIST}{mail.pk}/change/")
    expect(admin.locator(".mail-hidden")).to_contain_text("were dropped at")
    expect(admin.locator("#content")).to_contain_text("Your order")
    expect(admin.locator(".mail-text")).to_have_count(0)
    shoot(admin, "content-dropped")
