"""BODY_RETENTION_DAYS: what a mail said goes when its time is over; its history stays, and it never looks empty."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from post_office.models import STATUS, Attachment, Email, EmailTemplate
from pytest_django import Settings

import mailqueue
from mailqueue import send
from mailqueue.conf import RETAINED
from mailqueue.models import Attempt, AttemptOutcome, MailOptions, MessageSource, StopReason
from mailqueue.ops.contents import contents_of, why_hidden
from mailqueue.ops.mail_json import mail_as_json
from mailqueue.ops.mail_text import mail_lines
from mailqueue.ops.states import State, state_of, states_of
from mailqueue.ops.timeline import timeline_of
from mailqueue.outbox.messages import load_rows
from mailqueue.queue import drop as drop_module
from mailqueue.queue.drop import BEGINNING, Dropped, drop
from mailqueue.queue.purge import purge
from tests.support.secrets import SECRET, attach, keep_source, make_secret_mail, traces
from tests.support.situations import SITUATIONS, make_attempt, make_mail, stop_mail

pytestmark = pytest.mark.django_db

YEAR = timedelta(days=365)
OVER = {
    "sent": {State.SENT, State.PARTLY_SENT},
    "failed": {State.FAILED, State.EXPIRED},
    "cancelled": {State.CANCELLED},
}
PAGE = "admin:post_office_email_change"


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Settings) -> Path:
    settings.MEDIA_ROOT = str(tmp_path)
    return tmp_path


def dropped(*names: str, days: float = 30, **options: Any) -> list[Dropped]:
    before = timezone.now() - timedelta(days=days)
    return list(drop(endings=names or RETAINED, before=before, using="default", **options))


def count(found: list[Dropped]) -> int:
    return sum(one.count for one in found)


def age(*mails: Email, **ago: Any) -> None:
    Email.objects.filter(pk__in=[mail.pk for mail in mails]).update(last_updated=timezone.now() - timedelta(**ago))


def a_year_old(**fields: Any) -> Email:
    mail = make_mail(**{"status": STATUS.sent, **fields})
    age(mail, days=365)
    return mail


def emptied() -> set[int]:
    return set(Email.objects.filter(message="").values_list("pk", flat=True))


@pytest.mark.parametrize("name", RETAINED)
def test_only_what_ended_that_way_is_emptied(name: str) -> None:
    mails = [make() for make, _ in SITUATIONS.values()]
    age(*mails, days=365)
    found = {pk: status.state for pk, status in states_of(mails).items()}
    dropped(name)

    assert {pk for pk, state in found.items() if state in OVER[name]} == emptied()


def test_a_mail_that_was_sent_and_is_being_sent_again_keeps_what_it_says() -> None:
    mail = a_year_old()
    make_attempt(mail)
    dropped()

    assert set() == emptied()


def test_the_time_counts_from_when_it_ended() -> None:
    old, young = make_mail(status=STATUS.sent), make_mail(status=STATUS.sent)
    age(old, days=30, seconds=1)
    age(young, days=29, hours=23)
    dropped()

    assert {old.pk} == emptied()


def test_everything_that_it_said_is_gone_and_its_history_stays(django_capture_on_commit_callbacks: Any) -> None:
    mail = make_secret_mail(status=STATUS.failed)
    MailOptions.objects.all().delete()
    Email.objects.update(subject="Your order")
    keep_source(mail, message=SECRET.encode())
    _, file = attach(mail)
    attempt = make_attempt(mail, AttemptOutcome.FAILED, reply_code=550, reply="no such user")
    stop_mail(mail, StopReason.FAILED, note="550 no such user")
    age(mail, days=365)
    before = Email.objects.values("last_updated", "status", "to", "created", "message_id").get(), state_of(mail)
    with django_capture_on_commit_callbacks(execute=True):
        dropped()
    mail.refresh_from_db()

    assert (set(), False, "Your order") == (traces(), file.exists(), mail.subject)
    assert before == (
        Email.objects.values("last_updated", "status", "to", "created", "message_id").get(),
        state_of(mail),
    )
    assert {"date": "Sat, 21 Nov 2026 09:30:00 -0000", "Message-ID": "<1@example.com>"} == mail.headers
    assert (["jane@example.com"], attempt.reply) == (
        MessageSource.objects.get().recipients,
        Attempt.objects.get().reply,
    )


def test_the_subject_of_a_sensitive_mail_goes_too() -> None:
    mail = make_secret_mail(status=STATUS.failed)
    stop_mail(mail, StopReason.CANCELLED)
    age(mail, days=365)
    dropped()

    assert set() == traces()


def test_what_the_caller_asked_for_stays_and_what_was_wiped_keeps_its_time() -> None:
    mail, wiped = a_year_old(), a_year_old()
    long_ago = timezone.now() - YEAR
    MailOptions.objects.create(email=mail, ref="order 5", unknown_outcome="hold")
    MailOptions.objects.create(email=wiped, is_sensitive=True, wiped_at=long_ago)
    dropped()

    assert ("order 5", "hold") == MailOptions.objects.values_list("ref", "unknown_outcome").get(email=mail)
    assert long_ago == MailOptions.objects.get(email=wiped).wiped_at


def test_an_attachment_goes_with_the_last_mail_that_says_something(
    media: Path, django_capture_on_commit_callbacks: Any
) -> None:
    bill = {"bill.pdf": b"%PDF-1.7"}
    mails = [send("ann@example.com", subject="Bill", message="x", attachments=bill) for _ in range(2)]
    Email.objects.update(status=STATUS.sent)
    counts = []
    for mail in mails:
        assert mail is not None
        age(mail, days=40)
        with django_capture_on_commit_callbacks(execute=True):
            dropped()
        counts.append((Attachment.objects.count(), sum(path.is_file() for path in media.rglob("*"))))

    assert [(1, 1), (0, 0)] == counts


def test_any_number_goes_in_batches_and_nothing_twice() -> None:
    for _ in range(5):
        a_year_old()
    found = dropped(batch=2)

    assert ([2, 2, 1], 0) == ([one.count for one in found], count(dropped(batch=2)))


def test_who_goes_on_where_he_was_reads_nothing_a_second_time() -> None:
    for _ in range(3):
        a_year_old()
    place = dropped()[-1].place
    young = a_year_old()
    age(young, days=300)
    with CaptureQueriesContext(connection) as captured:
        found = dropped(after=place)

    assert ([1], True) == ([one.count for one in found], young.pk in emptied())
    assert 1 == sum("WITH looked" in entry["sql"] for entry in captured)


@pytest.mark.django_db(transaction=True)
def test_a_mail_on_which_somebody_acts_is_left_to_him_and_not_forgotten(database_url: str) -> None:
    first, second = a_year_old(), a_year_old()
    with psycopg.connect(database_url) as other:
        other.execute("SELECT FROM post_office_email WHERE id = %s FOR NO KEY UPDATE", [first.pk])
        found = dropped(batch=1)

        assert {second.pk} == emptied()
    assert BEGINNING == found[-1].place
    assert 1 == count(dropped(after=found[-1].place))


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_is_queued_again_in_the_moment_keeps_what_it_says(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = a_year_old()
    with psycopg.connect(database_url, autocommit=True) as other:
        real = drop_module._drop_free

        def later(*args: Any, **options: Any) -> tuple[int, bool]:
            other.execute("UPDATE post_office_email SET status = 2 WHERE id = %s", [mail.pk])
            return real(*args, **options)

        monkeypatch.setattr(drop_module, "_drop_free", later)
        found = dropped()

    assert (0, set(), STATUS.queued) == (count(found), emptied(), Email.objects.get().status)


@pytest.mark.django_db(transaction=True)
def test_an_attachment_that_somebody_uses_at_this_moment_puts_its_mail_off_and_no_other(database_url: str) -> None:
    first, second = a_year_old(), a_year_old()
    attachment, _ = attach(first)
    with psycopg.connect(database_url) as other:
        other.execute("SELECT FROM post_office_attachment WHERE id = %s FOR UPDATE", [attachment.pk])
        found = dropped()

        assert ({second.pk}, BEGINNING) == (emptied(), found[-1].place)


def refuse_updates_of(mail: Email) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF OLD.id = {mail.pk} THEN RAISE EXCEPTION 'mine'; END IF; RETURN NEW; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON post_office_email FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse()"
        )


def test_a_mail_that_can_not_be_changed_keeps_no_other() -> None:
    mails = [a_year_old() for _ in range(3)]
    refuse_updates_of(mails[1])
    found = dropped()

    assert ({mails[0].pk, mails[2].pk}, 2) == (emptied(), count(found))
    assert BEGINNING != found[-1].place


def test_the_databases_own_trouble_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("the connection is lost")

    a_year_old()
    monkeypatch.setattr(drop_module, "drop_contents", fail)
    with pytest.raises(OperationalError):
        dropped()


def test_what_is_over_is_found_along_the_index_of_times() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status,
                   priority, created, last_updated, backend_alias)
               SELECT 'a@x', 'b@y', '', '', 's', '', '', 0, 1, now(), now() - n * interval '1 min', ''
               FROM generate_series(1, 30000) n"""
        )
        cursor.execute(
            """INSERT INTO mailqueue_mailoptions (email_id, ref, is_sensitive, unknown_outcome, wiped_at)
               SELECT id, '', false, '', now() FROM post_office_email"""
        )
        cursor.execute("ANALYZE post_office_email; ANALYZE mailqueue_mailoptions")
    with CaptureQueriesContext(connection) as captured:
        dropped(days=1, batch=500)
    look = next(entry["sql"] for entry in captured if "WITH looked" in entry["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {look}")
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert [] == [table for table in ("post_office_email", "mailqueue_mailoptions") if f"Seq Scan on {table}" in plan]


# What people are told


def test_the_page_says_when_and_why_it_was_dropped_and_shows_no_empty_text(admin_client: Client) -> None:
    mail = a_year_old(html_message="<p>x</p>")
    dropped()
    page = admin_client.get(reverse(PAGE, args=[mail.pk])).content.decode()

    assert "The text, headers and attachments of this mail were dropped at 20" in page
    assert (True, True) == ("BODY_RETENTION_DAYS" in page, "Your order" in page)
    assert [] == [name for name in ("field-body", "field-html_preview", "field-headers") if name in page]
    assert 404 == admin_client.get(reverse("admin:post_office_email_preview", args=[mail.pk])).status_code


def test_the_list_shows_its_subject_and_of_one_that_was_rendered_on_delivery_the_templates(
    admin_client: Client,
) -> None:
    template = EmailTemplate.objects.create(name="hello", subject="Hello {{ name }}", content="x")
    a_year_old(subject="", message="", template=template, context={"name": "Ann"})
    a_year_old()
    dropped()
    page = admin_client.get(reverse("admin:post_office_email_changelist")).content.decode()

    assert (True, True) == ("Hello {{ name }}" in page, "Your order" in page)


def test_it_can_not_be_queued_again_and_whoever_tries_is_told_why(admin_client: Client) -> None:
    mail = a_year_old(status=STATUS.failed)
    dropped()
    data = {"action": "requeue_selected", "index": "0", "confirmed": "1", ACTION_CHECKBOX_NAME: [str(mail.pk)]}
    response = admin_client.post(reverse("admin:post_office_email_changelist"), data, follow=True)

    assert [] == mailqueue.requeue(mail)
    assert "1 mail is left as it is: what it said is no longer kept." in " ".join(
        map(str, response.context["messages"])
    )


def test_programs_and_people_at_a_terminal_are_told_too() -> None:
    mail = a_year_old()
    dropped()
    loaded = load_rows([mail.pk], using="default")[mail.pk]
    text = "\n".join(mail_lines(loaded, state_of(mail), timeline_of(mail)))
    found = mail_as_json(loaded, state_of(mail), timeline_of(mail))

    assert (True, True) == ("were dropped at" in text, "Your order" in text)
    assert ("Your order", True) == (found["subject"], found["content_dropped_at"] is not None)
    assert ("Your order", "", "") == (
        contents_of(loaded).subject,
        contents_of(loaded).text,
        contents_of(loaded).problem,
    )
    assert "were dropped at" in why_hidden(loaded)


def test_it_is_deleted_in_the_end_as_any_other() -> None:
    a_year_old()
    dropped()
    purged = sum(one.count for one in purge(endings=["sent"], before=timezone.now(), using="default"))

    assert (1, 0, 0) == (purged, Email.objects.count(), MailOptions.objects.count())
