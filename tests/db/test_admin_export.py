"""The list as CSV: all that a filter finds, in batches, harmless to a spreadsheet, without sensitive mail."""

import csv
import re
from collections.abc import AsyncIterator
from datetime import datetime
from io import StringIO
from typing import Any, cast

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncRequestFactory, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import get_current_timezone
from post_office.models import STATUS, Email, EmailTemplate

from mailqueue.delivery.backends import canonical
from mailqueue.models import AttemptOutcome, MailOptions, StopReason
from mailqueue.ops import exports
from mailqueue.ops.exports import COLUMNS, harmless
from mailqueue.ops.states import State, state_of
from tests.support.admin_acts import LIST, act, act_on_all, allow, make_reader
from tests.support.secrets import SECRET, make_secret_mail
from tests.support.situations import SITUATIONS, make_attempt, make_mail, stop_mail

pytestmark = pytest.mark.django_db

MOMENT = datetime(2024, 5, 6, 7, 8, 9, 123, tzinfo=get_current_timezone())


@pytest.fixture
def reader(client: Client) -> Client:
    make_reader(client)
    return client


def text_of(response: Any) -> str:
    return b"".join(response.streaming_content).decode()


def rows_of(response: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text_of(response).removeprefix("\ufeff"))))


def make_full_mail() -> Email:
    mail = make_mail(
        to='"Doe, Jane" <jane@example.com>',
        cc=["bob@example.com"],
        bcc=["eve@example.com"],
        status=STATUS.failed,
        message="the body",
        message_id="<1@host>",
        scheduled_time=MOMENT,
    )
    Email.objects.filter(pk=mail.pk).update(created=MOMENT)
    make_attempt(mail, AttemptOutcome.RETRY, reply_code=451, reply="greylisted")
    make_attempt(
        mail, AttemptOutcome.FAILED, started_at=MOMENT, reply_code=550, enhanced_code="5.1.1", reply="no such user"
    )
    stop_mail(mail, StopReason.FAILED)
    return mail


def test_a_row_says_to_whom_when_and_what_became_of_it(admin_client: Client) -> None:
    mail = make_full_mail()
    moment = "2024-05-06T07:08:09" + MOMENT.isoformat()[-6:]

    assert [
        {
            "id": str(mail.pk),
            "state": "failed",
            "created": moment,
            "scheduled": moment,
            "to": '"Doe, Jane" <jane@example.com>',
            "cc": "bob@example.com",
            "bcc": "eve@example.com",
            "subject": "Your order",
            "backend": canonical(""),
            "priority": "medium",
            "attempts": "2",
            "last_attempt": moment,
            "code": "550",
            "enhanced_code": "5.1.1",
            "reply": "no such user",
            "message_id": "<1@host>",
        }
    ] == rows_of(act(admin_client, "export_selected", mail))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_mail_in_every_situation_has_a_row(admin_client: Client, situation: str) -> None:
    make, state = SITUATIONS[situation]

    assert [state.value] == [row["state"] for row in rows_of(act(admin_client, "export_selected", make()))]


def test_it_begins_with_a_mark_by_which_excel_knows_its_encoding(admin_client: Client) -> None:
    response = act(admin_client, "export_selected", make_mail(subject="Grüße"))
    text = text_of(response)

    head = ",".join(f'"{column}"' for column in COLUMNS)

    assert (f"\ufeff{head}\r\n", True) == (text.splitlines(keepends=True)[0], "Grüße" in text)
    assert "text/csv; charset=utf-8" == response["Content-Type"]
    assert response["Content-Disposition"].startswith('attachment; filename="mails-2')


def test_it_holds_no_body(admin_client: Client) -> None:
    assert "the body" not in text_of(act(admin_client, "export_selected", make_full_mail()))


def test_what_an_exception_said_may_quote_the_mail_and_is_not_exported(admin_client: Client) -> None:
    mail = make_mail(status=STATUS.failed)
    make_attempt(mail, AttemptOutcome.FAILED, stage="build", error="TemplateSyntaxError", reply="in 'the body'")
    (row,) = rows_of(act(admin_client, "export_selected", mail))

    assert row["reply"] == "TemplateSyntaxError"


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", " ="])
def test_what_a_spreadsheet_would_run_is_made_harmless(admin_client: Client, first: str) -> None:
    mail = make_mail(subject="plain")
    Email.objects.filter(pk=mail.pk).update(subject=f"{first}cmd|' /C calc'!A0")
    (row,) = rows_of(act(admin_client, "export_selected", mail))

    assert f"'{first}cmd|' /C calc'!A0" == row["subject"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('hi;=HYPERLINK("http://evil")', 'hi;\'=HYPERLINK("http://evil")'),
        ('hi; "=1', "hi;' \"=1"),
        ("hi\t+1", "hi\t'+1"),
        ("hi\r\n-1\n\uff1d1", "hi\r'\n'-1\n'\uff1d1"),
    ],
)
def test_what_stands_behind_a_separator_is_made_harmless_too(text: str, expected: str) -> None:
    assert expected == harmless(text)


def test_every_cell_is_quoted(admin_client: Client) -> None:
    text = text_of(act(admin_client, "export_selected", make_mail(subject="hi;=1"))).removeprefix("\ufeff")

    assert [] == [line for line in text.splitlines() if not re.fullmatch(r'"[^"]*"(,"[^"]*")*', line)]


