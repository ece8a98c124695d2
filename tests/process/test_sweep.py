"""The sweep: files of writers that were killed go, and nothing else does."""

import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.mail import EmailMessage
from django.db import connections
from post_office.models import Attachment
from pytest_django import Settings

from mailqueue.outbox import sweep as sweep_module
from mailqueue.outbox import tags
from mailqueue.outbox.sweep import sweep
from mailqueue.queue import attachments as attachment_queries
from mailqueue.sender.sweeper import Sweeper
from tests.support.processes import running
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

LATER = timedelta(days=5)
WRITER = """
import threading
import django
django.setup()
from django.core.mail import EmailMessage
from django.db import transaction
message = EmailMessage("Hi", "x", "shop@example.com", ["jane@example.com"])
message.attach("lost.pdf", b"lost", "application/pdf")
with transaction.atomic():
    message.send()
    print("written", flush=True)
    threading.Event().wait()
"""
BUSY_SWEEPER = """
import functools
import django
django.setup()
from django.core.management import call_command
from mailqueue.sender import loop
loop.Sweeper = functools.partial(loop.Sweeper, first_after=0.05, every=0.05)
call_command("send_queued_mail")
"""


ENDLESS = """from mailqueue.sender import loop
import threading
from django.core.files.storage import FileSystemStorage
def listdir(self, path):
    print("listing", flush=True)
    threading.Event().wait()
FileSystemStorage.listdir = listdir
"""


def environment(database_url: str, media: Path) -> dict[str, str | None]:
    state = json.dumps({"STATE_DIR": str(media.parent / "state")})
    return {"DATABASE_URL": database_url, "MEDIA_ROOT": str(media), "MAILQUEUE_JSON": state}


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path, queueing: None) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


def files(media: Path) -> set[str]:
    return {path.read_text() for path in media.rglob("*") if path.is_file()}


def in_five_days() -> datetime:
    return datetime.now(UTC) + LATER


def send(content: bytes) -> None:
    EmailMessage(
        "Hi", "x", "shop@example.com", ["jane@example.com"], attachments=[("bill.pdf", content, "application/pdf")]
    ).send()


