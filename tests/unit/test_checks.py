"""System checks: what cannot work is an Error, what a site may still be about to do is a Warning."""

from typing import Any

import django
import pytest
from django.apps import apps
from django.core.checks import ERROR, WARNING, CheckMessage, run_checks
from django.db import connections
from post_office.models import PRIORITY
from pytest_django import Settings

from mailqueue.delivery.backends import canonical
from tests.support.outbox import queueing

__all__ = ["queueing"]
pytestmark = pytest.mark.usefixtures("queueing")


def found(**arguments: Any) -> dict[str, CheckMessage]:
    return {message.id: message for message in run_checks(**arguments) if message.id.startswith("mailqueue.")}


def test_the_site_has_nothing_to_complain_of() -> None:
    assert {} == found()


def test_a_bad_setting_is_an_error_with_key_value_and_remedy(settings: Settings) -> None:
    settings.MAILQUEUE = {"CONCURRENCY": 0}
    message = found()["mailqueue.E001"]

    assert (ERROR, 'MAILQUEUE["CONCURRENCY"] 0 is not allowed.', "Set it to a whole number of at least 1.") == (
        message.level,
        message.msg,
        message.hint,
    )


def test_post_office_before_mailqueue_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = sorted(apps.get_app_configs(), key=lambda config: config.name != "post_office")
    monkeypatch.setattr(apps, "get_app_configs", lambda: configs)

    assert ERROR == found()["mailqueue.E002"].level


def point_to(settings: Settings, queueing_path: str, delivering_path: str) -> None:
    """Configure both backends as the running version of Django does."""
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": queueing_path}, "smtp": {"BACKEND": delivering_path}}
        settings.POST_OFFICE = {"DEFAULT_MAILER": "smtp"}
    else:
        settings.EMAIL_BACKEND = queueing_path
        settings.POST_OFFICE = {"BACKENDS": {"default": delivering_path}}


CONSOLE = "django.core.mail.backends.console.EmailBackend"


@pytest.mark.parametrize("path", [CONSOLE, "nowhere.Backend"])
def test_another_email_backend_is_a_warning(path: str, settings: Settings) -> None:
    point_to(settings, path, CONSOLE)

    assert WARNING == found()["mailqueue.W001"].level


def test_the_mailbox_in_memory_of_django_s_test_runner_is_no_mistake_of_the_site(settings: Settings) -> None:
    point_to(settings, "django.core.mail.backends.locmem.EmailBackend", CONSOLE)

    assert "mailqueue.W001" not in found()


@pytest.mark.parametrize("path", ["mailqueue.EmailBackend", "mailqueue.outbox.backend.EmailBackend"])
def test_our_backend_is_known_by_any_path(path: str, settings: Settings) -> None:
    point_to(settings, path, CONSOLE)

    assert {} == found()


@pytest.mark.parametrize("path", ["mailqueue.EmailBackend", "post_office.EmailBackend"])
def test_a_delivering_backend_that_queues_is_an_error(path: str, settings: Settings) -> None:
    point_to(settings, "mailqueue.EmailBackend", path)

    assert "mailqueue.E004" in found()


def test_without_a_default_delivering_backend_there_is_an_error(settings: Settings) -> None:
    if django.VERSION >= (6, 1):
        settings.POST_OFFICE = {"DEFAULT_MAILER": "nowhere"}
    else:
        settings.POST_OFFICE = {"BACKENDS": {"other": CONSOLE}}

    assert ERROR == found()["mailqueue.E003"].level


@pytest.mark.skipif(django.VERSION >= (6, 1), reason="MAILERS is never without a backend")
def test_a_site_that_names_no_delivering_backend_at_all_is_told_so(settings: Settings) -> None:
    settings.POST_OFFICE = {}

    assert {"mailqueue.E003"} == set(found())


def test_post_offices_own_celery_sender_is_a_warning(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "CELERY_ENABLED": True}

    assert WARNING == found()["mailqueue.W002"].level


def test_settings_of_post_office_that_are_not_followed_are_named(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "MAX_RETRIES": 3, "BATCH_SIZE": 5}
    message = found()["mailqueue.W003"]

    assert (WARNING, True) == (message.level, "BATCH_SIZE, MAX_RETRIES" in message.msg)


@pytest.mark.parametrize("priority", ["now", PRIORITY.now])
def test_a_default_priority_by_which_post_office_sends_itself_is_a_warning(priority: Any, settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "DEFAULT_PRIORITY": priority}
    message = found()["mailqueue.W007"]

    assert (WARNING, 'Set POST_OFFICE["DEFAULT_PRIORITY"] = "high".') == (message.level, message.hint)


@pytest.mark.django_db
def test_a_database_that_has_everything_passes() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("REINDEX INDEX mailqueue_lane")  # other tests leave it bloated, which is warned of

    assert {} == found(databases=["default"])


