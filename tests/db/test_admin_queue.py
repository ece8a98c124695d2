"""The queue at a glance in the admin: what it shows to whom, where it leads, and what it costs."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from post_office.models import STATUS, Email

from mailqueue.delivery.backends import canonical
from mailqueue.models import BackendHealth, SenderProcess, SendingMinute, StopReason
from mailqueue.ops.conditions import State
from mailqueue.ops.glance import DOMAINS
from tests.support.plans import rows_read
from tests.support.situations import SITUATIONS, make_mail, stop_mail

pytestmark = pytest.mark.django_db

PAGE = "/admin/mailqueue/queue/"
MAILS = "/admin/post_office/email/"
ALIAS = canonical("")
MOST_STATEMENTS = 14
"""Session, user and two for permissions; eight for the overview, one for domains and one for the figures."""


@pytest.fixture
def reader(client: Client) -> Client:
    """Somebody who may see this page, and nothing else."""
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(permission("view_queue"))
    client.force_login(user)
    return client


def permission(codename: str) -> Permission:
    return Permission.objects.get(codename=codename)


def allow_reader(*codenames: str) -> None:
    User.objects.get(username="reader").user_permissions.add(*map(permission, codenames))


def page_of(client: Client, **query: str) -> str:
    return client.get(PAGE, query).content.decode()


def make_sender(*, seen_ago: float = 3, **fields: Any) -> SenderProcess:
    now = timezone.now()
    values = {"name": "web-1/1/a", "host": "web-1", "version": "1.2.3", "backends": [], "connection_count": 8}
    seen_at = now - timedelta(seconds=seen_ago)
    return SenderProcess.objects.create(started_at=now, seen_at=seen_at, **{**values, **fields})


def numbers(client: Client) -> dict[str, str]:
    return {tile.state: tile.number for tile in client.get(PAGE).context["tiles"]}


# who sees what


def test_the_index_of_the_admin_leads_to_the_page(reader: Client) -> None:
    page = reader.get(reverse("admin:index")).content.decode()

    assert f'<a href="{PAGE}"' in page
    assert "Queue at a glance" in page
    assert f"{PAGE}add/" not in page


def test_the_page_has_a_permission_of_its_own(client: Client) -> None:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(*map(permission, ("view_email", "view_backendhealth", "view_senderprocess")))
    client.force_login(user)

    assert 403 == client.get(PAGE).status_code


def test_it_can_only_be_asked_for(admin_client: Client) -> None:
    assert [405, 405, 405] == [
        ask(PAGE).status_code for ask in (admin_client.post, admin_client.put, admin_client.delete)
    ]


@pytest.mark.parametrize("path", ["add/", "1/change/", "1/delete/", "1/history/"])
def test_there_is_no_other_page_of_it(admin_client: Client, path: str) -> None:
    assert 404 == admin_client.get(PAGE + path).status_code


def test_every_number_leads_to_its_mails_where_they_may_be_seen(reader: Client) -> None:
    BackendHealth.objects.create(alias=ALIAS)
    hidden = page_of(reader)
    allow_reader("view_email")
    shown = page_of(reader)

    assert MAILS not in hidden
    assert [] == [state for state in numbers(reader) if f'href="{MAILS}?state={state}' not in shown]


def test_backends_and_senders_are_linked_where_they_may_be_seen(reader: Client) -> None:
    BackendHealth.objects.create(alias=ALIAS)
    make_sender()
    pages = [page_of(reader)]
    allow_reader("view_backendhealth", "view_senderprocess")
    pages.append(page_of(reader))
    links = (f"/admin/mailqueue/backendhealth/{ALIAS}/change/", "/admin/mailqueue/senderprocess/")

    assert [[False, False], [True, True]] == [[f'href="{link}"' in page for link in links] for page in pages]


def test_pause_and_resume_are_for_those_who_may(reader: Client) -> None:
    BackendHealth.objects.create(alias=ALIAS)
    BackendHealth.objects.create(alias="bulk", paused_at=timezone.now(), paused_by="ann", pause_note="moving house")
    allow_reader("view_backendhealth")
    before = page_of(reader)
    allow_reader("pause_backend")
    after = page_of(reader)

    pause, resume = f"backendhealth/{ALIAS}/pause/", "backendhealth/bulk/resume/"
    assert ([False, False], [True, True]) == (
        [p in before for p in (pause, resume)],
        [p in after for p in (pause, resume)],
    )


@pytest.mark.parametrize("act", ["pause", "resume"])
def test_pause_and_resume_lead_back_to_where_they_were_pressed(admin_client: Client, act: str) -> None:
    BackendHealth.objects.create(alias=ALIAS, paused_at=timezone.now() if act == "resume" else None)
    here = f"{PAGE}?range=day"
    page = admin_client.get(here).content.decode()
    address = reverse(f"admin:mailqueue_backendhealth_{act}", args=[ALIAS])
    link = f'{address}?next={quote(here, safe="")}"'
    field = f'<input type="hidden" name="next" value="{here}">'
    asked = admin_client.get(f"{address}?{urlencode({'next': here})}").content.decode() if act == "pause" else page
    response = admin_client.post(address, {"next": here})

    assert (act == "pause", True) == (link in page, field in asked)
    assert (f'href="{here}">No, go back' in asked) == (act == "pause")
    assert (302, here) == (response.status_code, response["Location"])


@pytest.mark.parametrize("elsewhere", ["", "https://evil.example/", "//evil.example", "javascript:a()", "\\\\evil"])
def test_nobody_is_led_to_another_site(admin_client: Client, elsewhere: str) -> None:
    BackendHealth.objects.create(alias=ALIAS)
    page = reverse("admin:mailqueue_backendhealth_change", args=[ALIAS])
    pause = reverse("admin:mailqueue_backendhealth_pause", args=[ALIAS])
    asked = admin_client.get(pause, {"next": elsewhere}).content.decode()

    assert f'name="next" value="{page}"' in asked
    assert page == admin_client.post(pause, {"next": elsewhere})["Location"]


def test_what_failed_in_a_day_leads_to_what_failed_in_a_day(admin_client: Client) -> None:
    failed = make_mail(status=STATUS.failed)
    Email.objects.filter(pk=make_mail(status=STATUS.failed).pk).update(last_updated=timezone.now() - timedelta(days=2))
    make_mail()
    (address,) = re.findall(r'id="queue-tile-failed" href="([^"]+)"', page_of(admin_client))
    response = admin_client.get(unescape(address))

    assert [failed.pk] == [mail.pk for mail in response.context["cl"].result_list]


def test_a_paused_backend_says_by_whom_and_why(reader: Client) -> None:
    BackendHealth.objects.create(alias=ALIAS, paused_at=timezone.now(), paused_by="ann", pause_note="moving house")
    page = page_of(reader)

    assert (True, True) == ("It is paused by ann since" in page, "(moving house)" in page)


def test_a_backend_that_is_not_configured_can_be_resumed_and_not_paused(admin_client: Client) -> None:
    BackendHealth.objects.create(alias="bulk", paused_at=timezone.now())
    paused = page_of(admin_client)
    BackendHealth.objects.update(paused_at=None)

    assert (True, False) == ("backendhealth/bulk/resume/" in paused, "bulk/pause/" in page_of(admin_client))


def test_a_backend_that_has_no_row_yet_can_not_be_paused_here(admin_client: Client) -> None:
    assert "/pause/" not in page_of(admin_client)


def test_to_look_changes_nothing(admin_client: Client) -> None:
    BackendHealth.objects.create(alias=ALIAS)
    make_sender(), make_mail()
    before = [list(model.objects.values()) for model in (Email, BackendHealth, SenderProcess)]
    for span in ("hour", "day", "week"):
        page_of(admin_client, range=span)

    assert before == [list(model.objects.values()) for model in (Email, BackendHealth, SenderProcess)]
    assert not LogEntry.objects.exists()


# what it shows


def test_every_state_is_counted(admin_client: Client) -> None:
    for make, _ in SITUATIONS.values():
        make()
    by_state = {state: sum(found == state for _, found in SITUATIONS.values()) for state in State}

    assert {state: str(by_state[State(state)]) for state in numbers(admin_client)} == numbers(admin_client)


@pytest.mark.parametrize(("seen_ago", "expected"), [(None, True), (300, True), (3, False)])
def test_mail_that_is_due_without_a_sender_is_told_first(
    admin_client: Client, seen_ago: float | None, expected: bool
) -> None:
    if seen_ago is not None:
        make_sender(seen_ago=seen_ago)
    make_mail()
    page = page_of(admin_client)

    assert expected == ("Start one: manage.py send_queued_mail" in page)
    assert (seen_ago == 300) == ("and no sender is alive since 2" in page)


def test_without_due_mail_nobody_is_alarmed(admin_client: Client) -> None:
    make_mail(scheduled_time=timezone.now() + timedelta(hours=1))

    assert 'id="queue-alarm"' not in page_of(admin_client)


@pytest.mark.parametrize(("backends", "expected"), [([], False), ([ALIAS], False), (["bulk"], True)])
def test_mail_that_no_sender_serves_is_told_of(admin_client: Client, backends: list[str], expected: bool) -> None:
    make_sender(backends=backends)
    make_mail()

    assert expected == ("none of the senders that are alive sends it" in page_of(admin_client))


@pytest.mark.parametrize(("seen_ago", "look"), [(3, "open"), (300, "unserved")])
def test_a_backend_that_nobody_serves_does_not_look_as_if_mail_flowed(
    admin_client: Client, seen_ago: float, look: str
) -> None:
    make_sender(seen_ago=seen_ago)
    page = page_of(admin_client)

    assert f'mail-flow-{look}">open</span>' in page
    assert (look == "unserved") == ("Nothing stands in its way, but no sender is alive that serves it, since" in page)


def test_a_sender_is_shown_with_host_version_and_last_sign_of_life(admin_client: Client) -> None:
    make_sender(seen_ago=130, backends=["bulk"])
    page = page_of(admin_client)

    assert [] == [text for text in ("gone", "web-1", "1.2.3", "bulk") if text not in page]
    assert re.search(r"\b2 min \d+ s ago", page)


def test_the_figures_of_the_range_are_shown(admin_client: Client) -> None:
    now = timezone.now()
    for ago, count in ((timedelta(minutes=5), 3), (timedelta(hours=5), 40), (timedelta(days=3), 500)):
        SendingMinute.objects.create(began_at=now - ago, backend=ALIAS, accepted_count=count)
    spans = ("hour", "day", "week", "")

    assert ["3 accepted", "43 accepted", "543 accepted", "3 accepted"] == [
        admin_client.get(PAGE, {"range": span} if span else {}).context["charts"][0].summary for span in spans
    ]


def test_a_range_that_does_not_exist_is_named_with_those_that_do(admin_client: Client) -> None:
    page = page_of(admin_client, range="<month>")

    assert "There is no range “&lt;month&gt;”. It is one of: hour, day, week." in page


def test_the_ages_are_shown_by_lane_and_domain_and_not_all_domains(admin_client: Client) -> None:
    for n in range(DOMAINS + 2):
        make_mail(to=f"ann@d{n}.example")
    page = page_of(admin_client)

    assert DOMAINS == page.count(".example</th>")
    assert "and 2 more" in page
    assert f"{ALIAS} medium" in page


def test_markup_in_what_others_wrote_is_shown_as_text(admin_client: Client) -> None:
    BackendHealth.objects.create(alias=ALIAS, paused_at=timezone.now(), pause_note="<script>alert(1)</script>")
    make_sender(host="<b>web</b>")
    mail = make_mail()
    with connection.cursor() as cursor:
        cursor.execute("""UPDATE post_office_email SET "to" = 'ann@x"y</th>&.example' WHERE id = %s""", [mail.pk])
    page = page_of(admin_client)

    assert [] == [text for text in ("<script>alert", "<b>web", "</th>&.example") if text in page]


# what it costs


@pytest.fixture
def long_history() -> None:
    """100,000 mails that were sent and failed long ago, and a week of minutes."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status,
                   priority, created, last_updated, backend_alias)
               SELECT 'a@x', 'b@y', '', '', 's', '', '', n % 2, 1, now() - interval '9 days',
                   now() - interval '9 days', '' FROM generate_series(1, 100000) n"""
        )
        cursor.execute(
            """INSERT INTO mailqueue_sendingminute (began_at, backend, accepted_count)
               SELECT date_trunc('minute', now()) - n * interval '1 minute', 'default', n % 100
               FROM generate_series(0, 7 * 24 * 60) n"""
        )
        cursor.execute("ANALYZE post_office_email, mailqueue_sendingminute")


def test_the_page_costs_a_fixed_number_of_statements_whatever_the_history(reader: Client, long_history: None) -> None:
    allow_reader("view_email", "view_backendhealth", "view_senderprocess", "pause_backend")
    for n in range(5):
        BackendHealth.objects.create(alias=f"b{n}")
        make_sender(name=f"web-{n}")
        make_mail(backend_alias=f"b{n}", to=f"ann@d{n}.example")
        stop_mail(make_mail(status=STATUS.failed), StopReason.HELD)
    with CaptureQueriesContext(connection) as captured:
        page = page_of(reader, range="week")

    assert len(captured) <= MOST_STATEMENTS, [query["sql"][:80] for query in captured]
    assert ("5", "5") == (numbers(reader)["waiting"], numbers(reader)["held"])
    assert 3 == page.count('class="mail-chart"')


def test_no_statement_of_the_page_reads_the_history(reader: Client, long_history: None) -> None:
    make_mail()
    with CaptureQueriesContext(connection) as captured:
        page_of(reader)
    reads = [rows_read(query["sql"]) for query in captured if "post_office_email" in query["sql"]]

    assert len(reads) == 3
    assert max(reads) < 20, reads
