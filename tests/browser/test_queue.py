"""The queue at a glance: a person sees how things are, and goes on seeing it without doing anything."""

import math
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.delivery.backends import canonical
from mailqueue.models import BackendHealth, SenderProcess, SendingMinute, StopReason
from tests.browser.conftest import Shoot
from tests.support.more_backends import configure_backends
from tests.support.outbox import queueing  # noqa: F401  (a fixture)
from tests.support.situations import SITUATIONS, make_mail, stop_mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("queueing")]


@pytest.fixture(autouse=True)
def configured(settings: Settings) -> None:
    configure_backends(settings, "newsletter", "billing", "slow")


PAGE = "/admin/mailqueue/queue/"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
EVERY = 10_000
"""How often the page refreshes itself (milliseconds)."""


def make_minutes(*, hours: int) -> None:
    """Let senders have sent for so long: more by day than by night, with a bad quarter of an hour in each six.

    The next minutes are there too: the test may last until one of them.
    """
    now = timezone.now().replace(second=0, microsecond=0) + 5 * MINUTE
    rows = []
    for n in range(hours * 60):
        count = round(45 + 30 * math.sin(n / 240) + 12 * math.sin(n / 7))
        is_bad = n % 360 in range(20, 35)
        rows.append(
            SendingMinute(
                began_at=now - n * MINUTE,
                backend="default",
                accepted_count=count // 4 if is_bad else count,
                put_off_count=count // 2 if is_bad else n % 3,
                failed_count=int(n % 11 == 0) + is_bad,
                unknown_count=int(n % 97 == 3),
                within_100ms=0 if is_bad else count // 2,
                within_300ms=0 if is_bad else count // 3,
                within_1s=count // 8,
                within_30s=count // 8 if is_bad else count // 40,
            )
        )
    SendingMinute.objects.bulk_create(rows)


def make_senders(*, seen_ago: timedelta = timedelta(seconds=4)) -> None:
    now = timezone.now()
    for host, ago, backends in (("web-1", seen_ago, []), ("web-2.example.com", HOUR, ["default", "newsletter"])):
        SenderProcess.objects.create(
            name=f"{host}/4711/x7",
            host=host,
            version="1.0",
            backends=backends,
            connection_count=8,
            started_at=now - 30 * HOUR,
            seen_at=now - ago,
        )


def make_backends() -> None:
    now = timezone.now()
    BackendHealth.objects.create(alias=canonical(""))
    BackendHealth.objects.create(
        alias="newsletter", paused_at=now - HOUR, paused_by="ann", pause_note="the provider asked us to wait"
    )
    BackendHealth.objects.create(
        alias="billing", shut_at=now, shut_reason="auth: 535 5.7.8 authentication failed", probe_at=now + HOUR
    )
    BackendHealth.objects.create(
        alias="slow", throttled_at=now, throttled_rate=14, throttle_count=1, connection_limit=2
    )


def make_mails() -> None:
    now = timezone.now()
    for make, _ in SITUATIONS.values():
        make()
    for n in range(60):
        mail = make_mail(to=f"somebody@{'example.com' if n % 3 else 'another-rather-long-domain.example.org'}")
        Email.objects.filter(pk=mail.pk).update(created=now - n * 9 * MINUTE, last_updated=now - n * 9 * MINUTE)
    for _n in range(3):
        stop_mail(make_mail(status=STATUS.failed), StopReason.FAILED)


def tile(page: Page, state: str) -> str:
    return page.locator(f".queue-tile-{state} strong").inner_text()


def test_a_busy_queue_is_seen_at_a_glance(admin: Page, shoot: Shoot) -> None:
    make_backends(), make_mails(), make_minutes(hours=7 * 24 + 2)
    make_senders()  # last: the one that was seen a moment ago is alive for a moment only
    admin.goto("/admin/")
    admin.get_by_role("link", name="Queue at a glance").first.click()
    expect(admin.locator(".mail-chart")).to_have_count(3)
    expect(admin.locator("#queue-alarm")).to_have_count(0)
    shoot(admin, "queue")
    admin.locator("#queue-table-summary").click()
    expect(admin.locator("#queue-table tbody tr")).to_have_count(60)
    for span in ("day", "week"):
        admin.locator(f"#queue-span-{span}").focus()
        admin.keyboard.press("Enter")
        expect(admin.locator(".queue-spans [aria-current]")).to_have_attribute("id", f"queue-span-{span}")
        shoot(admin, f"queue-{span}")
    admin.locator("#queue-tile-held").click()
    expect(admin).to_have_url(re.compile(r"/email/\?state=held$"))
    expect(admin.locator("#result_list tbody tr")).to_have_count(1)


