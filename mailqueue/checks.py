"""System checks: an Error only for what cannot work; a site may install the app before it switches to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.core.files.storage import FileSystemStorage
from django.db import connections, router
from django.urls import get_script_prefix
from post_office import settings as post_office
from post_office.models import PRIORITY, Email

from mailqueue.conf import problems
from mailqueue.models import Attempt

OLDEST_POSTGRES = 14
IGNORED = (
    "MAX_RETRIES",
    "RETRY_INTERVAL",
    "BATCH_SIZE",
    "THREADS_PER_PROCESS",
    "BATCH_DELIVERY_TIMEOUT",
    "SENDING_ORDER",
)


@register(Tags.compatibility)
def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """mailqueue.E001: a key of MAILQUEUE is unknown, or its value is not allowed."""
    return [
        Error(f"{problem.name} {problem.message}", hint=problem.remedy, id="mailqueue.E001")
        for problem in problems(getattr(settings, "MAILQUEUE", {}))
    ]


@register(Tags.compatibility)
def check_app_order(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """mailqueue.E002: post_office is missing, or comes first, so that its command and its admin win."""
    names = [config.name for config in apps.get_app_configs()]
    if "post_office" not in names:
        return [
            Error(
                'INSTALLED_APPS lacks "post_office", whose tables hold the mail.',
                hint='Put "post_office" behind "mailqueue".',
                id="mailqueue.E002",
            )
        ]
    if names.index("mailqueue") < names.index("post_office"):
        return []
    return [
        Error(
            'INSTALLED_APPS names "post_office" before "mailqueue", so that post_office\'s command would run.',
            hint='Put "mailqueue" before "post_office".',
            id="mailqueue.E002",
        )
    ]


@register(Tags.files)
def check_attachments(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """mailqueue.W005: attachments go to a folder that depends on where a process was started."""
    storage = post_office.get_file_storage()
    if not isinstance(storage, FileSystemStorage) or Path(storage.base_location or "").is_absolute():
        return []
    return [
        Caution(
            f'Attachments are stored in "{storage.base_location}", which is relative to the folder that a process was '
            "started in: a sender that was started elsewhere does not find them, and fails the mail.",
            hint="Set MEDIA_ROOT to an absolute path that the site and all senders share.",
            id="mailqueue.W005",
        )
    ]


@register(Tags.files, deploy=True)
def check_privacy(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """mailqueue.W006: attachments lie where the web server serves what users uploaded."""
    storage = post_office.get_file_storage()
    is_served = settings.MEDIA_URL not in ("", get_script_prefix())  # what Django makes of an empty one
    if not isinstance(storage, FileSystemStorage) or not is_served or not settings.MEDIA_ROOT:
        return []
    if not Path(storage.location).resolve().is_relative_to(Path(settings.MEDIA_ROOT).resolve()):
        return []
    return [
        Caution(
            f'Attachments are stored in "{storage.location}", inside MEDIA_ROOT, which is served under '
            f'"{settings.MEDIA_URL}": whoever learns the address of a customer\'s invoice can read it.',
            hint='Name an entry of STORAGES in POST_OFFICE["FILE_STORAGE"] that has a "location" outside MEDIA_ROOT.',
            id="mailqueue.W006",
        )
    ]


@register(Tags.compatibility)
def check_post_office(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """mailqueue.W002, W003, W007: settings of post_office that get in the way, or that mailqueue does not follow."""
    found: list[CheckMessage] = []
    if post_office.get_celery_enabled():
        found.append(
            Caution(
                'POST_OFFICE["CELERY_ENABLED"] is on: post_office\'s Celery task sends mail beside our sender, '
                "without its claims, so that a mail may go out twice.",
                hint='Remove POST_OFFICE["CELERY_ENABLED"] and run `python manage.py send_queued_mail`.',
                id="mailqueue.W002",
            )
        )
    if ignored := sorted(set(IGNORED) & set(post_office.get_config())):
        found.append(
            Caution(
                f"mailqueue does not follow these settings of POST_OFFICE: {', '.join(ignored)}.",
                hint="Remove them; MAILQUEUE has RETRY_DELAYS, GIVE_UP_AFTER and CONCURRENCY.",
                id="mailqueue.W003",
            )
        )
    if post_office.get_default_priority() in ("now", PRIORITY.now):
        found.append(
            Caution(
                'POST_OFFICE["DEFAULT_PRIORITY"] is "now": post_office.mail.send sends by itself, inside the call and '
                "the transaction around it, and does not try again. Django's API and mailqueue.send queue.",
                hint='Set POST_OFFICE["DEFAULT_PRIORITY"] = "high".',
                id="mailqueue.W007",
            )
        )
    return found


@register(Tags.database)
def check_database(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """mailqueue.E005, E006, W004: the database can't do it, the tables are apart, the lane index is missing."""
    alias = router.db_for_write(Email)
    found: list[CheckMessage] = []
    if router.db_for_write(Attempt) != alias:
        found.append(
            Error(
                f'Mail is written to the database "{alias}", mailqueue\'s tables to "{router.db_for_write(Attempt)}".',
                hint='Let your database router treat the app "mailqueue" like "post_office".',
                id="mailqueue.E006",
            )
        )
    if alias not in (databases or ()):
        return found
    connection: Any = connections[alias]
    if connection.vendor != "postgresql" or connection.pg_version < OLDEST_POSTGRES * 10000:
        found.append(
            Error(
                f'The database "{alias}" is not PostgreSQL {OLDEST_POSTGRES} or newer; mailqueue needs its '
                "SELECT … FOR UPDATE SKIP LOCKED.",
                hint="Use a PostgreSQL that is still maintained, or route post_office and mailqueue to one.",
                id="mailqueue.E005",
            )
        )
    elif _lacks_lane_index(connection):
        found.append(
            Caution(
                "The lane index mailqueue_lane is missing or invalid: claims will scan the whole table of mails.",
                hint="Run `python manage.py migrate mailqueue 0003` and then `python manage.py migrate mailqueue`.",
                id="mailqueue.W004",
            )
        )
    return found


LANE_INDEX = """
SELECT to_regclass('post_office_email') IS NOT NULL AND to_regclass('mailqueue_attempt') IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_index WHERE indexrelid = to_regclass('mailqueue_lane') AND indisvalid)
"""


def _lacks_lane_index(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(LANE_INDEX)
        return bool(cursor.fetchone()[0])