@pytest.mark.parametrize("value", [-5, None, "", "a=b", "<1@host>", "a; b", "a-b", '"Doe; Jane" <a@x>'])
def test_everything_else_stays_as_it_is(value: Any) -> None:
    assert value == harmless(value)


def test_sensitive_mail_is_left_out(admin_client: Client) -> None:
    make_secret_mail()
    plain = make_mail()
    MailOptions.objects.create(email=plain, ref="order 5")
    text = text_of(act_on_all(admin_client, "export_selected", ""))

    assert (SECRET in text, "jane@example.com" in text, 2) == (False, False, len(text.splitlines()))


def test_a_mail_that_turns_sensitive_or_goes_meanwhile_is_left_out(admin_client: Client) -> None:
    stays, sensitive, gone = make_mail(), make_mail(), make_mail()
    response = act(admin_client, "export_selected", stays, sensitive, gone)
    MailOptions.objects.create(email=sensitive, is_sensitive=True)
    gone.delete()

    assert [str(stays.pk)] == [row["id"] for row in rows_of(response)]


def test_a_subject_that_is_rendered_on_delivery_is_exported_as_it_would_be_sent(admin_client: Client) -> None:
    template = EmailTemplate.objects.create(name="bill", subject="Bill {{ number }}")
    mail = make_mail(template=template, context={"number": 17})

    assert ["Bill 17"] == [row["subject"] for row in rows_of(act(admin_client, "export_selected", mail))]


def test_all_that_a_filter_finds_is_exported_the_newest_first_and_nothing_else(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "BATCH", 2)
    mails = [make_mail(status=STATUS.failed) for _ in range(5)]
    make_mail()
    rows = rows_of(act_on_all(admin_client, "export_selected", "?state=failed"))

    assert [str(mail.pk) for mail in reversed(mails)] == [row["id"] for row in rows]


def test_an_odd_priority_is_exported_as_it_is(admin_client: Client) -> None:
    mails = [make_mail() for _ in range(2)]
    Email.objects.filter(pk=mails[0].pk).update(priority=9)
    Email.objects.filter(pk=mails[1].pk).update(priority=None)

    assert ["", "9"] == [row["priority"] for row in rows_of(act(admin_client, "export_selected", *mails))]


def test_the_statements_grow_with_the_batches_and_not_with_the_mails(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(12):
        make_mail()

    def cost() -> int:
        response = act_on_all(admin_client, "export_selected", "")
        with CaptureQueriesContext(connection) as captured:
            text_of(response)
        return len(captured)

    monkeypatch.setattr(exports, "BATCH", 12)
    one = cost()
    monkeypatch.setattr(exports, "BATCH", 6)

    assert (True, 2 * one) == (one <= 7, cost())


@pytest.mark.django_db(transaction=True)
def test_it_needs_no_cursor_on_the_server(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_mail()
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)

    assert 1 == len(rows_of(act_on_all(admin_client, "export_selected", "")))


@pytest.mark.django_db(transaction=True)
def test_an_asynchronous_server_gets_it_in_pieces_too(admin_user: User) -> None:
    make_mail()
    request: Any = AsyncRequestFactory().post("/", {})
    request.user = admin_user
    response = site._registry[Email].export_selected(request, Email.objects.all())  # type: ignore[attr-defined]

    async def pieces() -> list[str]:
        return [piece async for piece in cast("AsyncIterator[str]", response.streaming_content)]

    assert (True, 2) == (response.is_async, len(async_to_sync(pieces)()))


def test_it_changes_nothing_but_leaves_an_entry(admin_client: Client) -> None:
    mails = [make_mail(), make_mail(status=STATUS.sent)]
    act(admin_client, "export_selected", *mails)
    entry = LogEntry.objects.get()

    assert [State.WAITING, State.SENT] == [state_of(mail).state for mail in mails]
    assert ("2 mails", f"Exported: {mails[1].pk}, {mails[0].pk}") == (entry.object_repr, entry.change_message)


def test_the_entry_of_a_long_selection_is_short(admin_client: Client) -> None:
    act(admin_client, "export_selected", *[make_mail() for _ in range(21)])

    assert LogEntry.objects.get().change_message.endswith(" …")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?state=failed&q=ann@example.com", "Exported all mails of the filter: state=failed q=…"),
        ("", "Exported all mails of the filter: -"),
    ],
)
def test_the_entry_of_a_whole_filter_names_it_but_nobody_in_it(
    admin_client: Client, query: str, expected: str
) -> None:
    make_mail()
    act_on_all(admin_client, "export_selected", query)

    assert expected == LogEntry.objects.get().change_message


def test_it_needs_its_permission(reader: Client) -> None:
    for codename in ("requeue_mail", "cancel_mail", "hold_mail", "correct_mail", "view_body"):
        allow(codename)
    mail = make_mail()

    assert 403 == act(reader, "export_selected", mail).status_code
    assert ("export_selected" in reader.get(reverse(LIST)).content.decode(), 0) == (False, LogEntry.objects.count())


def test_it_needs_no_other_permission(reader: Client) -> None:
    allow("export_mail")

    assert 1 == len(rows_of(act(reader, "export_selected", make_mail())))


def test_it_needs_a_csrf_token_and_a_post(admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    data = {"action": "export_selected", "index": "0", "_selected_action": [str(make_mail().pk)]}
    posted, got = client.post(reverse(LIST), data), client.get(reverse(LIST), data)

    assert (403, 0) == (posted.status_code, LogEntry.objects.count())
    assert "attachment" not in got.headers.get("Content-Disposition", "")
