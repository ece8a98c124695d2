"""Retention: what is done with goes when its time is over, with all that is its own; what may still be sent stays."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.db.models import ProtectedError
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import STATUS, Attachment, Email, Log
from pytest_django import Settings

from mailqueue import send
from mailqueue.conf import RETAINED, configuration
from mailqueue.models import Attempt, AttemptOutcome, MailKey, MailState, StopReason
from mailqueue.ops.states import State, states_of
from mailqueue.queue import purge as purge_module
from mailqueue.queue.purge import purge, purge_attachments
from mailqueue.sender.purger import retention
from tests.support.locks import is_waited_for
from tests.support.situations import SITUATIONS, make_attempt, make_mail, stop_mail
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db

GONE = {
    "sent": {State.SENT, State.PARTLY_SENT},
    "failed": {State.FAILED, State.EXPIRED},
    "cancelled": {State.CANCELLED},
}
YEAR = timedelta(days=365)
LOOKING = 4711
"""An advisory lock."""


@pytest.fixture
def media(tmp_path: Path, settings: Settings) -> Path:
    settings.MEDIA_ROOT = str(tmp_path)
    return tmp_path


def everything() -> dict[State, list[Email]]:
    """A mail in every situation, all of a year ago."""
    mails = [make() for make, _ in SITUATIONS.values()]
    Email.objects.update(last_updated=timezone.now() - YEAR, created=timezone.now() - YEAR)
    found: dict[State, list[Email]] = {state: [] for state in State}
    for pk, status in states_of(mails).items():
        found[status.state].append(next(mail for mail in mails if mail.pk == pk))
    return found


def left() -> set[int]:
    return set(Email.objects.values_list("pk", flat=True))


def purge_all(*names: str, days: float = 30, **options: Any) -> int:
    before = timezone.now() - timedelta(days=days)
    return sum(purged.count for purged in purge(endings=names or RETAINED, before=before, using="default", **options))


def age(mail: Email, **ago: Any) -> None:
    Email.objects.filter(pk=mail.pk).update(last_updated=timezone.now() - timedelta(**ago))


@pytest.mark.parametrize("name", RETAINED)
def test_only_what_ended_that_way_goes(name: str) -> None:
    mails = everything()
    kept = {mail.pk for state in State if state not in GONE[name] for mail in mails[state]}
    purge_all(name)

    assert kept == left()


def test_nothing_that_may_still_be_sent_or_waits_for_a_person_ever_goes() -> None:
    mails = everything()
    over = set().union(*GONE.values())
    purge_all()

    assert {mail.pk for state in State if state not in over for mail in mails[state]} == left()


def test_a_mail_that_was_sent_and_is_being_sent_again_stays() -> None:
    mail = make_mail(status=STATUS.sent)
    make_attempt(mail)
    age(mail, days=40)
    purge_all()

    assert {mail.pk} == left()


def test_the_time_counts_from_when_it_ended() -> None:
    old, young = make_mail(status=STATUS.sent), make_mail(status=STATUS.sent)
    Email.objects.update(created=timezone.now() - YEAR)
    age(old, days=30, seconds=1)
    age(young, days=29, hours=23)
    purge_all()

    assert {young.pk} == left()


def test_what_belongs_to_a_mail_goes_with_it_and_its_key_stays() -> None:
    mail = send("ann@example.com", subject="Hi", message="x", key="order-1", sensitive=True)
    assert mail is not None
    Email.objects.update(status=STATUS.sent)
    make_attempt(mail, AttemptOutcome.SENT)
    stop_mail(mail, StopReason.FAILED)
    Log.objects.create(email=mail, status=STATUS.sent, message="ok")
    age(mail, days=40)
    purge_all()

    assert [0, 0, 0, 0] == [model._default_manager.count() for model in (Email, Attempt, MailState, Log)]
    assert None is MailKey.objects.get().email_id


def test_an_attachment_goes_with_its_last_mail(media: Path, django_capture_on_commit_callbacks: Any) -> None:
    bill = {"bill.pdf": b"%PDF-1.7"}
    first, second = (send("ann@example.com", subject="Bill", message="x", attachments=bill) for _ in range(2))
    assert first is not None
    assert second is not None
    Email.objects.update(status=STATUS.sent)
    age(first, days=40)
    with django_capture_on_commit_callbacks(execute=True):
        purge_all()
    shared = Attachment.objects.count(), len([path for path in media.rglob("*") if path.is_file()])
    age(second, days=40)
    with django_capture_on_commit_callbacks(execute=True):
        purge_all()

    assert ((1, 1), 0, []) == (
        shared,
        Attachment.objects.count(),
        [path for path in media.rglob("*") if path.is_file()],
    )


def test_any_number_goes_in_batches() -> None:
    for _ in range(5):
        age(make_mail(status=STATUS.sent), days=40)

    assert (5, set()) == (purge_all(batch=2), left())


@pytest.fixture
def protected() -> Iterator[set[int]]:
    """Mails that a project keeps from being deleted."""
    pks: set[int] = set()

    def refuse(instance: Email, **_: Any) -> None:
        if instance.pk in pks:
            raise ProtectedError("an invoice refers to it", {instance})

    pre_delete.connect(refuse, sender=Email)
    yield pks
    pre_delete.disconnect(refuse, sender=Email)


def test_a_mail_that_a_projects_row_protects_stays_and_keeps_no_other(protected: set[int]) -> None:
    mails = [make_mail(status=STATUS.sent) for _ in range(5)]
    for mail in mails:
        age(mail, days=40)
    protected |= {mails[0].pk, mails[2].pk}
    found = list(purge(endings=["sent"], before=timezone.now(), using="default", batch=2))

    assert (protected, 3, 2) == (left(), sum(one.count for one in found), sum(one.kept for one in found))


@pytest.mark.parametrize("error", [ValueError("a receiver"), ProgrammingError("RAISE EXCEPTION of a trigger")])
def test_whatever_a_project_says_to_one_mail_keeps_no_other(error: Exception) -> None:
    mails = [make_mail(status=STATUS.sent) for _ in range(3)]
    for mail in mails:
        age(mail, days=40)

    def refuse(instance: Email, **_: Any) -> None:
        if instance.pk == mails[0].pk:
            raise error

    pre_delete.connect(refuse, sender=Email)
    try:
        purge_all()
    finally:
        pre_delete.disconnect(refuse, sender=Email)

    assert {mails[0].pk} == left()


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_changes_while_it_is_being_found_is_looked_at_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = make_mail(status=STATUS.sent)
    Email.objects.update(created=timezone.now() - YEAR)
    # It waits while it looks, for a lock that the transaction's own lock_timeout would end.
    patient = "set_config('lock_timeout', '60s', true)"
    waiting = f"pg_advisory_xact_lock(CASE WHEN {patient} <> '' THEN {LOOKING} END) IS NOT NULL"
    monkeypatch.setattr(purge_module, "LOCK", purge_module.LOCK.replace("WHERE (", f"WHERE {waiting} AND (", 1))
    with psycopg.connect(database_url, autocommit=True) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT pg_advisory_lock(%s)", [LOOKING])
        counted = pool.submit(_purge_by_creation)
        wait_until(lambda: is_waited_for(other), what="a purge that is looking")
        other.execute("UPDATE post_office_email SET status = 1 WHERE id = %s", [mail.pk])
        other.execute(
            "INSERT INTO mailqueue_mailstate (email_id, reason, note, stopped_by, stopped_at)"
            " VALUES (%s, 'unknown', '', '', now())",
            [mail.pk],
        )
        other.execute("SELECT pg_advisory_unlock(%s)", [LOOKING])

        assert (0, {mail.pk}) == (counted.result(timeout=60), left())


def _purge_by_creation() -> int:
    try:
        return purge_all(by_creation=True)
    finally:
        connection.close()


def test_a_database_that_is_full_is_told_and_no_mail_is_counted_as_kept() -> None:
    mail = make_mail(status=STATUS.sent)
    age(mail, days=40)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION pg_temp.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER full_disk BEFORE DELETE ON post_office_email FOR EACH ROW EXECUTE FUNCTION pg_temp.full()"
        )
    with transaction.atomic(), pytest.raises(OperationalError, match="no space left"):
        purge_all("sent")

    assert {mail.pk} == left()


def test_one_attachment_that_a_project_needs_keeps_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        Attachment.objects.create(name=f"{number}", file=f"post_office_attachments/none-{number}")
    needed = Attachment.objects.order_by("pk").first()
    assert needed is not None
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE invoice (attachment_id int)")
        cursor.execute(
            "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF OLD.id IN (SELECT attachment_id FROM invoice) THEN"
            " RAISE EXCEPTION 'needed' USING ERRCODE = 'foreign_key_violation'; END IF;"
            " RETURN OLD; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE DELETE ON post_office_attachment"
            " FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse()"
        )
        cursor.execute("INSERT INTO invoice VALUES (%s)", [needed.pk])

    assert (2, [needed.pk]) == (
        sum(purge_attachments(using="default")),
        list(Attachment.objects.values_list("pk", flat=True)),
    )


@pytest.mark.django_db(transaction=True)
def test_a_mail_on_which_somebody_acts_is_left_to_him(database_url: str) -> None:
    first, second = (make_mail(status=STATUS.sent) for _ in range(2))
    for mail in (first, second):
        age(mail, days=40)
    with psycopg.connect(database_url) as other:
        other.execute("SELECT FROM post_office_email WHERE id = %s FOR NO KEY UPDATE", [first.pk])
        purge_all()

        assert {first.pk} == left()


def test_old_mail_is_found_without_reading_what_is_young() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status,
                   priority, created, last_updated, backend_alias)
               SELECT 'a@x', 'b@y', '', '', 's', '', '', 0, 1, now(), now(), '' FROM generate_series(1, 20000)"""
        )
        cursor.execute("ANALYZE post_office_email")
    age(make_mail(status=STATUS.sent), days=40)
    with CaptureQueriesContext(connection) as captured:
        purge_all("sent")
    find = next(entry["sql"] for entry in captured if "SKIP LOCKED" in entry["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {find}")
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Seq Scan on post_office_email" not in plan


# What the settings say


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {}),
        (90, dict.fromkeys(RETAINED, 90)),
        ({"sent": 0.5, "failed": None}, {"sent": 0.5}),
        ({}, {}),
    ],
)
def test_the_setting_says_how_long_for_each_way_to_end(given: Any, expected: Any, settings: Settings) -> None:
    settings.MAILQUEUE = {"RETENTION_DAYS": given}

    assert expected == retention(configuration().RETENTION_DAYS)


