"""Orders for all that a filter finds: counted before, done in batches, and reported as it was done."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import STATUS, Email

from mailqueue.models import AttemptOutcome, MailState
from mailqueue.ops import forecast
from mailqueue.ops.states import State, state_of
from tests.support.admin_acts import act_on_all, asked_of, messages_of
from tests.support.situations import SITUATIONS, make_attempt, make_mail

pytestmark = pytest.mark.django_db

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON post_office_email FOR EACH ROW WHEN (old.id = {pk}) EXECUTE FUNCTION refuse();
"""


def made(situation: str) -> Email:
    make, _ = SITUATIONS[situation]
    return make()


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "BATCH", 2)


def state_count(state: State) -> int:
    return sum(state_of(mail).state == state for mail in Email.objects.all())


@pytest.mark.parametrize(
    ("action", "situation", "query", "expected"),
    [
        ("requeue_selected", "failed", "?state=failed", State.WAITING),
        ("release_selected", "held", "?state=held", State.WAITING),
        ("cancel_selected", "scheduled", "?state=scheduled", State.CANCELLED),
        ("hold_selected", "queued", "?state=waiting", State.HELD),
    ],
)
def test_all_that_a_filter_finds_is_acted_on_after_a_question(
    admin_client: Client, small_batches: None, action: str, situation: str, query: str, expected: State
) -> None:
    for _ in range(5):
        made(situation)
    other = made("sent")
    question = act_on_all(admin_client, action, query)
    before = state_count(expected)
    act_on_all(admin_client, action, query, asked=asked_of(question), note="the price is wrong")

    assert (before, state_count(expected)) == (0, 5)
    assert (state_of(other).state, LogEntry.objects.count()) == (State.SENT, 5)


def test_the_question_counts_what_would_be_done_what_could_come_twice_and_what_is_left_out(
    admin_client: Client, small_batches: None
) -> None:
    for situation in ("failed", "failed", "sent", "unknown, to be sent again", "being sent", "interrupted"):
        made(situation)
    make_mail(status=STATUS.failed, expires_at=timezone.now() - timedelta(seconds=1))
    context = act_on_all(admin_client, "requeue_selected", "").context  # type: ignore[attr-defined]

    assert "4 mails will be queued again and sent as soon as a sender is free." == context["will"]
    assert context["twice"].startswith("2 of them could come a second time")
    assert [
        "1 mail is being sent right now and is left as it is. Try again when the attempt has ended.",
        "1 mail is left as it is: the time in which it may be sent is over.",
        "1 mail is left as it is, for its state does not allow it: interrupted.",
    ] == context["left"]


def test_the_question_names_those_who_could_get_a_mail_twice_and_counts_the_rest(admin_client: Client) -> None:
    for number in range(22):
        make_mail(status=STATUS.sent, to=f"sent{number}@example.com")
    make_mail(status=STATUS.failed, to="failed@example.com")
    page = act_on_all(admin_client, "requeue_selected", "").content.decode()

    assert ("sent21@" in page, "sent1@" in page, "failed@" in page, "… and 2 more." in page) == (
        True,
        False,
        False,
        True,
    )


def test_the_question_of_a_whole_filter_posts_no_more_than_one_number(admin_client: Client) -> None:
    for _ in range(5):
        made("failed")

    assert 1 == len(act_on_all(admin_client, "requeue_selected", "").context["selected"])  # type: ignore[attr-defined]


def test_what_the_filter_finds_when_the_answer_comes_is_acted_on_and_the_difference_said(
    admin_client: Client,
) -> None:
    first = made("queued")
    question = act_on_all(admin_client, "cancel_selected", "?state=waiting")
    second = made("queued")
    response = act_on_all(admin_client, "cancel_selected", "?state=waiting", asked=asked_of(question))

    assert [State.CANCELLED] * 2 == [state_of(mail).state for mail in (first, second)]
    assert ["2 mails were cancelled.", "When you were asked, it was 1 mail."] == messages_of(response)


def test_what_could_come_twice_since_the_question_is_left_out_and_reported(admin_client: Client) -> None:
    asked_about, surprise = made("unknown, left to a person"), made("failed")
    question = act_on_all(admin_client, "requeue_selected", "")
    make_attempt(surprise, AttemptOutcome.UNKNOWN)
    response = act_on_all(admin_client, "requeue_selected", "", asked=asked_of(question))

    assert [State.WAITING, State.FAILED] == [state_of(mail).state for mail in (asked_about, surprise)]
    assert [
        "1 mail was queued again.",
        "1 mail is left as it is: somebody would have got it twice, and you were not asked about it.",
        "When you were asked, it was 2 mails.",
    ] == messages_of(response)


def test_the_answer_to_one_question_is_none_to_another(admin_client: Client) -> None:
    mail = made("queued")
    question = act_on_all(admin_client, "hold_selected", "?state=waiting")
    act_on_all(admin_client, "cancel_selected", "?state=waiting", asked=asked_of(question))

    assert state_of(mail).state == State.WAITING


@pytest.mark.parametrize("action", ["requeue_selected", "cancel_selected", "hold_selected", "release_selected"])
def test_the_statements_grow_with_the_batches_and_not_with_the_mails(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    def cost() -> int:
        Email.objects.all().delete()
        for _ in range(12):
            made("held" if action == "release_selected" else "queued")
        with CaptureQueriesContext(connection) as captured:
            question = act_on_all(admin_client, action, "")
            act_on_all(admin_client, action, "", asked=asked_of(question))
        return len([entry for entry in captured if "SAVEPOINT" not in entry["sql"]])

    cost()  # what the list asks about its senders once
    monkeypatch.setattr(forecast, "BATCH", 12)
    one = cost()
    monkeypatch.setattr(forecast, "BATCH", 4)
    three = cost()

    assert one < three <= one + 2 * 12


@pytest.mark.django_db(transaction=True)
def test_where_the_database_refuses_to_go_on_whole_batches_are_done_recorded_and_reported(
    admin_client: Client, small_batches: None
) -> None:
    mails = [made("queued") for _ in range(6)]
    with connection.cursor() as cursor:
        cursor.execute(REFUSE.format(pk=mails[3].pk))
    try:
        question = act_on_all(admin_client, "cancel_selected", "")
        response = act_on_all(admin_client, "cancel_selected", "", asked=asked_of(question))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")
    done, refusal, *_ = messages_of(response)

    assert [mail.pk for mail in mails[:2]] == list(MailState.objects.order_by("email").values_list("email", flat=True))
    assert {str(mail.pk) for mail in mails[:2]} == set(LogEntry.objects.values_list("object_id", flat=True))
    assert "2 mails were cancelled." == done
    assert "disk full" in refusal


def test_within_a_transaction_of_the_site_a_refusal_undoes_everything(admin_client: Client) -> None:
    mail = made("queued")
    with connection.cursor() as cursor:
        cursor.execute(REFUSE.format(pk=mail.pk))
    question = act_on_all(admin_client, "cancel_selected", "")
    with pytest.raises(Exception, match="disk full"):
        act_on_all(admin_client, "cancel_selected", "", asked=asked_of(question))
