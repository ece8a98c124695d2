"""A real browser: Chromium by Playwright, on a desktop and on a phone, with pictures of what it saw."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"
SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}

Shoot = Callable[[Page, str], None]

# On a busy machine a page takes its time: five seconds, as Playwright has it, are none.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing(f"There is no Chromium at {CHROMIUM}: install it, or set CHROMIUM to its path.")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread, which Django takes for an async caller.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=SCREENS)
def screen(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def context(browser: Browser, live_server: object, screen: str) -> Iterator[BrowserContext]:
    """A fresh visitor. Whatever the pages ask another host for, or write to the console, fails the test."""
    site = str(live_server)
    context = browser.new_context(base_url=site, **SCREENS[screen])  # type: ignore[arg-type]
    foreign: list[str] = []
    complaints: list[str] = []
    context.on("request", lambda request: request.url.startswith(site) or foreign.append(request.url))
    context.on("console", lambda line: is_expected(line) or complaints.append(line.text))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    assert (foreign, complaints) == ([], [])


def is_expected(line: ConsoleMessage) -> bool:
    """Whether a line of the console is no complaint: the sandbox at work, or the icon that Chromium asks for."""
    return (
        line.type != "error"
        or line.text.startswith("Blocked script execution")
        or line.location["url"].endswith("/favicon.ico")
    )


@pytest.fixture
def visitor(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def admin(context: BrowserContext, admin_user: User) -> Page:
    """A page of somebody who may do everything in the admin."""
    client = Client()
    client.force_login(admin_user)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "domain": "localhost", "path": "/"}])
    return context.new_page()


@pytest.fixture
def shoot(screen: str) -> Shoot:
    """Keep a picture of the whole page, and fail when the page is wider than the screen."""

    def take(page: Page, name: str) -> None:
        page.wait_for_load_state()  # a page whose style sheets are still to come may be of any width
        page.screenshot(path=SCREENSHOTS / f"{name}-{screen}.png", full_page=True)
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, f"{name} is {overflow} px wider than the screen"

    return take