def test_an_empty_queue_is_calm(admin: Page, shoot: Shoot) -> None:
    admin.goto(PAGE)
    expect(admin.locator("#queue-ages + p")).to_have_text("No mail waits.")
    shoot(admin, "queue-empty")


def test_mail_without_a_sender_is_told_first(admin: Page, shoot: Shoot) -> None:
    make_senders(seen_ago=5 * MINUTE)
    make_mail()
    admin.goto(PAGE)
    expect(admin.locator("#queue-alarm")).to_contain_text("no sender is alive")
    shoot(admin, "queue-no-sender")


def test_a_backend_is_paused_and_resumed_from_the_page(admin: Page, shoot: Shoot) -> None:
    BackendHealth.objects.create(alias=canonical(""))
    admin.goto(PAGE)
    admin.get_by_role("link", name=f"Pause {canonical('')} …").click()
    admin.get_by_label("Why").fill("moving house")
    admin.get_by_role("button", name="Pause").click()
    expect(admin.locator(".messagelist")).to_contain_text("is paused")
    admin.goto(PAGE)
    expect(admin.locator(".queue-lines").first).to_contain_text("moving house")
    shoot(admin, "queue-paused")
    admin.get_by_role("button", name=f"Resume {canonical('')}").click()
    expect(admin.locator(".messagelist")).to_contain_text("is resumed")

    assert None is BackendHealth.objects.get().paused_at


def test_the_page_refreshes_itself_and_keeps_focus_scroll_and_what_is_open(admin: Page, screen: str) -> None:
    make_backends(), make_senders(), make_minutes(hours=1)
    admin.clock.install()
    admin.goto(PAGE)
    assert tile(admin, "waiting") == "0"
    admin.evaluate("window.isTheSame = true")
    admin.locator("#queue-table-summary").click()
    admin.locator("#queue-span-day").focus()
    admin.evaluate("window.scrollTo(0, 300)")
    make_mail()
    admin.clock.fast_forward(EVERY)
    expect(admin.locator(".queue-tile-waiting strong")).to_have_text("1")

    assert [True, "queue-span-day", True, 300] == admin.evaluate(
        "[isTheSame, document.activeElement.id, document.getElementById('queue-table').open, scrollY]"
    )


def test_a_page_that_can_not_be_refreshed_says_so_until_it_can(admin: Page, shoot: Shoot) -> None:
    admin.clock.install()
    admin.goto(PAGE)
    admin.evaluate("window.realFetch = window.fetch; window.fetch = () => Promise.reject(new TypeError('away')); null")
    admin.clock.fast_forward(EVERY)
    expect(admin.locator("#queue-trouble")).to_contain_text("The server does not answer")
    shoot(admin, "queue-away")
    admin.evaluate("window.fetch = window.realFetch; null")
    admin.clock.fast_forward(EVERY)
    expect(admin.locator("#queue-trouble")).to_be_hidden()


def test_who_is_logged_out_meanwhile_is_told(admin: Page, admin_user: User) -> None:
    admin.clock.install()
    admin.goto(PAGE)
    admin_user.set_password("another")
    admin_user.save()
    admin.clock.fast_forward(EVERY)
    expect(admin.locator("#queue-trouble")).to_contain_text("You are logged out")


def test_a_page_that_nobody_looks_at_asks_for_nothing(admin: Page) -> None:
    admin.clock.install()
    # Hidden from the start: else it may be asking already, and then asks no second time when it is looked at.
    admin.add_init_script("""{
        Object.defineProperty(document, "hidden", {value: true, configurable: true});
        window.asked = 0;
        const real = window.fetch;
        window.fetch = (...given) => { window.asked += 1; return real(...given); };
    }""")
    admin.goto(PAGE)
    admin.clock.fast_forward(3 * EVERY)
    hidden = admin.evaluate("window.asked")
    # Asked in the same breath: a moment later it asks again.
    seen = admin.evaluate("""() => {
        delete document.hidden;
        document.dispatchEvent(new Event("visibilitychange"));
        return window.asked;
    }""")

    assert (0, 1) == (hidden, seen)


def test_who_reads_chinese_gets_it(admin: Page, shoot: Shoot) -> None:
    make_backends(), make_mails()
    admin.set_extra_http_headers({"Accept-Language": "zh-CN"})
    admin.goto(PAGE)
    expect(admin.locator("#queue-tile-waiting")).to_contain_text("等待中")
    shoot(admin, "queue-chinese")
    admin.goto("/admin/post_office/email/")
    admin.locator("#result_list .field-recipients a").first.click()
    expect(admin.locator("#mail-timeline-heading")).to_be_visible()
    shoot(admin, "mail-chinese")