@pytest.mark.django_db
def test_a_missing_lane_index_is_a_warning_with_the_command_to_type() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("DROP INDEX mailqueue_lane")
    message = found(databases=["default"])["mailqueue.W004"]

    assert (WARNING, True) == (message.level, "migrate mailqueue 0003" in message.hint)


@pytest.mark.django_db
def test_a_database_without_skip_locked_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "pg_version", 130_000)

    assert ERROR == found(databases=["default"], tags=["database"])["mailqueue.E005"].level


def test_a_class_that_cannot_be_imported_is_an_error(settings: Settings) -> None:
    point_to(settings, "mailqueue.EmailBackend", "django.core.mail.backends.smpt.EmailBackend")
    message = found()["mailqueue.E007"]

    assert (ERROR, True) == (message.level, "smpt" in message.msg)


def test_a_site_without_post_office_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [config for config in apps.get_app_configs() if config.name != "post_office"]
    monkeypatch.setattr(apps, "get_app_configs", lambda: configs)

    assert 'INSTALLED_APPS lacks "post_office", whose tables hold the mail.' == found()["mailqueue.E002"].msg


@pytest.mark.parametrize(("folder", "expected"), [("", True), ("media", True), ("/srv/media", False)])
def test_attachments_in_a_relative_folder_are_a_warning(folder: str, expected: bool, settings: Settings) -> None:
    settings.MEDIA_ROOT = folder

    assert expected == ("mailqueue.W005" in found())


@pytest.mark.parametrize(
    ("media_url", "location", "expected"),
    [
        ("", "/srv/media/mail", False),
        ("/media/", "/srv/media/mail", True),
        ("/media/", "/srv/media", True),
        ("/media/", "/srv/mail", False),
        ("https://cdn.example.com/", "/srv/media", True),
    ],
)
def test_attachments_where_uploads_are_served_from_are_a_warning_before_a_deployment(
    media_url: str, location: str, expected: bool, settings: Settings
) -> None:
    settings.MEDIA_URL, settings.MEDIA_ROOT = media_url, "/srv/media"
    storage = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": location}}
    settings.STORAGES = {**settings.STORAGES, "mail": storage}
    settings.POST_OFFICE = {**settings.POST_OFFICE, "FILE_STORAGE": "mail"}

    assert (False, expected) == (
        "mailqueue.W006" in found(),
        "mailqueue.W006" in found(include_deployment_checks=True),
    )


@pytest.mark.parametrize("backend", ["InMemoryStorage", "FileSystemStorage"])
def test_a_storage_of_another_kind_or_no_folder_of_uploads_is_none_of_that_warning(
    backend: str, settings: Settings
) -> None:
    settings.MEDIA_URL, settings.MEDIA_ROOT = "/media/", "/srv/media" if backend == "InMemoryStorage" else ""
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"django.core.files.storage.{backend}"}}

    assert "mailqueue.W006" not in found(include_deployment_checks=True)


def test_a_setting_that_is_no_dict_is_named_plainly(settings: Settings) -> None:
    settings.MAILQUEUE = [1]

    assert "MAILQUEUE [1] is not a dict." == found()["mailqueue.E001"].msg


RULES = [{"codes": [550], "then": "retry"}]


@pytest.mark.parametrize(
    ("key", "value"), [("RATE_LIMITS", {"typo": {"per_second": 1}}), ("REPLY_RULES", {"typo": RULES, "*": RULES})]
)
def test_what_is_said_of_a_backend_that_nobody_configured_is_a_warning(
    key: str, value: Any, settings: Settings
) -> None:
    point_to(settings, "mailqueue.EmailBackend", CONSOLE)
    settings.MAILQUEUE = {key: value}
    (message,) = [message for message in run_checks() if message.id == "mailqueue.W008"]
    default = "smtp" if django.VERSION >= (6, 1) else "default"

    assert (WARNING, f'MAILQUEUE["{key}"] names the backend "typo", which is not configured: nobody heeds it.') == (
        message.level,
        message.msg,
    )
    assert f'Name one of these: "{default}".' == message.hint


@pytest.mark.parametrize("alias", ["", None])
def test_what_is_said_of_a_configured_backend_or_of_the_default_one_is_no_warning(
    alias: str | None, settings: Settings
) -> None:
    point_to(settings, "mailqueue.EmailBackend", CONSOLE)
    named = canonical("") if alias is None else alias
    settings.MAILQUEUE = {"RATE_LIMITS": {named: {"per_second": 1}}, "REPLY_RULES": {named: RULES, "*": RULES}}

    assert {} == found()


def test_all_backends_have_no_limits_in_common(settings: Settings) -> None:
    settings.MAILQUEUE = {"RATE_LIMITS": {"*": {"per_second": 1}}}

    assert '"*"' in found()["mailqueue.W008"].msg


@pytest.mark.parametrize("value", [["typo"], {"typo": 5}])
def test_a_value_that_is_not_allowed_is_one_error_and_no_warning(value: Any, settings: Settings) -> None:
    settings.MAILQUEUE = {"RATE_LIMITS": value}

    assert {"mailqueue.E001"} == set(found())
