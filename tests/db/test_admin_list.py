"""The list of mails in the admin: what it shows, how it is searched and narrowed, and what that costs."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from post_office.models import STATUS, Email, EmailTemplate
from post_office.settings import get_default_mailer

from mailqueue.admin.emails import MailAdmin
from mailqueue.models import AttemptOutcome, BackendHealth
from mailqueue.ops.states import State, state_of
from tests.support.admin_acts import act_on_all, messages_of
from tests.support.situations import SITUATIONS, make_attempt, make_mail

pytestmark = pytest.mark.django_db

LIST = "admin:post_office_email_changelist"


def shown(client: Client, **query: Any) -> set[int]:
    """The mails on the list that a query brings."""
    response = client.get(reverse(LIST), query)
    assert response.status_code == 200
    return {mail.pk for mail in response.context["cl"].result_list}


def test_the_admin_of_mail_is_ours() -> None:
    assert MailAdmin is type(admin.site.get_model_admin(Email))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_list_says_the_state_in_words(admin_client: Client, situation: str) -> None:
    make, state = SITUATIONS[situation]
    make()
    page = admin_client.get(reverse(LIST)).content.decode()

    assert f'<span class="mail-state mail-state-{state}">{state.label}</span>' in page


@pytest.mark.parametrize("state", State)
def test_the_list_is_narrowed_by_state(admin_client: Client, state: State) -> None:
    mails = {make().pk: expected for make, expected in SITUATIONS.values()}
    wanted = {pk for pk, expected in mails.items() if expected == state}

    assert wanted == shown(admin_client, state=state)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"state": "waitting"}, "There is no state “waitting”. It is one of: waiting, scheduled, "),
        ({"state": "\0"}, "There is no state “\0”. "),
        ({"backend": "defualt"}, "There is no backend “defualt”. These are configured: default"),
        ({"backend": "\0"}, "There is no backend “\0”. "),
        ({"changed": "week"}, "“week” is no time of a change. It is: day."),
    ],
)
def test_what_can_not_be_filtered_by_is_said_and_acted_on_by_nobody(
    admin_client: Client, query: dict[str, str], said: str
) -> None:
    mail = make_mail()
    response = admin_client.get(reverse(LIST), query, follow=True)
    acted = act_on_all(admin_client, "cancel_selected", f"?{urlencode(query)}")

    assert (f"{reverse(LIST)}?e=1", 302) == response.redirect_chain[-1]
    assert [True, True] == [messages_of(one)[0].startswith(said) for one in (response, acted)]
    assert State.WAITING == state_of(mail).state


@pytest.mark.parametrize("name", ["state", "backend", "changed"])
def test_an_empty_filter_narrows_nothing(admin_client: Client, name: str) -> None:
    mail = make_mail()

    assert {mail.pk} == shown(admin_client, **{name: ""})


@pytest.mark.parametrize("is_left", ["a row", "mail"])
def test_a_backend_that_was_configured_once_can_be_filtered_by(admin_client: Client, is_left: str) -> None:
    mails = [make_mail(backend_alias="gone")] if is_left == "mail" else []
    BackendHealth.objects.create(alias="gone" if is_left == "a row" else "other")

    assert {mail.pk for mail in mails} == shown(admin_client, backend="gone")


def test_the_list_is_narrowed_by_the_last_change(admin_client: Client) -> None:
    mails = [make_mail() for _ in range(2)]
    for mail, hours in zip(mails, (23, 25), strict=True):
        Email.objects.filter(pk=mail.pk).update(last_updated=timezone.now() - timedelta(hours=hours))

    assert {mails[0].pk} == shown(admin_client, changed="day")


@pytest.mark.parametrize("wrong", ["abc", "1.5", "", "-1", " 1", "٣", "9" * 30, "\0"])
def test_what_is_no_number_of_a_mail_is_refused(admin_client: Client, wrong: str) -> None:
    mail = make_mail()
    data = {"action": "cancel_selected", "index": "0", ACTION_CHECKBOX_NAME: [str(mail.pk), wrong]}
    response = admin_client.post(reverse(LIST), data)

    assert (400, True) == (response.status_code, response.text.startswith(f"“{wrong}” is not the number of a mail."))
    assert State.WAITING == state_of(mail).state


def test_a_number_that_no_mail_has_finds_none(admin_client: Client) -> None:
    data = {"action": "cancel_selected", "index": "0", ACTION_CHECKBOX_NAME: [str(2**63 - 1)]}

    assert 200 == admin_client.post(reverse(LIST), data, follow=True).status_code


def test_mail_without_a_backend_belongs_to_the_default_one(admin_client: Client) -> None:
    mail = make_mail()
    make_mail(backend_alias="other")

    assert {mail.pk} == shown(admin_client, backend=get_default_mailer())


@pytest.mark.parametrize(
    "words",
    [
        "ann@",
        "<ann@example.com>",
        "invoice <ann@example.com>",
        "carl@example.com",
        "bob@example.com",
        "invoice",
        "<1.2@host>",
        "1.2@host",
    ],
)
def test_a_mail_is_found_by_recipient_subject_and_message_id(admin_client: Client, words: str) -> None:
    mail = make_mail(subject="Your invoice", message_id="<1.2@host>", cc=["bob@example.com"], bcc=["carl@example.com"])
    make_mail(to="zoe@example.org", subject="Another", message_id="<3.4@host>")

    assert {mail.pk} == shown(admin_client, q=words)


def test_the_newest_mail_comes_first(admin_client: Client) -> None:
    ids = [make_mail().pk for _ in range(3)]
    response = admin_client.get(reverse(LIST))

    assert ids[::-1] == [mail.pk for mail in response.context["cl"].result_list]


def test_fifty_mails_cost_as_many_statements_as_two(admin_client: Client) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(reverse(LIST))
        return len(captured)

    template = EmailTemplate.objects.create(name="hello", subject="Hello {{ name }}", content="Hello")
    for _ in range(2):
        make_attempt(make_mail(template=template, context={"name": "Ann"}), AttemptOutcome.RETRY)
    of_two = cost()
    for _ in range(48):
        make_attempt(make_mail(template=template, context={"name": "Ann"}), AttemptOutcome.RETRY)
    of_fifty = cost()

    assert (of_two, of_fifty) == (9, 9)


def test_no_filter_counts_or_asks_for_the_values_in_the_table(admin_client: Client) -> None:
    with CaptureQueriesContext(connection) as captured:
        admin_client.get(reverse(LIST), {"state": "sent", "_facets": "True"})
    counts = [query for query in captured if "COUNT(*)" in query["sql"] and "post_office_email" in query["sql"]]
    distinct = [query for query in captured if "SELECT DISTINCT" in query["sql"] and "ON (" not in query["sql"]]

    assert (len(counts), len(distinct)) == (1, 0)


def test_the_subject_of_a_mail_from_a_template_is_rendered(admin_client: Client) -> None:
    template = EmailTemplate.objects.create(name="hello", subject="Hello {{ name }}", content="Hello")
    make_mail(subject="", template=template, context={"name": "Ann"})

    assert "Hello Ann" in admin_client.get(reverse(LIST)).content.decode()


def test_a_broken_template_shows_as_it_is_written(admin_client: Client) -> None:
    template = EmailTemplate.objects.create(name="hello", subject="Hello {% nonsense %}", content="Hello")
    make_mail(subject="", template=template, context={"name": "Ann"})

    assert "Hello {% nonsense %}" in admin_client.get(reverse(LIST)).content.decode()


def test_markup_in_a_subject_is_shown_as_text(admin_client: Client) -> None:
    make_mail(subject="<script>alert(1)</script>")

    assert "<script>alert" not in admin_client.get(reverse(LIST)).content.decode()


def test_a_mail_without_recipients_can_be_opened_from_the_list(admin_client: Client) -> None:
    mail = Email.objects.create(from_email="a@example.com", to=[], status=STATUS.queued)

    assert (
        reverse("admin:post_office_email_change", args=[mail.pk]) in admin_client.get(reverse(LIST)).content.decode()
    )
