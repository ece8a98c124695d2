"""Retention: a sender deletes mail whose time is over while it sends, and nothing else."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from post_office.models import STATUS, Email

from tests.support.processes import running
from tests.support.senders import wait_until_alive
from tests.support.situations import make_mail

pytestmark = pytest.mark.django_db(transaction=True)

BUSY_PURGER = """
import functools
import django
django.setup()
from django.core.management import call_command
from mailqueue.sender import loop
loop.Purger = functools.partial(loop.Purger, first_after=0.05, every=0.05)
call_command("send_queued_mail")
"""


def environment(database_url: str, folder: Path, **mailqueue: object) -> dict[str, str | None]:
    return {
        "DATABASE_URL": database_url,
        "MAILQUEUE_JSON": json.dumps({"STATE_DIR": str(folder / "state"), **mailqueue}),
    }


def old(status: int) -> Email:
    mail = make_mail(status=status, scheduled_time=timezone.now() + timedelta(days=1))
    Email.objects.filter(pk=mail.pk).update(last_updated=timezone.now() - timedelta(days=31))
    return mail


def left() -> set[int]:
    return set(Email.objects.values_list("pk", flat=True))


def test_a_sender_deletes_what_is_over_and_says_how_much(database_url: str, tmp_path: Path) -> None:
    old(STATUS.sent)
    kept = {old(STATUS.queued).pk, old(STATUS.failed).pk, make_mail(status=STATUS.sent).pk}
    given = environment(database_url, tmp_path, RETENTION_DAYS={"sent": 30})
    with running(sys.executable, "-c", BUSY_PURGER, env=given) as sender:
        sender.wait_for("mails.purged outcome=sent count=1")

        assert sender.stop() == 0
    assert kept == left()


def test_a_purge_that_fails_is_told_and_tried_again(database_url: str, tmp_path: Path) -> None:
    old(STATUS.sent)
    broken = BUSY_PURGER.replace(
        "loop.Purger =",
        "from mailqueue.sender import purger\n"
        "def fail(**_):\n"
        "    purger.purge = real\n"
        "    raise OSError('no disk')\n"
        "real, purger.purge = purger.purge, fail\n"
        "loop.Purger =",
    )
    given = environment(database_url, tmp_path, RETENTION_DAYS=30)
    with running(sys.executable, "-c", broken, env=given) as sender:
        sender.wait_for("purge.failed error=OSError")
        sender.wait_for("mails.purged")

        assert sender.stop() == 0
    assert set() == left()


def test_without_the_setting_nothing_is_ever_deleted(database_url: str, tmp_path: Path) -> None:
    kept = {old(STATUS.sent).pk}
    with running(sys.executable, "-c", BUSY_PURGER, env=environment(database_url, tmp_path)) as sender:
        wait_until_alive()

        assert sender.stop() == 0
    assert kept == left()