# cleanup_mail


def clean(**options: Any) -> tuple[str, str]:
    out, error = StringIO(), StringIO()
    call_command("cleanup_mail", stdout=out, stderr=error, **options)
    return out.getvalue(), error.getvalue()


def test_cleanup_mail_spares_what_may_still_be_sent_and_deletes_the_rest() -> None:
    mails = everything()
    spared = State.WAITING, State.SCHEDULED, State.SENDING, State.RETRYING, State.UNKNOWN, State.HELD
    text, _ = clean(days=90)

    assert {mail.pk for state in spared for mail in mails[state]} == left()
    assert f"Deleted {sum(map(len, mails.values())) - len(left())} mails created before" in text


def test_cleanup_mail_counts_from_when_a_mail_was_created() -> None:
    old, young = make_mail(status=STATUS.sent), make_mail(status=STATUS.sent)
    Email.objects.filter(pk=old.pk).update(created=timezone.now() - timedelta(days=91))
    clean()

    assert {young.pk} == left()


def test_cleanup_mail_deletes_attachments_of_nobody_when_it_is_told_to(media: Path) -> None:
    mail = send("ann@example.com", subject="Bill", message="x", attachments={"bill.pdf": b"%PDF-1.7"})
    assert mail is not None
    mail.delete()
    counts = []
    for is_told in (False, True):
        clean(delete_attachments=is_told)
        counts.append(Attachment.objects.count())

    assert [1, 0] == counts


def test_cleanup_mail_says_what_was_kept(protected: set[int]) -> None:
    mail = make_mail(status=STATUS.sent)
    Email.objects.update(created=timezone.now() - YEAR)
    protected.add(mail.pk)
    _, error = clean()

    assert ("1 mail was kept", {mail.pk}) == (error.partition(":")[0], left())


@pytest.mark.parametrize("options", [{"days": -1}, {"batch_size": 0}])
def test_cleanup_mail_refuses_nonsense(options: Any) -> None:
    with pytest.raises(CommandError, match="at least"):
        clean(**options)


def test_attachments_of_nobody_go_in_batches() -> None:
    for number in range(5):
        Attachment.objects.create(name=f"{number}", file=f"post_office_attachments/none-{number}")

    assert [2, 2, 1] == list(purge_attachments(using="default", batch=2))


def test_the_oldest_goes_first() -> None:
    old, older = (make_mail(status=STATUS.sent) for _ in range(2))
    age(old, days=40)
    age(older, days=50)
    batches = purge(endings=["sent"], before=datetime.now().astimezone(), using="default", batch=1)
    next(iter(batches))

    assert {old.pk} == left()
