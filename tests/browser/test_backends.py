"""A person stops mail through a backend, says why, lets it flow again, and sets how much it may be given."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings

from mailqueue.delivery.backends import canonical
from mailqueue.models import AttemptOutcome, BackendHealth, RefusedFrom, SenderProcess
from tests.browser.conftest import Shoot
from tests.support.more_backends import configure_backends
from tests.support.outbox import queueing  # noqa: F401  (a fixture)
from tests.support.situations import make_attempt, make_mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("queueing")]


@pytest.fixture(autouse=True)
def configured(settings: Settings) -> None:
    configure_backends(settings, "newsletter", "billing", "resting", "spent", "slow")


LIST = "/admin/mailqueue/backendhealth/"
PAGE = f"{LIST}{canonical('')}/change/"
HOUR = timedelta(hours=1)


def test_a_backend_is_paused_with_a_note_and_resumed(admin: Page, shoot: Shoot) -> None:
    BackendHealth.objects.create(alias=canonical(""))
    mail = make_mail()
    admin.goto(LIST)
    admin.get_by_role("link", name=canonical(""), exact=True).click()
    expect(admin.locator("#backend-health-heading")).to_have_text("open")
    shoot(admin, "backend-open")
    admin.get_by_role("link", name="Pause …").click()
    expect(admin.locator("#content")).to_contain_text("1 mail stands in its queue")
    shoot(admin, "backend-pause")
    admin.get_by_label("Why").fill("moving house until noon")
    admin.get_by_role("button", name="Pause").click()
    expect(admin.locator(".messagelist")).to_contain_text("is paused.")
    expect(admin.locator("#backend-health-heading")).to_have_text("paused")
    shoot(admin, "backend-paused")
    admin.goto(f"/admin/post_office/email/{mail.pk}/change/")
    expect(admin.locator("#content")).to_contain_text("moving house until noon")
    shoot(admin, "backend-paused-mail")
    admin.goto(PAGE)
    admin.get_by_role("button", name="Resume").click()
    expect(admin.locator("#backend-health-heading")).to_have_text("open")

    assert None is BackendHealth.objects.get().paused_at


def test_a_limit_is_set_and_a_wrong_one_explained(admin: Page, shoot: Shoot) -> None:
    BackendHealth.objects.create(
        alias=canonical(""),
        throttled_at=timezone.now(),
        throttled_rate=14,
        throttle_count=2,
        connection_limit=2,
        day_began_at=timezone.now() - HOUR,
        day_count=3120,
    )
    admin.goto(PAGE)
    admin.get_by_label("Recipients per day").fill("0")
    admin.get_by_label("Recipients per second").fill("14")
    admin.evaluate("document.querySelector('#backendhealth_form').noValidate = true")
    admin.get_by_role("button", name="Save").click()
    expect(admin.locator(".errorlist").first).to_contain_text("It must be at least 1. To stop it, pause the backend.")
    expect(admin.locator(".mail-limits")).not_to_contain_text("14, set here")
    shoot(admin, "backend-wrong-limit")
    admin.get_by_label("Recipients per day").fill("50000")
    admin.get_by_role("button", name="Save").click()
    expect(admin.locator(".messagelist")).to_contain_text("changed successfully")
    admin.goto(PAGE)
    expect(admin.locator(".mail-limits")).to_contain_text("50,000, set here")
    shoot(admin, "backend-limits")

    assert (14, 50000) == BackendHealth.objects.values_list("max_per_second", "max_per_day").get()


def test_backends_in_every_health_are_listed(admin: Page, shoot: Shoot) -> None:
    now = timezone.now()
    BackendHealth.objects.create(alias="default")
    BackendHealth.objects.create(
        alias="newsletter", paused_at=now, paused_by="ann", pause_note="the provider asked us to wait until Monday"
    )
    BackendHealth.objects.create(
        alias="billing",
        shut_at=now,
        shut_reason="auth: 535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6",
        probe_at=now + HOUR,
    )
    BackendHealth.objects.create(alias="resting", resting_until=now + HOUR)
    BackendHealth.objects.create(
        alias="spent", resting_until=now + HOUR, day_began_at=now + HOUR - timedelta(days=1), day_count=50_000
    )
    BackendHealth.objects.create(
        alias="slow", throttled_at=now, throttled_rate=14, throttle_count=1, connection_limit=2
    )
    admin.goto(LIST)
    expect(admin.locator("#result_list tbody tr")).to_have_count(6)
    shoot(admin, "backends")


def test_a_backend_is_listed_before_a_sender_ever_ran(admin: Page, shoot: Shoot) -> None:
    admin.goto(LIST)
    admin.get_by_role("link", name="Add backend").click()
    expect(admin.get_by_role("button", name="Save")).to_be_visible()
    shoot(admin, "backend-add")
    admin.get_by_role("button", name="Save").click()
    expect(admin.locator("#backend-health-heading")).to_have_text("open")


def test_a_refused_address_is_tried_again(admin: Page, shoot: Shoot) -> None:
    RefusedFrom.objects.create(
        backend="default",
        from_email="a.rather.long.name@marketing.example.com",
        reply="554 5.7.1 <a.rather.long.name@marketing.example.com>: Sender address rejected: not verified here",
        refused_at=timezone.now(),
    )
    admin.goto("/admin/mailqueue/refusedfrom/")
    shoot(admin, "refused")
    admin.get_by_role("link", name="a.rather.long.name").click()
    expect(admin.locator("a.deletelink")).to_be_visible()
    shoot(admin, "refused-one")
    # A link on Django 5.2, one with the role of a button on 6.1.
    admin.locator("a.deletelink").click()
    expect(admin.locator("#content")).to_contain_text("stays so until you requeue it")
    shoot(admin, "refused-try-again")
    admin.get_by_role("button", name="Yes, I").click()
    expect(admin.locator(".messagelist")).to_contain_text("until somebody requeues it")

    assert not RefusedFrom.objects.exists()


def test_the_senders_are_listed(admin: Page, shoot: Shoot) -> None:
    now = timezone.now()
    for host, seen_at, backends in (("web-1", now, []), ("web-2.example.com", now - HOUR, ["default", "newsletter"])):
        SenderProcess.objects.create(
            name=f"{host}/4711/x7",
            host=host,
            version="1.0",
            backends=backends,
            connection_count=8,
            started_at=now - 2 * HOUR,
            seen_at=seen_at,
        )
    admin.goto("/admin/mailqueue/senderprocess/")
    expect(admin.locator(".mail-life-alive")).to_have_count(1)
    expect(admin.locator(".mail-life-gone")).to_have_count(1)
    shoot(admin, "senders")


def test_an_attempt_tells_the_servers_queue_id(admin: Page, shoot: Shoot) -> None:
    mail = make_mail(status=0)
    make_attempt(mail, AttemptOutcome.SENT, reply_code=250, reply="2.0.0 Ok: queued as 4ZbQ1x", queue_id="4ZbQ1x")
    admin.goto(f"/admin/post_office/email/{mail.pk}/change/")
    expect(admin.locator(".mail-timeline")).to_contain_text("4ZbQ1x")
    shoot(admin, "mail-queue-id")
