"""What the admin's list counts in a large table of mails: a capped number, said honestly, on pages that end."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.admin import paginator
from mailqueue.admin.paginator import CappedCount, CappedPaginator
from mailqueue.delivery.backends import canonical
from mailqueue.models import StopReason
from tests.support.plans import rows_read
from tests.support.situations import SITUATIONS, make_mail

pytestmark = pytest.mark.django_db

LIST = "admin:post_office_email_changelist"
ATTACHMENTS = "admin:post_office_attachment_changelist"


def fill(count: int, *, status: int = STATUS.sent) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status,
                   priority, created, last_updated, backend_alias)
               SELECT 'a@x', 'b@x', '', '', 's', '', '', %s, 1, now(), now(), '' FROM generate_series(1, %s)""",
            [status, count],
        )


def analyze() -> None:
    """Have the planner know these tables as they are, and not as some other test has left its statistics."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE post_office_email, mailqueue_mailoptions, mailqueue_mailstate, mailqueue_attempt")


def counting(client: Client, query: dict[str, Any]) -> list[str]:
    """The statements by which a page of the list counts mails, by their limit."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(reverse(LIST), query).status_code == 200
    return [entry["sql"] for entry in captured if "LIMIT 10001" in entry["sql"]]


@pytest.fixture
def cap(monkeypatch: pytest.MonkeyPatch) -> int:
    """Count little, so that little need be written."""
    monkeypatch.setattr(paginator, "MOST_COUNTED", 120)
    return 120


@pytest.mark.parametrize("query", [{}, {"state": "sent"}, {"backend": canonical("")}, {"q": "b@x"}])
def test_a_count_reads_a_little_more_than_it_may_count_and_no_more(
    admin_client: Client, query: dict[str, str]
) -> None:
    fill(30_000)
    analyze()
    (statement,) = counting(admin_client, query)

    assert 10_001 <= rows_read(statement) <= 10_500


def test_few_mails_are_counted_exactly(admin_client: Client, cap: int) -> None:
    fill(cap)
    changes = admin_client.get(reverse(LIST)).context["cl"]

    assert (str(cap), cap, False) == (
        str(changes.result_count),
        changes.result_count,
        hasattr(changes.result_count, "listed"),
    )


def test_of_a_large_table_the_page_says_about_how_many_it_holds(admin_client: Client, cap: int) -> None:
    fill(30_000)
    analyze()
    page = admin_client.get(reverse(LIST)).content.decode()

    assert "about 30000 Emails" in " ".join(page.split())
    assert "Select all about 30000 Emails" in page
    assert "The list ends after 120." in page


def test_statistics_that_know_less_than_was_counted_are_not_believed(admin_client: Client, cap: int) -> None:
    analyze()
    fill(cap + 1)

    assert "more than 120" == str(admin_client.get(reverse(LIST)).context["cl"].result_count)


@pytest.mark.parametrize("query", [{"state": "sent"}, {"q": "b@x"}])
def test_of_what_is_narrowed_it_says_more_than_was_counted(
    admin_client: Client, query: dict[str, str], cap: int
) -> None:
    fill(1_000)
    analyze()
    page = " ".join(admin_client.get(reverse(LIST), query).content.decode().split())

    assert ("more than 120 Emails" in page, "about" in page) == (True, False)


def test_thousands_may_be_set_apart(admin_client: Client, cap: int, settings: Settings) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    fill(30_000)
    analyze()
    page = " ".join(admin_client.get(reverse(LIST)).content.decode().split())

    assert "about 30,000 Emails" in page


def test_the_pages_end_at_the_cap_and_each_of_them_is_there(admin_client: Client, cap: int) -> None:
    fill(1_000)
    newest = list(Email.objects.order_by("-pk").values_list("pk", flat=True)[:cap])
    pages = [
        [mail.pk for mail in admin_client.get(reverse(LIST), {"p": number}).context["cl"].result_list]
        for number in (1, 2, 3)
    ]

    assert newest == [pk for page in pages for pk in page]
    assert 302 == admin_client.get(reverse(LIST), {"p": 4}).status_code


def test_all_across_the_pages_means_more_than_the_list_shows(admin_client: Client, cap: int) -> None:
    fill(300, status=STATUS.queued)
    some = Email.objects.order_by("-pk").first()
    assert some is not None
    data = {"action": "cancel_selected", "select_across": "1", "index": "0", "_selected_action": [some.pk]}
    data["asked"] = admin_client.post(reverse(LIST), data).context["asked"]
    response = admin_client.post(reverse(LIST), data, follow=True)

    assert ["300 mails were cancelled."] == [str(message) for message in response.context["messages"]]
    assert 300 == Email.objects.filter(mailqueue_state__reason=StopReason.CANCELLED).count()


def test_a_small_selection_still_works(admin_client: Client, cap: int) -> None:
    fill(300)
    mail = make_mail()
    data = {"action": "cancel_selected", "select_across": "0", "index": "0", "_selected_action": [mail.pk]}
    response = admin_client.post(reverse(LIST), data, follow=True)

    assert ["1 mail was cancelled."] == [str(message) for message in response.context["messages"]]


def test_a_large_table_costs_one_statement_more_and_no_other_count(admin_client: Client, cap: int) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(reverse(LIST))
        return len(captured)

    fill(60)
    of_few = cost()
    fill(1_000)

    assert of_few + 1 == cost()


def test_the_list_of_attachments_counts_once(admin_client: Client) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert admin_client.get(reverse(ATTACHMENTS)).status_code == 200
    counts = [entry["sql"] for entry in captured if "COUNT(" in entry["sql"]]

    assert (1, True) == (len(counts), "LIMIT 10001" in counts[0])


def test_a_page_of_the_list_reads_the_newest_mails_and_not_the_table() -> None:
    fill(30_000)
    analyze()
    rows = CappedPaginator(Email.objects.order_by("-pk"), 50).page(1).object_list

    assert rows_read(str(rows.query)) <= 51


@pytest.mark.parametrize("state", ["partly_sent", "expired", "cancelled", "unknown", "held", "retrying", "sending"])
def test_mails_in_a_rare_state_are_not_looked_for_in_all(admin_client: Client, state: str) -> None:
    fill(10_000)
    fill(10_000, status=STATUS.failed)
    for make, is_in in SITUATIONS.values():
        if is_in == state:
            make()
    analyze()
    with CaptureQueriesContext(connection) as captured:
        assert admin_client.get(reverse(LIST), {"state": state}).status_code == 200
    reads = [rows_read(entry["sql"]) for entry in captured if "post_office_email" in entry["sql"]]

    assert max(reads) < 100, reads


def test_a_capped_count_is_the_number_that_pages_are_made_of() -> None:
    count = CappedCount(10_000, about=9_000)

    assert (10_000, "more than 10000", "10000") == (count, str(count), count.listed)
