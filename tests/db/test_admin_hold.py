"""Hold and release in the admin: with a note, a permission of their own, and nothing done by a GET."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from post_office.models import STATUS, Email

from mailqueue.models import AttemptOutcome, MailState, StopReason
from mailqueue.ops.states import State, state_of
from mailqueue.queue.orders import Agreement, hold, newest_attempt, requeue_held
from tests.support.admin_acts import act, allow, asked_of, make_reader, messages_of, page_of
from tests.support.situations import LATER, SITUATIONS, make_attempt, make_mail, stop_mail

pytestmark = pytest.mark.django_db

HOLD, RELEASE = "admin:mailqueue_email_hold", "admin:mailqueue_email_release"


def made(situation: str) -> Email:
    make, _ = SITUATIONS[situation]
    return make()


@pytest.fixture
def reader(client: Client) -> Client:
    make_reader(client)
    return client


def hold_one(client: Client, mail: Email, *, note: str = "") -> None:
    address = reverse(HOLD, args=[mail.pk])
    client.post(address, {"asked": asked_of(client.get(address)), "note": note})


@pytest.mark.parametrize("situation", ["queued", "scheduled", "to be retried", "unknown, to be sent again"])
def test_a_mail_is_held_with_a_note_and_by_name(admin_client: Client, situation: str) -> None:
    mail = made(situation)
    hold_one(admin_client, mail, note=" the price is wrong\0 ")
    stop = MailState.objects.get(email=mail.pk)

    assert (StopReason.HELD, "admin", "the price is wrong") == (stop.reason, stop.stopped_by, stop.note)


def test_a_note_is_not_longer_than_the_form_allows(admin_client: Client) -> None:
    mail = made("queued")
    hold_one(admin_client, mail, note="x" * 501)

    assert "x" * 500 == MailState.objects.get(email=mail.pk).note


def test_hold_asks_for_the_note_before_it_does_anything(admin_client: Client) -> None:
    mail = made("queued")
    pages = [getattr(admin_client, method)(reverse(HOLD, args=[mail.pk])) for method in ("get", "post")]

    assert [True, True] == ['name="note"' in page.content.decode() for page in pages]
    assert (State.WAITING, 0) == (state_of(mail).state, LogEntry.objects.count())


def test_a_selection_is_held_after_a_question_with_one_note(admin_client: Client) -> None:
    mails = [made("queued"), made("scheduled"), made("sent")]
    question = act(admin_client, "hold_selected", *mails)
    response = act(admin_client, "hold_selected", *mails, asked=asked_of(question), note="wait for Monday")

    assert [State.HELD, State.HELD, State.SENT] == [state_of(mail).state for mail in mails]
    assert {"wait for Monday"} == set(MailState.objects.values_list("note", flat=True))
    assert "2 mails are held now." == messages_of(response)[0]


def test_a_mail_that_is_being_sent_is_not_held(admin_client: Client) -> None:
    mail = made("being sent")
    hold_one(admin_client, mail)

    assert State.SENDING == state_of(mail).state


def test_a_mail_held_before_its_time_and_its_first_attempt_keeps_its_time(admin_client: Client) -> None:
    mail = make_mail(scheduled_time=timezone.now() + LATER)
    hold([mail.pk], note="", by="grace", using="default")
    admin_client.post(reverse(RELEASE, args=[mail.pk]))

    assert State.SCHEDULED == state_of(mail).state


def test_release_of_a_mail_that_could_come_twice_asks_first(admin_client: Client) -> None:
    mail = made("unknown, to be sent again")
    hold([mail.pk], note="", by="grace", using="default")
    question = admin_client.post(reverse(RELEASE, args=[mail.pk]))
    before = state_of(mail).state
    admin_client.post(reverse(RELEASE, args=[mail.pk]), {"asked": asked_of(question)})

    assert "perhaps a second time" in question.content.decode()
    assert (State.HELD, State.WAITING) == (before, state_of(mail).state)


def test_release_asks_on_a_get_and_changes_nothing(admin_client: Client) -> None:
    mail = made("held")
    page = admin_client.get(reverse(RELEASE, args=[mail.pk])).content.decode()

    assert "1 held mail will be put back into the queue." in page
    assert (State.HELD, 0) == (state_of(mail).state, LogEntry.objects.count())


@pytest.mark.parametrize("situation", ["failed", "cancelled", "sent", "unknown, left to a person"])
def test_only_held_mail_is_released(admin_client: Client, situation: str) -> None:
    mail, held = made(situation), made("held")
    before = state_of(mail).state
    act(admin_client, "release_selected", mail, held)

    assert (before, State.WAITING) == (state_of(mail).state, state_of(held).state)


def test_what_was_cancelled_since_it_was_read_is_not_released() -> None:
    mail, asked, surprise = made("cancelled"), made("held"), made("held")
    for held in (asked, surprise):
        make_attempt(held, AttemptOutcome.UNKNOWN)
    agreed = Agreement({asked.pk}, newest_attempt(using="default"))

    assert [asked.pk] == requeue_held([mail.pk, asked.pk, surprise.pk], agreed=agreed, using="default")


def test_release_without_a_word_of_twice_takes_all_that_is_held() -> None:
    mail = made("held")
    make_attempt(mail, AttemptOutcome.UNKNOWN)

    assert [mail.pk] == requeue_held([mail.pk], using="default")


@pytest.mark.parametrize("name", [HOLD, RELEASE])
@pytest.mark.parametrize("method", ["get", "post"])
def test_each_needs_its_permission(reader: Client, name: str, method: str) -> None:
    for codename in ("requeue_mail", "cancel_mail", "correct_mail", "export_mail", "view_body"):
        allow(codename)

    assert 403 == getattr(reader, method)(reverse(name, args=[made("held").pk])).status_code


@pytest.mark.parametrize("action", ["hold_selected", "release_selected"])
def test_on_a_selection_it_needs_its_permission_too(reader: Client, action: str) -> None:
    mail = made("held")

    assert 403 == act(reader, action, mail).status_code
    assert action not in reader.get(reverse("admin:post_office_email_changelist")).content.decode()


def test_one_permission_serves_both_and_no_other_is_needed(reader: Client) -> None:
    allow("hold_mail")
    mail = made("queued")
    hold_one(reader, mail)
    held = state_of(mail).state
    act(reader, "release_selected", mail)

    assert (State.HELD, State.WAITING) == (held, state_of(mail).state)


@pytest.mark.parametrize("name", [HOLD, RELEASE])
def test_each_needs_a_csrf_token(admin_user: User, name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)

    assert 403 == client.post(reverse(name, args=[made("held").pk])).status_code


@pytest.mark.parametrize("name", [HOLD, RELEASE])
@pytest.mark.parametrize("method", ["put", "delete"])
def test_neither_takes_another_method(admin_client: Client, name: str, method: str) -> None:
    assert 405 == getattr(admin_client, method)(reverse(name, args=[made("held").pk])).status_code


@pytest.mark.parametrize("name", [HOLD, RELEASE])
def test_a_mail_that_is_gone_is_not_found(admin_client: Client, name: str) -> None:
    assert 404 == admin_client.get(reverse(name, args=[1])).status_code


def test_each_leaves_an_entry_that_says_what_was_done_and_why(admin_client: Client) -> None:
    mail = made("queued")
    hold_one(admin_client, mail, note="the price is wrong")
    admin_client.post(reverse(RELEASE, args=[mail.pk]))
    entries = LogEntry.objects.order_by("pk").values_list("object_id", "object_repr", "change_message")

    assert [
        (str(mail.pk), f"Mail {mail.pk}", "Held. the price is wrong"),
        (str(mail.pk), f"Mail {mail.pk}", "Released."),
    ] == list(entries)


def test_the_page_of_held_mail_offers_release_and_names_its_question(admin_client: Client) -> None:
    plain, twice = made("held"), make_mail(status=STATUS.failed)
    stop_mail(twice, StopReason.HELD)
    make_attempt(twice, AttemptOutcome.UNKNOWN)
    pages = [page_of(admin_client, mail) for mail in (plain, twice)]

    assert [True, False] == ['value="Release"' in page for page in pages]
    assert [False, True] == [">Release …<" in page for page in pages]


def test_who_may_only_requeue_is_offered_that_for_held_mail(reader: Client) -> None:
    allow("requeue_mail")

    assert 'value="Requeue"' in page_of(reader, made("held"))


@pytest.mark.parametrize(
    ("situation", "expected"),
    [("queued", (True, False)), ("held", (False, True)), ("being sent", (False, False)), ("sent", (False, False))],
)
def test_the_page_has_buttons_for_what_the_state_allows(
    admin_client: Client, situation: str, expected: tuple[bool, bool]
) -> None:
    mail = made(situation)
    page = page_of(admin_client, mail)

    assert expected == tuple(reverse(name, args=[mail.pk]) in page for name in (HOLD, RELEASE))


def test_the_page_has_neither_button_without_the_permission(reader: Client) -> None:
    mails = [made("queued"), made("held")]

    assert [False, False] == ["mail-acts" in page_of(reader, mail) for mail in mails]