def leave_file(media: Path, *, folder: str = "", name: str = "", content: str = "lost") -> Path:
    """Leave a file as a killed writer does: tagged, and named by no row."""
    send(content.encode())
    row = Attachment.objects.latest("pk")
    written = media / row.file.name
    row.emails.all().delete()
    row.delete()
    path = (media / folder if folder else written.parent) / (name or written.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return written.rename(path)


def test_the_file_of_a_killed_writer_is_removed_and_all_others_stay(database_url: str, media: Path) -> None:
    with running(sys.executable, "-c", WRITER, env=environment(database_url, media)) as writer:
        writer.wait_for("written")
        writer.stop(signal.SIGKILL)
    send(b"committed")
    today = media / Attachment.objects.get().file.name
    today.with_name(f"{uuid4().hex}-{'0' * 12}.pdf").write_text("another database's")
    today.with_name(f"{uuid4().hex}.pdf").write_text("post_office's")
    assert "lost" in files(media)

    assert sweep(using="default", now=in_five_days()) == 1
    assert {"committed", "another database's", "post_office's"} == files(media)


def test_a_file_that_a_transaction_may_still_commit_stays(media: Path) -> None:
    leave_file(media)

    assert (0, {"lost"}) == (sweep(using="default"), files(media))


@pytest.mark.parametrize(("hours", "expected"), [(83, 0), (85, 1)])
def test_a_day_is_old_48_hours_after_it_has_ended_everywhere(hours: int, expected: int, media: Path) -> None:
    path = leave_file(media, folder="post_office_attachments/2024/2/29")
    os.utime(path, (0, 0))

    assert expected == sweep(using="default", now=datetime(2024, 2, 29, tzinfo=UTC) + timedelta(hours=hours))


def test_a_file_that_was_written_lately_stays_whatever_its_folder_says(media: Path) -> None:
    leave_file(media, folder="post_office_attachments/2024/2/29")

    assert sweep(using="default") == 0


@pytest.mark.parametrize(
    "where",
    [
        {"folder": "elsewhere/2024/2/29"},
        {"folder": "post_office_attachments/2024/2"},
        {"folder": "post_office_attachments/2024/2/30"},
        {"folder": "post_office_attachments/2024/feb/1"},
        {"folder": "post_office_attachments/2024/2/29", "name": "notes.pdf"},
    ],
    ids=str,
)
def test_what_does_not_look_like_ours_stays(where: dict[str, str], media: Path) -> None:
    leave_file(media, **where)

    assert (0, {"lost"}) == (sweep(using="default", now=in_five_days()), files(media))


def test_a_storage_that_was_never_written_to_is_swept_without_complaint() -> None:
    assert sweep(using="default", now=in_five_days()) == 0


def test_a_file_of_a_database_that_does_not_say_who_it_is_stays(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_file(media)
    monkeypatch.setattr(tags, "_clusters", {})
    monkeypatch.setattr(attachment_queries, "CLUSTER", "SELECT system_identifier FROM pg_control_missing()")

    assert (0, {"lost"}) == (sweep(using="default", now=in_five_days()), files(media))


def test_many_files_are_asked_for_in_batches(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        leave_file(media, content=f"lost {number}")
        send(f"committed {number}".encode())
    monkeypatch.setattr(sweep_module, "BATCH", 2)

    assert sweep(using="default", now=in_five_days()) == 3
    assert {f"committed {number}" for number in range(3)} == files(media)


class NothingToList(FileSystemStorage):
    """A storage that can't list its files."""

    def listdir(self, path: str) -> Any:
        raise NotImplementedError


class Timeless(FileSystemStorage):
    """A storage that does not know when a file was written."""

    def get_modified_time(self, name: str) -> Any:
        raise NotImplementedError


class Stubborn(FileSystemStorage):
    """A storage that does not let go of the first of its files, and finds another one gone."""

    def listdir(self, path: str) -> Any:
        folders, names = super().listdir(path)
        return folders, sorted(names, key=lambda name: self._content(f"{path}/{name}") != "stubborn")

    def delete(self, name: str) -> None:
        content = self._content(name)
        if content == "stubborn":
            raise PermissionError(name)
        if content == "gone":
            raise FileNotFoundError(name)
        super().delete(name)

    def _content(self, name: str) -> str:
        return Path(self.path(name)).read_text()


def use(settings: Settings, storage: type) -> None:
    path = f"{storage.__module__}.{storage.__name__}"
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": path}}


@pytest.mark.parametrize(("storage", "expected"), [(NothingToList, 0), (Timeless, 1)])
def test_a_storage_that_can_do_less_is_swept_as_far_as_it_can(
    storage: type, expected: int, settings: Settings, media: Path
) -> None:
    leave_file(media)
    use(settings, storage)

    assert expected == sweep(using="default", now=in_five_days())


def test_a_file_that_cannot_be_removed_keeps_no_other(settings: Settings, media: Path) -> None:
    for content in ("stubborn", "lost"):
        leave_file(media, content=content)
    use(settings, Stubborn)
    with pytest.raises(PermissionError):
        sweep(using="default", now=in_five_days())

    assert {"stubborn"} == files(media)


def test_a_file_that_another_sweep_has_removed_is_no_failure(settings: Settings, media: Path) -> None:
    for content in ("gone", "lost"):
        leave_file(media, content=content)
    use(settings, Stubborn)

    assert sweep(using="default", now=in_five_days()) == 1


# In the sender


@pytest.fixture
def sweeper(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level("INFO", "mailqueue.sender")
    sweeper = Sweeper(using="default", first_after=0.01, every=0.01)
    yield sweeper
    sweeper.stop()
    sweeper._thread.join(10)


def leave_old_file(media: Path) -> Path:
    day = datetime.now(UTC) - LATER
    path = leave_file(media, folder=f"post_office_attachments/{day.year}/{day.month}/{day.day}")
    os.utime(path, (0, 0))
    return path


def session_count() -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND backend_type = 'client backend'"""
        )
        return int(cursor.fetchone()[0])


class Broken(FileSystemStorage):
    """A storage that is away."""

    def listdir(self, path: str) -> Any:  # noqa: ARG002 - Django's signature
        raise RuntimeError("The storage is away.\nTry again later.")


def test_a_sweeper_removes_says_how_many_and_keeps_no_connection(
    sweeper: Sweeper, media: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_old_file(media)
    before = session_count()
    sweeper.start()
    wait_until(lambda: "attachments.swept" in caplog.messages, what="the sweep")
    sweeper.stop()
    sweeper._thread.join(10)

    (swept,) = (record for record in caplog.records if record.message == "attachments.swept")
    assert ({"count": 1}, set()) == (swept.fields, files(media))
    wait_until(lambda: session_count() <= before, what="the end of the sweeper's session")


def test_a_sweeper_survives_what_a_storage_raises(
    sweeper: Sweeper, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    use(settings, Broken)
    sweeper.start()
    wait_until(lambda: caplog.messages.count("sweep.failed") > 1, what="a second failure")

    failed = next(record for record in caplog.records if record.message == "sweep.failed")
    assert ("WARNING", {"error": "RuntimeError", "text": "The storage is away."}) == (failed.levelname, failed.fields)


def test_a_process_does_not_wait_for_a_sweep(database_url: str, media: Path) -> None:
    leave_old_file(media)
    script = BUSY_SWEEPER.replace("from mailqueue.sender import loop", ENDLESS)
    with running(sys.executable, "-c", script, env=environment(database_url, media)) as sender:
        sender.wait_for("listing")

        assert sender.stop() == 0


def test_a_sender_sweeps(database_url: str, media: Path) -> None:
    path = leave_old_file(media)
    with running(sys.executable, "-c", BUSY_SWEEPER, env=environment(database_url, media)) as sender:
        sender.wait_for("attachments.swept count=1")

        assert sender.stop() == 0
    assert not path.exists()
