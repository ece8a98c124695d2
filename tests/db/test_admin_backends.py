"""Backends, refused addresses and senders in the admin: what a person sees, orders, and may not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.delivery.backends import canonical, configured_aliases
from mailqueue.models import BackendHealth, RefusedFrom, SenderProcess
from mailqueue.ops.backend_sentences import day_sentence, health_sentence, readable_number
from mailqueue.ops.backends import COUNTED_MAILS, Backend, Flow, Source, backends_in_the_way, count_queued
from mailqueue.ops.facts import readable_time
from mailqueue.ops.senders import Absence
from mailqueue.ops.states import state_of
from mailqueue.outbox import notice
from mailqueue.queue.health import introduce
from mailqueue.queue.pauses import allow, pause, resume
from tests.support.more_backends import configure_backends
from tests.support.situations import make_mail, stop_mail

pytestmark = pytest.mark.django_db

ALIAS = canonical("")
LIST = "admin:mailqueue_backendhealth_changelist"
PAGE = "admin:mailqueue_backendhealth_change"
PAUSE = "admin:mailqueue_backendhealth_pause"
RESUME = "admin:mailqueue_backendhealth_resume"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


def make_backend(**fields: Any) -> BackendHealth:
    return BackendHealth.objects.create(**{"alias": ALIAS, **fields})


def list_all() -> None:
    """Give every backend a row, as a sender does when it starts."""
    with connection.cursor() as cursor:
        introduce(cursor, configured_aliases())


def backend(**fields: Any) -> Backend:
    """What a row would say of a backend, read at one moment."""
    return Backend(BackendHealth(**{"alias": ALIAS, **fields}), NOW)


def page_of(client: Client, name: str = PAGE, alias: str = ALIAS) -> str:
    return client.get(reverse(name, args=[alias])).content.decode()


def messages_of(response: HttpResponse) -> str:
    return " ".join(str(message) for message in response.context["messages"])  # type: ignore[attr-defined]


@pytest.fixture
def reader(client: Client) -> Client:
    """Somebody who may see backends, and nothing else."""
    user = User.objects.create_user("reader", is_staff=True)
    for model in ("backendhealth", "refusedfrom", "senderprocess"):
        user.user_permissions.add(Permission.objects.get(codename=f"view_{model}"))
    client.force_login(user)
    return client


def allow_reader(codename: str) -> None:
    User.objects.get(username="reader").user_permissions.add(Permission.objects.get(codename=codename))


# pause and resume


def test_a_backend_without_a_row_can_be_paused() -> None:
    is_new = pause(ALIAS, by="ann", note="moving house", using="default")
    row = BackendHealth.objects.get()

    assert (True, ALIAS, "ann", "moving house") == (is_new, row.alias, row.paused_by, row.pause_note)


def test_the_default_backend_may_be_spelled_as_mail_spells_it() -> None:
    pause("", by="ann", note="", using="default")

    assert resume("", using="default")
    assert ALIAS == BackendHealth.objects.get().alias


def test_who_pauses_second_changes_nothing() -> None:
    pause(ALIAS, by="ann", note="moving house", using="default")
    first = BackendHealth.objects.get()
    is_new = pause(ALIAS, by="bob", note="me too", using="default")
    row = BackendHealth.objects.get()

    assert (False, "ann", "moving house", first.paused_at) == (is_new, row.paused_by, row.pause_note, row.paused_at)


def test_a_pause_leaves_alone_what_senders_know() -> None:
    make_backend(shut_at=timezone.now(), shut_reason="535 no", failure_count=5, day_count=7)
    pause(ALIAS, by="ann", note="", using="default")
    row = BackendHealth.objects.get()

    assert ("535 no", 5, 7) == (row.shut_reason, row.failure_count, row.day_count)


def test_a_resumed_backend_is_as_if_it_had_never_been_paused() -> None:
    pause(ALIAS, by="ann", note="moving house", using="default")
    found = [resume(ALIAS, using="default") for _ in range(2)]
    row = BackendHealth.objects.get()

    assert [True, False] == found
    assert (None, "", "") == (row.paused_at, row.paused_by, row.pause_note)


def test_to_resume_what_was_never_heard_of_changes_nothing() -> None:
    assert not resume("nobody", using="default")
    assert not BackendHealth.objects.exists()


def test_a_pause_that_is_rolled_back_never_was() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        pause(ALIAS, by="ann", note="", using="default")
        raise ZeroDivisionError

    assert not BackendHealth.objects.exists()


@pytest.fixture
def listener(database_url: str) -> Iterator[psycopg.Connection]:
    """Somebody who hears what senders hear."""
    notice._paces.clear()
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute(f"LISTEN {notice.CHANNEL}")
        yield listening


@pytest.mark.django_db(transaction=True)
def test_a_resume_wakes_the_senders(listener: psycopg.Connection) -> None:
    pause(ALIAS, by="ann", note="", using="default")
    resume(ALIAS, using="default")

    assert [notice.CHANNEL] == [heard.channel for heard in listener.notifies(timeout=30, stop_after=1)]


@pytest.mark.django_db(transaction=True)
def test_new_limits_wake_the_senders(listener: psycopg.Connection) -> None:
    allow(ALIAS, per_second=5, per_day=None, connections_at_once=None, using="default")

    assert [notice.CHANNEL] == [heard.channel for heard in listener.notifies(timeout=30, stop_after=1)]


# limits


def test_limits_leave_alone_what_senders_note() -> None:
    make_backend(tokens=3.5, day_count=7, failure_count=2, paused_by="ann")
    allow(ALIAS, per_second=14, per_day=1000, connections_at_once=3, using="default")
    row = BackendHealth.objects.get()

    assert (14, 1000, 3) == (row.max_per_second, row.max_per_day, row.max_connections)
    assert (3.5, 7, 2, "ann") == (row.tokens, row.day_count, row.failure_count, row.paused_by)


def test_a_limit_for_a_backend_without_a_row_makes_one() -> None:
    allow("", per_second=None, per_day=10, connections_at_once=None, using="default")

    assert (ALIAS, 10) == BackendHealth.objects.values_list("alias", "max_per_day").get()


def test_a_new_limit_ends_the_rest_of_a_day_that_was_used_up_and_a_rate_that_was_cut_grows_from_then_on() -> None:
    began_at = timezone.now() - HOUR
    make_backend(day_began_at=began_at, resting_until=began_at + DAY, day_count=10, max_per_day=10)
    allow(ALIAS, per_second=None, per_day=20, connections_at_once=None, using="default")
    row = BackendHealth.objects.get()

    assert (True, 10) == (began_at + HOUR <= row.resting_until <= timezone.now(), row.day_count)


@pytest.mark.parametrize("has_day", [False, True])
def test_a_new_limit_does_not_end_the_rest_that_a_server_asked_for(has_day: bool) -> None:
    until = timezone.now() + HOUR
    make_backend(day_began_at=timezone.now() - HOUR if has_day else None, resting_until=until)
    allow(ALIAS, per_second=None, per_day=20, connections_at_once=None, using="default")

    assert until == BackendHealth.objects.get().resting_until


# what is true of a backend


@pytest.mark.parametrize(
    ("fields", "flow", "words"),
    [
        ({}, Flow.OPEN, "Mail flows."),
        (
            {"paused_at": NOW, "paused_by": "ann", "pause_note": "moving", "shut_at": NOW},
            Flow.PAUSED,
            "paused by ann since",
        ),
        ({"paused_at": NOW}, Flow.PAUSED, "paused by somebody since"),
        (
            {"shut_at": NOW, "shut_reason": "535 no", "probe_at": NOW + HOUR},
            Flow.SHUT,
            "because of: 535 no. Next probe:",
        ),
        ({"shut_at": NOW, "probe_at": NOW - HOUR}, Flow.SHUT, "The next mail probes it."),
        ({"shut_at": NOW}, Flow.SHUT, "The next mail probes it."),
        ({"resting_until": NOW + HOUR}, Flow.RESTING, "the server asked to slow down"),
        (
            {"resting_until": NOW + HOUR, "day_began_at": NOW + HOUR - DAY, "day_count": 50000},
            Flow.SPENT,
            "50,000 recipients of the day are used up",
        ),
        (
            {"resting_until": NOW + HOUR, "day_began_at": NOW - HOUR},
            Flow.RESTING,
            "the server asked to slow down",
        ),
        ({"resting_until": NOW - HOUR}, Flow.OPEN, "Mail flows."),
        ({"connection_limit": 2}, Flow.SLOWED, "for now over at most 2 connections."),
        ({"connection_limit": 9, "max_connections": 3}, Flow.OPEN, "Mail flows."),
        (
            {"throttled_rate": 14, "throttle_count": 1, "resting_until": NOW, "max_per_second": 14},
            Flow.SLOWED,
            "at most 11.9 recipients per second, for the server asked to slow down at",
        ),
        (
            {"throttled_rate": 14, "throttle_count": 2, "connection_limit": 2},
            Flow.SLOWED,
            "at most 7 recipients per second",
        ),
        (
            {"throttled_rate": 14, "throttle_count": 2, "resting_until": NOW - 2 * HOUR},
            Flow.OPEN,
            "Mail flows.",
        ),
    ],
)
def test_the_health_is_one_true_sentence(fields: dict[str, Any], flow: Flow, words: str) -> None:
    found = backend(**fields)

    assert flow == found.flow
    assert words in health_sentence(found)


def test_the_admin_counts_for_more_than_the_settings(settings: Any) -> None:
    settings.MAILQUEUE = {"RATE_LIMITS": {ALIAS: {"per_second": 14, "per_day": 1000}}}
    found = backend(max_per_second=5)

    assert (5, Source.ADMIN) == (found.per_second.allowed, found.per_second.source)
    assert (1000, Source.SETTINGS) == (found.per_day.allowed, found.per_day.source)
    assert (None, Source.NOBODY) == (found.connections.allowed, found.connections.source)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(None, "any number"), (14.0, "14"), (7.25, "7.2"), (0.0123, "0.012"), (50000, "50,000"), (1.96, "2")],
)
def test_a_number_is_as_people_write_it(number: float | None, expected: str) -> None:
    assert expected == readable_number(number)


def test_a_day_that_is_over_is_not_spoken_of() -> None:
    assert day_sentence(backend(day_began_at=NOW - 2 * DAY, day_count=7)) == ""
    assert "7 since" in day_sentence(backend(day_began_at=NOW - HOUR, day_count=7))


def test_only_backends_that_stop_mail_stand_in_its_way() -> None:
    make_backend(alias="open")
    make_backend(alias="rested", resting_until=timezone.now() - HOUR)
    make_backend(alias="slowed", connection_limit=1)
    make_backend(alias="paused", paused_at=timezone.now())
    make_backend(alias="shut", shut_at=timezone.now())
    make_backend(alias="resting", resting_until=timezone.now() + HOUR)

    assert {"paused", "shut", "resting"} == set(backends_in_the_way(using="default"))


def test_mail_in_the_queue_of_a_backend_is_counted_whatever_its_row_calls_it() -> None:
    make_mail()
    make_mail(backend_alias=ALIAS, scheduled_time=timezone.now() + HOUR)
    make_mail(backend_alias="other")
    make_mail(status=STATUS.sent)

    assert count_queued(ALIAS, using="default") == 2


def test_no_more_mail_is_counted_than_a_person_wants_to_know() -> None:
    Email.objects.bulk_create(
        Email(from_email="a@example.com", to=["b@example.com"], status=STATUS.queued) for _ in range(COUNTED_MAILS + 9)
    )

    assert COUNTED_MAILS + 1 == count_queued(ALIAS, using="default")


def test_mail_is_counted_along_the_lane_index_however_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    # As much more waits than is counted as in a long queue: of a short one the planner may read all.
    monkeypatch.setattr("mailqueue.ops.backends.COUNTED_MAILS", 10)
    Email.objects.bulk_create(
        Email(from_email="a@example.com", to=["b@example.com"], status=STATUS.queued, backend_alias=alias)
        for alias in (ALIAS, "other")
        for _ in range(5000)
    )
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as captured:
        cursor.execute("ANALYZE post_office_email")
        count_queued(ALIAS, using="default")
        cursor.execute(f"EXPLAIN {next(q['sql'] for q in captured if ALIAS in q['sql'])}")
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert ("mailqueue_lane" in plan, "Seq Scan" in plan, "Sort" in plan) == (True, False, False)


# the admin


def test_a_backend_that_is_not_configured_any_more_says_so_and_what_becomes_of_its_mail(admin_client: Client) -> None:
    make_backend(alias="old-one", paused_at=timezone.now())
    sentence = "It is not configured any more: senders hold the mail that names it."
    page, listed = page_of(admin_client, alias="old-one"), admin_client.get(reverse(LIST)).content.decode()

    assert (True, True) == (sentence in page, sentence in listed)
    assert '<span class="mail-state mail-flow-gone">not configured any more</span>' in listed
    assert (False, True) == (reverse(PAUSE, args=["old-one"]) in page, reverse(RESUME, args=["old-one"]) in page)


def test_mail_of_a_backend_that_is_not_configured_any_more_does_not_wait_for_anybody_to_resume_it() -> None:
    make_backend(alias="old-one", paused_at=timezone.now())
    mail = make_mail(backend_alias="old-one")

    assert state_of(mail).detail == (
        "It names the backend old-one, which is not configured any more: the next sender holds it."
    )


def test_the_list_says_how_each_backend_is(admin_client: Client, settings: Settings) -> None:
    configure_backends(settings, "shut-one")
    make_backend()
    make_sender("a")
    make_backend(alias="shut-one", shut_at=timezone.now(), shut_reason="535 no", failure_count=1)
    page = admin_client.get(reverse(LIST)).content.decode()

    assert '<span class="mail-state mail-flow-open">open</span>' in page
    assert '<span class="mail-state mail-flow-shut">shut</span>' in page
    assert "because of: 535 no" in page


@pytest.mark.parametrize(
    ("fields", "flow"), [({}, "open"), ({"connection_limit": 2}, "slowed down"), ({"shut_at": NOW}, "shut")]
)
def test_a_backend_without_a_sender_does_not_look_as_if_mail_flowed(
    admin_client: Client, fields: dict[str, Any], flow: str
) -> None:
    make_backend(**fields)
    make_sender("a", backends=["bulk"])
    pages = [page_of(admin_client), admin_client.get(reverse(LIST)).content.decode()]

    found = [
        (f'mail-flow-unserved">{flow}</span>' in page, "Nothing stands in its way, but no sender is alive" in page)
        for page in pages
    ]
    assert [(flow != "shut", flow != "shut")] * 2 == found


def test_it_says_since_when_no_sender_is_alive_that_serves_the_backend() -> None:
    seen_at = NOW - HOUR
    found = [health_sentence(backend(), absence=Absence(since)) for since in (None, seen_at)]

    assert [
        "Nothing stands in its way, but no sender is alive that serves it.",
        f"Nothing stands in its way, but no sender is alive that serves it, since {readable_time(seen_at)}.",
    ] == found


def test_the_page_tells_the_limits_where_they_come_from_and_what_is_in_force(
    admin_client: Client, settings: Any
) -> None:
    settings.MAILQUEUE = {"RATE_LIMITS": {ALIAS: {"per_second": 14}}}
    make_backend(throttled_rate=14, throttle_count=2, max_connections=3)
    page = page_of(admin_client)

    assert "<td>14, from RATE_LIMITS in the settings</td><td>7</td>" in page
    assert "<td>any number: nobody has set a limit</td><td>any number</td>" in page
    assert "<td>3, set here</td><td>3</td>" in page
    assert "Empty: 14, as RATE_LIMITS in the settings says." in page


def test_a_backend_with_an_odd_name_has_a_page_and_can_be_paused(admin_client: Client) -> None:
    make_backend(alias='a/b "c"_d')
    (address,) = [
        part.split('"')[0]
        for part in admin_client.get(reverse(LIST)).content.decode().split('href="')
        if "_5F" in part
    ]
    page = admin_client.get(address)
    paused = admin_client.post(address.replace("/change/", "/pause/"), {"note": ""})

    assert (200, 302) == (page.status_code, paused.status_code)
    assert BackendHealth.objects.get().paused_at


def test_limits_are_set_on_the_page_and_recorded(admin_client: Client) -> None:
    make_backend(tokens=2.5)
    data = {"max_per_second": "0.5", "max_per_day": "100", "max_connections": ""}
    admin_client.post(reverse(PAGE, args=[ALIAS]), data)
    row = BackendHealth.objects.get()

    assert (0.5, 100, None, 2.5) == (row.max_per_second, row.max_per_day, row.max_connections, row.tokens)
    assert "Recipients per day" in LogEntry.objects.get().get_change_message()


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("max_per_second", "0", "It must be more than 0"),
        ("max_per_second", "-1", "It must be more than 0"),
        ("max_per_second", "nan", "Enter a number."),
        ("max_per_second", "inf", "Enter a number."),
        ("max_per_second", "1e9", "less than or equal to 1000000"),
        ("max_per_day", "0", "It must be at least 1. To stop it, pause the backend."),
        ("max_per_day", "1.5", "Enter a whole number."),
        ("max_per_day", "99999999999", "less than or equal to 2147483647"),
        ("max_connections", "-3", "It must be at least 1. To stop it, pause the backend."),
        ("max_connections", "three", "Enter a whole number."),
    ],
)
def test_a_wrong_limit_is_refused_and_explained(admin_client: Client, field: str, value: str, complaint: str) -> None:
    make_backend()
    response = admin_client.post(reverse(PAGE, args=[ALIAS]), {field: value})

    assert complaint in " ".join(response.context["adminform"].form.errors[field])
    assert None is getattr(BackendHealth.objects.get(), field)


def test_a_limit_that_was_refused_is_not_shown_as_one_that_is_set(admin_client: Client) -> None:
    make_backend(max_per_second=5)
    data = {"max_per_second": "14", "max_per_day": "0"}
    page = admin_client.post(reverse(PAGE, args=[ALIAS]), data).content.decode()

    assert ("5, set here" in page, "14, set here" in page) == (True, False)


def test_what_senders_note_can_not_be_written_by_a_form(admin_client: Client) -> None:
    make_backend(shut_at=timezone.now(), shut_reason="535 no", failure_count=5)
    forged = {"alias": "other", "shut_reason": "", "shut_at_0": "", "failure_count": "0", "paused_by": "eve"}
    admin_client.post(reverse(PAGE, args=[ALIAS]), forged)

    assert (ALIAS, "535 no", 5, "") == BackendHealth.objects.values_list(
        "alias", "shut_reason", "failure_count", "paused_by"
    ).get()


def test_to_ask_for_the_pages_changes_nothing(admin_client: Client) -> None:
    make_backend()
    before = BackendHealth.objects.values().get()
    statuses = [admin_client.get(reverse(name, args=[ALIAS])).status_code for name in (PAGE, PAUSE, RESUME)]

    assert [200, 200, 405] == statuses
    assert before == BackendHealth.objects.values().get()
    assert not LogEntry.objects.exists()


def test_before_a_pause_the_page_says_how_much_mail_it_would_stop(admin_client: Client) -> None:
    make_backend()
    make_mail()

    assert "1 mail stands in its queue, counting what is for later." in page_of(admin_client, PAUSE)


def test_a_backend_is_paused_with_a_note_and_resumed_on_the_record(admin_client: Client) -> None:
    make_backend()
    admin_client.post(reverse(PAUSE, args=[ALIAS]), {"note": "moving house"})
    row = BackendHealth.objects.get()
    assert ("admin", "moving house") == (row.paused_by, row.pause_note)
    admin_client.post(reverse(RESUME, args=[ALIAS]))

    assert None is BackendHealth.objects.get().paused_at
    assert ["Paused: moving house", "Resumed."] == [
        entry.get_change_message() for entry in LogEntry.objects.order_by("pk")
    ]


def test_an_act_that_changes_nothing_says_so_and_leaves_no_record(admin_client: Client) -> None:
    make_backend(paused_at=timezone.now(), paused_by="ann")
    paused = admin_client.post(reverse(PAUSE, args=[ALIAS]), {"note": ""}, follow=True)
    resume(ALIAS, using="default")
    resumed = admin_client.post(reverse(RESUME, args=[ALIAS]), follow=True)

    assert (f"The backend {ALIAS} was paused already.", f"The backend {ALIAS} was not paused.") == (
        messages_of(paused),
        messages_of(resumed),
    )
    assert not LogEntry.objects.exists()


def test_a_note_that_is_too_long_is_refused_and_explained(admin_client: Client) -> None:
    make_backend()
    page = admin_client.post(reverse(PAUSE, args=[ALIAS]), {"note": "x" * 501}).content.decode()

    assert "at most 500 characters" in page
    assert None is BackendHealth.objects.get().paused_at


def test_markup_in_a_note_is_shown_as_text(admin_client: Client) -> None:
    make_backend(paused_at=timezone.now(), pause_note="<script>alert(1)</script>")
    pages = [page_of(admin_client), admin_client.get(reverse(LIST)).content.decode()]

    assert [False, False] == ["<script>alert" in page for page in pages]


def test_no_other_way_than_get_and_post_leads_to_a_pause(admin_client: Client) -> None:
    make_backend()

    assert admin_client.delete(reverse(PAUSE, args=[ALIAS])).status_code == 405


@pytest.mark.parametrize("name", [PAUSE, RESUME])
def test_an_act_on_a_backend_that_is_not_there_is_not_found(admin_client: Client, name: str) -> None:
    assert admin_client.post(reverse(name, args=["nobody"])).status_code == 404


@pytest.mark.parametrize("name", [PAUSE, RESUME])
def test_an_act_needs_a_csrf_token(admin_user: User, name: str) -> None:
    make_backend()
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)

    assert client.post(reverse(name, args=[ALIAS])).status_code == 403


@pytest.mark.parametrize("name", [PAUSE, RESUME])
def test_an_act_needs_its_permission(reader: Client, name: str) -> None:
    make_backend()
    allow_reader("change_backendhealth")

    assert reader.post(reverse(name, args=[ALIAS])).status_code == 403


def test_who_may_pause_need_not_be_allowed_to_set_limits(reader: Client) -> None:
    make_backend()
    allow_reader("pause_backend")
    reader.post(reverse(PAUSE, args=[ALIAS]), {"note": ""})
    limits = reader.post(reverse(PAGE, args=[ALIAS]), {"max_per_day": "3"})

    assert BackendHealth.objects.get().paused_by == "reader"
    assert limits.status_code == 403


def test_a_reader_sees_limits_and_no_buttons(reader: Client) -> None:
    make_backend(max_per_day=50)
    page = page_of(reader)

    assert "50, set here" in page
    assert (False, False) == ('name="max_per_day"' in page, reverse(PAUSE, args=[ALIAS]) in page)


def test_a_backend_can_be_listed_before_a_sender_ever_ran(admin_client: Client) -> None:
    address = reverse("admin:mailqueue_backendhealth_add")
    asked = admin_client.get(address)
    response = admin_client.post(address, {"alias": ALIAS, "max_per_second": "5"})

    assert [(alias, alias) for alias in configured_aliases()] == asked.context["adminform"].form.fields[
        "alias"
    ].choices
    assert reverse(PAGE, args=[ALIAS]) == response["Location"]
    assert (ALIAS, 5) == BackendHealth.objects.values_list("alias", "max_per_second").get()


def test_no_backend_can_be_listed_that_is_not_configured(admin_client: Client) -> None:
    admin_client.post(reverse("admin:mailqueue_backendhealth_add"), {"alias": "invented"})

    assert not BackendHealth.objects.exists()


def test_where_every_backend_is_listed_there_is_none_to_add(admin_client: Client) -> None:
    list_all()
    response = admin_client.get(reverse("admin:mailqueue_backendhealth_add"), follow=True)

    assert messages_of(response) == "Every backend that is configured stands in the list."


def test_who_may_add_but_not_see_is_led_to_the_index(client: Client) -> None:
    user = User.objects.create_user("adder", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="add_backendhealth"))
    client.force_login(user)
    address = reverse("admin:mailqueue_backendhealth_add")
    added = client.post(address, {"alias": ALIAS})
    list_all()

    assert [reverse("admin:index")] * 2 == [added["Location"], client.get(address)["Location"]]


def test_a_reader_can_not_add(reader: Client) -> None:
    assert reader.get(reverse("admin:mailqueue_backendhealth_add")).status_code == 403


def test_no_backend_is_deleted_here(admin_client: Client) -> None:
    make_backend()

    assert admin_client.post(reverse("admin:mailqueue_backendhealth_delete", args=[ALIAS])).status_code == 403


# refused sender addresses


def make_refusal(**fields: Any) -> RefusedFrom:
    values = {"from_email": "eve@example.com", "reply": "550 5.7.1 not verified", "refused_at": timezone.now()}
    return RefusedFrom.objects.create(backend=ALIAS, **{**values, **fields})


def test_refused_addresses_are_listed_with_the_reply(admin_client: Client) -> None:
    make_refusal()
    page = admin_client.get(reverse("admin:mailqueue_refusedfrom_changelist")).content.decode()

    assert ("eve@example.com" in page, "550 5.7.1 not verified" in page, ALIAS in page) == (True, True, True)


def test_the_page_of_a_refused_address_leads_to_the_held_mail(admin_client: Client) -> None:
    mail = make_mail(status=STATUS.failed)
    stop_mail(mail, "held", note="550 5.7.1 not verified")  # type: ignore[arg-type]
    page = page_of(admin_client, "admin:mailqueue_refusedfrom_change", str(make_refusal().pk))
    address = f"{reverse('admin:post_office_email_changelist')}?state=held&backend={ALIAS}"

    assert address.replace("&", "&amp;") in page
    assert [mail.pk] == [found.pk for found in admin_client.get(address).context["cl"].result_list]


def test_to_delete_a_refusal_says_what_is_left_to_do(admin_client: Client) -> None:
    refusal = make_refusal()
    address = reverse("admin:mailqueue_refusedfrom_delete", args=[refusal.pk])
    question = admin_client.get(address).content.decode()
    assert RefusedFrom.objects.exists()
    response = admin_client.post(address, {"post": "yes"}, follow=True)

    assert "until you requeue it" in question
    assert "until somebody requeues it" in messages_of(response)
    assert not RefusedFrom.objects.exists()


def test_a_selection_of_refusals_is_tried_again(admin_client: Client) -> None:
    ids = [make_refusal(from_email=f"{name}@example.com").pk for name in ("ann", "bob")]
    address = reverse("admin:mailqueue_refusedfrom_changelist")
    data = {"action": "delete_selected", "_selected_action": ids}
    question = admin_client.post(address, data).content.decode()
    response = admin_client.post(address, {**data, "post": "yes"}, follow=True)

    assert "until you requeue it" in question
    assert "until somebody requeues it" in messages_of(response)
    assert not RefusedFrom.objects.exists()


def test_a_reader_can_neither_delete_nor_change_a_refusal(reader: Client) -> None:
    refusal = make_refusal()
    statuses = [
        reader.post(reverse(f"admin:mailqueue_refusedfrom_{act}", args=[refusal.pk]), {"post": "yes"}).status_code
        for act in ("delete", "change")
    ]
    page = reader.get(reverse("admin:mailqueue_refusedfrom_changelist")).content.decode()

    assert [403, 403] == statuses
    assert "Try selected" not in page


def test_nobody_adds_a_refusal(admin_client: Client) -> None:
    assert admin_client.get(reverse("admin:mailqueue_refusedfrom_add")).status_code == 403


# senders


def make_sender(name: str, **fields: Any) -> SenderProcess:
    values = {"host": "web-1", "version": "1.0", "backends": [], "connection_count": 8, "seen_at": timezone.now()}
    return SenderProcess.objects.create(name=name, started_at=timezone.now(), **{**values, **fields})


def test_a_sender_that_was_not_seen_for_a_minute_is_gone(admin_client: Client) -> None:
    make_sender("a", host="living")
    make_sender("b", host="dead", seen_at=timezone.now() - timedelta(seconds=61), backends=["bulk", "other"])
    response = admin_client.get(reverse("admin:mailqueue_senderprocess_changelist"))

    assert {"living": True, "dead": False} == {row.host: row.is_alive for row in response.context["cl"].result_list}
    assert "bulk, other" in response.content.decode()


def make_senders_of_every_life() -> None:
    now = timezone.now()
    make_sender("web-1.1.ended", host="web-1", ended_at=now)
    make_sender("web-2.2.gone", host="web-2", seen_at=now - HOUR)
    make_sender("web-9.3.alive", host="web-9")


def test_senders_are_listed_by_name_those_first_that_are_alive_and_then_those_that_are_gone(
    admin_client: Client,
) -> None:
    make_senders_of_every_life()
    response = admin_client.get(reverse("admin:mailqueue_senderprocess_changelist"))
    queue = admin_client.get(reverse("admin:mailqueue_queue_changelist"))

    names = ["web-9.3.alive", "web-2.2.gone", "web-1.1.ended"]
    assert names == [row.name for row in response.context["cl"].result_list]
    assert names == [line.sender.name for line in queue.context["senders"]]
    shown = [name for name in names if name in response.content.decode() and name in queue.content.decode()]
    assert names == shown


@pytest.mark.parametrize("is_page", [False, True])
def test_the_times_of_a_sender_are_written_as_all_times_are(admin_client: Client, is_page: bool) -> None:
    sender = make_sender("web-1.1.x", seen_at=timezone.now() - HOUR, ended_at=timezone.now())
    name = "change" if is_page else "changelist"
    address = reverse(f"admin:mailqueue_senderprocess_{name}", args=["web-1.1.x"] if is_page else [])
    page = admin_client.get(address).content.decode()

    times = [sender.seen_at, sender.started_at, *([sender.ended_at] if is_page else [])]
    assert [] == [readable_time(moment) for moment in times if readable_time(moment) not in page]
    assert "p.m." not in page.replace("a.m.", "p.m.")


def test_the_time_of_a_refusal_is_written_as_all_times_are(admin_client: Client) -> None:
    refusal = RefusedFrom.objects.create(backend=ALIAS, from_email="a@example.com", refused_at=timezone.now())
    pages = [
        admin_client.get(reverse("admin:mailqueue_refusedfrom_changelist")).content.decode(),
        admin_client.get(reverse("admin:mailqueue_refusedfrom_change", args=[refusal.pk])).content.decode(),
    ]

    assert [1, 1] == [page.count(readable_time(refusal.refused_at)) for page in pages]


def test_nothing_of_a_sender_can_be_changed(admin_client: Client) -> None:
    make_sender("web-1/17/x")
    registered = admin.site.get_model_admin(SenderProcess)
    page = admin_client.get(reverse("admin:mailqueue_senderprocess_change", args=["web-1_2F17_2Fx"]))
    statuses = [
        admin_client.post(reverse("admin:mailqueue_senderprocess_add")).status_code,
        admin_client.post(reverse("admin:mailqueue_senderprocess_change", args=["web-1_2F17_2Fx"])).status_code,
        admin_client.post(reverse("admin:mailqueue_senderprocess_delete", args=["web-1_2F17_2Fx"])).status_code,
    ]

    assert (200, None, [403, 403, 403]) == (page.status_code, registered.actions, statuses)


# what waits


def test_a_page_of_backends_costs_as_many_statements_as_one(admin_client: Client) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(reverse(LIST))
        return len(captured)

    make_backend()
    of_one = cost()
    for number in range(9):
        make_backend(alias=f"other-{number}", paused_at=timezone.now())

    assert of_one == cost()


def test_the_mail_says_that_its_backend_is_paused(admin_client: Client) -> None:
    mail = make_mail()
    make_backend()
    admin_client.post(reverse(PAUSE, args=[ALIAS]), {"note": "moving house"})

    assert f"It waits for the backend {ALIAS}, which is paused by admin since" in state_of(mail).detail
    assert "(moving house)" in page_of(admin_client, "admin:post_office_email_change", str(mail.pk))
