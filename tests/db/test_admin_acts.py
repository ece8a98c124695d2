"""Requeue and cancel in the admin: by POST, with their own permissions, on the record, and never sending."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from post_office.models import STATUS, Email

from mailqueue.models import AttemptOutcome, MailState, StopReason
from mailqueue.ops.forecast import Change
from mailqueue.ops.states import State, state_of
from mailqueue.queue.orders import cancel
from tests.support.admin_acts import act, allow, asked_of, at_that_time, make_reader, messages_of
from tests.support.situations import SITUATIONS, make_attempt, make_mail

pytestmark = pytest.mark.django_db


def made(situation: str) -> Email:
    make, _ = SITUATIONS[situation]
    return make()


@pytest.fixture
def reader(client: Client) -> Client:
    make_reader(client)
    return client


def test_a_selection_is_requeued(admin_client: Client) -> None:
    mails = [made("failed"), made("held"), made("requeued for later by hand")]
    act(admin_client, "requeue_selected", *mails)

    assert [state_of(mail).state for mail in mails] == [State.WAITING] * 3


@pytest.mark.parametrize(
    "situation", ["sent", "unknown, left to a person", "unknown, to be sent again", "to be retried"]
)
def test_a_selection_that_could_come_twice_is_asked_about(admin_client: Client, situation: str) -> None:
    mails = [made(situation), made("failed")]
    before = [state_of(mail).state for mail in mails]
    response = act(admin_client, "requeue_selected", *mails)

    assert before == [state_of(mail).state for mail in mails]
    assert "ann@example.com" in response.content.decode()


def test_a_selection_is_requeued_when_confirmed(admin_client: Client) -> None:
    mails = [made("sent"), made("failed")]
    question = act(admin_client, "requeue_selected", *mails)
    act(admin_client, "requeue_selected", *mails, asked=asked_of(question))

    assert [state_of(mail).state for mail in mails] == [State.WAITING] * 2


def test_a_mail_that_was_unknown_and_then_cancelled_is_asked_about(admin_client: Client) -> None:
    mail = made("unknown, to be sent again")
    cancel([mail.pk], by="grace", using="default")
    page = act(admin_client, "requeue_selected", mail).content.decode()

    assert state_of(mail).state == State.CANCELLED
    assert "These may have it already and will get it, perhaps a second time:" in page


def test_a_mail_that_was_sent_after_the_question_is_left_alone_and_named(admin_client: Client) -> None:
    asked_about, surprise = made("sent"), made("failed")
    question = act(admin_client, "requeue_selected", asked_about, surprise)
    make_attempt(surprise, AttemptOutcome.SENT)
    response = act(admin_client, "requeue_selected", asked_about, surprise, asked=asked_of(question))

    assert [state_of(mail).state for mail in (asked_about, surprise)] == [State.WAITING, State.FAILED]
    assert ["1 mail was queued again.", f"1 mail is left as it is: {Change.UNASKED.label}."] == messages_of(response)


def test_an_answer_that_comes_a_second_time_sends_nothing_a_second_time(admin_client: Client) -> None:
    mail = made("sent")
    asked = asked_of(act(admin_client, "requeue_selected", mail))
    act(admin_client, "requeue_selected", mail, asked=asked)
    make_attempt(mail, AttemptOutcome.SENT)
    Email.objects.filter(pk=mail.pk).update(status=STATUS.sent)
    response = act(admin_client, "requeue_selected", mail, asked=asked)

    assert [
        "1 mail is left as it is: somebody would have got it twice, and you were not asked about it."
    ] == messages_of(response)
    assert Email.objects.get().status == STATUS.sent


@pytest.mark.parametrize("answer", ["", "1", "forged:signature"])
def test_an_answer_that_was_not_asked_for_is_none(admin_client: Client, answer: str) -> None:
    mail = made("sent")
    act(admin_client, "requeue_selected", mail, asked=answer)

    assert state_of(mail).state == State.SENT


@pytest.mark.parametrize(("ago", "state"), [(3500, State.WAITING), (3700, State.SENT)])
def test_an_answer_counts_for_an_hour(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, ago: float, state: State
) -> None:
    mail = made("sent")
    with monkeypatch.context() as then:
        at_that_time(then, ago)
        asked = asked_of(act(admin_client, "requeue_selected", mail))
    response = act(admin_client, "requeue_selected", mail, asked=asked)
    is_told = any("more than an hour after the question" in message for message in messages_of(response))

    assert (state, state == State.SENT) == (state_of(mail).state, is_told)
    assert is_told == ("asked" in response.context)  # type: ignore[attr-defined]


def test_an_answer_counts_for_the_person_who_was_asked(reader: Client) -> None:
    allow("requeue_mail")
    mail = made("sent")
    other = Client()
    other.force_login(User.objects.create_superuser("other"))
    asked = asked_of(act(other, "requeue_selected", mail))
    response = act(reader, "requeue_selected", mail, asked=asked)

    assert (200, True, State.SENT) == (response.status_code, bool(asked_of(response)), state_of(mail).state)


def test_a_question_that_comes_again_keeps_the_note(admin_client: Client) -> None:
    page = act(admin_client, "hold_selected", made("queued"), asked="old", note='the "price"').content.decode()

    assert 'value="the &quot;price&quot;"' in page


def test_a_long_selection_is_listed_in_part(admin_client: Client) -> None:
    mails = [make_mail(status=STATUS.sent) for _ in range(23)]

    assert "… and 3 more." in act(admin_client, "requeue_selected", *mails).content.decode()


def test_a_selection_is_cancelled_by_name(admin_client: Client) -> None:
    mail = made("queued")
    act(admin_client, "cancel_selected", mail)
    stop = MailState.objects.get(email=mail.pk)

    assert (stop.reason, stop.stopped_by) == (StopReason.CANCELLED, "admin")


@pytest.mark.parametrize("action", ["cancel_selected", "requeue_selected"])
def test_a_mail_that_is_being_sent_is_left_alone_and_named(admin_client: Client, action: str) -> None:
    mail = made("being sent")
    response = act(admin_client, action, mail)

    assert state_of(mail).state == State.SENDING
    assert [
        "1 mail is being sent right now and is left as it is. Try again when the attempt has ended."
    ] == messages_of(response)


@pytest.mark.parametrize("name", ["admin:resend", "admin:mailqueue_email_release"])
def test_of_one_mail_the_question_speaks_of_it_alone(admin_client: Client, name: str) -> None:
    mail = made("held")
    make_attempt(mail, AttemptOutcome.UNKNOWN)
    page = admin_client.get(reverse(name, args=[mail.pk])).content.decode()

    assert "It could come a second time to somebody who has it, or may have it." in page
    assert "of them" not in page


def test_held_mail_is_cancelled_and_what_is_stopped_otherwise_is_left(admin_client: Client) -> None:
    held, failed, unknown = made("held"), made("failed"), made("unknown, left to a person")
    response = act(admin_client, "cancel_selected", held, failed, unknown)

    assert "1 mail was cancelled." == messages_of(response)[0]
    assert [State.CANCELLED, State.FAILED, State.UNKNOWN] == [state_of(mail).state for mail in (held, failed, unknown)]


def test_a_mail_that_is_sent_can_not_be_cancelled(admin_client: Client) -> None:
    response = act(admin_client, "cancel_selected", made("sent"), made("queued"))

    assert [
        "1 mail was cancelled.",
        "1 mail is left as it is, for its state does not allow it: sent.",
    ] == messages_of(response)


@pytest.mark.parametrize("action", ["requeue_selected", "cancel_selected"])
def test_an_act_on_a_selection_needs_its_permission(reader: Client, action: str) -> None:
    mail = made("to be retried")

    assert act(reader, action, mail).status_code == 403
    assert state_of(mail).state == State.RETRYING


@pytest.mark.parametrize(
    ("action", "codename", "expected"),
    [
        ("requeue_selected", "requeue_mail", State.WAITING),
        ("cancel_selected", "cancel_mail", State.CANCELLED),
    ],
)
def test_an_act_on_a_selection_needs_no_other_permission(
    reader: Client, action: str, codename: str, expected: State
) -> None:
    allow(codename)
    mail = made("scheduled")
    act(reader, action, mail)

    assert expected == state_of(mail).state


@pytest.mark.parametrize("action", ["requeue_selected", "cancel_selected"])
def test_an_act_leaves_an_entry_in_the_log_for_each_mail(admin_client: Client, action: str) -> None:
    mails = [made("requeued for later by hand"), made("scheduled")]
    act(admin_client, action, *mails, made("being sent"))

    assert {str(mail.pk) for mail in mails} == set(LogEntry.objects.values_list("object_id", flat=True))


def test_resend_asks_and_changes_nothing_on_get(admin_client: Client) -> None:
    mail = made("sent")
    response = admin_client.get(reverse("admin:resend", args=[mail.pk]))

    assert "These have it already and will get it again:" in response.content.decode()
    assert (state_of(mail).state, LogEntry.objects.count()) == (State.SENT, 0)


def test_resend_of_a_partly_sent_mail_names_who_gets_it_and_who_does_not(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:resend", args=[made("partly sent").pk])).content.decode()
    gets, spared = page.index("bob@example.com"), page.index("ann@example.com")

    assert page.index("These will get it:") < gets < page.index("These will not get it again:") < spared


def test_resend_of_an_unknown_mail_warns(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:resend", args=[made("unknown, left to a person").pk])).content.decode()

    assert "perhaps a second time" in page


def test_resend_asks_on_a_post_too_where_a_mail_could_come_twice(admin_client: Client) -> None:
    mail = made("sent")
    response = admin_client.post(reverse("admin:resend", args=[mail.pk]))

    assert "These have it already and will get it again:" in response.content.decode()
    assert (state_of(mail).state, LogEntry.objects.count()) == (State.SENT, 0)


def test_resend_queues_when_confirmed_and_sends_nothing(admin_client: Client) -> None:
    mail = made("sent")
    address = reverse("admin:resend", args=[mail.pk])
    response = admin_client.post(address, {"asked": asked_of(admin_client.get(address))})

    assert (state_of(mail).state, LogEntry.objects.count()) == (State.WAITING, 1)
    assert reverse("admin:post_office_email_change", args=[mail.pk]) == response["Location"]


@pytest.mark.parametrize("method", ["put", "delete", "options"])
def test_resend_takes_no_other_method(admin_client: Client, method: str) -> None:
    assert getattr(admin_client, method)(reverse("admin:resend", args=[made("sent").pk])).status_code == 405


def test_cancel_takes_posts_only(admin_client: Client) -> None:
    mail = made("queued")
    address = reverse("admin:mailqueue_email_cancel", args=[mail.pk])
    got, posted = admin_client.get(address), admin_client.post(address)

    assert (got.status_code, posted.status_code, state_of(mail).state) == (405, 302, State.CANCELLED)


@pytest.mark.parametrize("name", ["admin:resend", "admin:mailqueue_email_cancel"])
def test_an_act_on_one_mail_needs_its_permission(reader: Client, name: str) -> None:
    mail = made("to be retried")

    assert reader.post(reverse(name, args=[mail.pk])).status_code == 403
    assert state_of(mail).state == State.RETRYING


@pytest.mark.parametrize("name", ["admin:resend", "admin:mailqueue_email_cancel"])
def test_an_act_needs_a_csrf_token(admin_user: User, name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)

    assert client.post(reverse(name, args=[made("to be retried").pk])).status_code == 403


@pytest.mark.parametrize("name", ["admin:resend", "admin:mailqueue_email_cancel"])
def test_an_act_on_a_mail_that_is_gone_is_not_found(admin_client: Client, name: str) -> None:
    assert admin_client.post(reverse(name, args=[1])).status_code == 404


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        ("queued", (False, True)),
        ("scheduled", (True, True)),
        ("being sent", (False, False)),
        ("to be retried", (True, True)),
        ("unknown, to be sent again", (True, True)),
        ("unknown, left to a person", (True, False)),
        ("sent", (True, False)),
        ("failed", (True, False)),
        ("cancelled", (True, False)),
        ("held", (False, True)),
        ("interrupted", (False, False)),
    ],
)
def test_the_page_has_buttons_for_what_the_state_allows(
    admin_client: Client, situation: str, expected: tuple[bool, bool]
) -> None:
    assert expected == buttons(admin_client, made(situation))


def test_the_page_has_no_buttons_for_a_reader(reader: Client) -> None:
    assert buttons(reader, made("to be retried")) == (False, False)


def buttons(client: Client, mail: Email) -> tuple[bool, bool]:
    page = client.get(reverse("admin:post_office_email_change", args=[mail.pk])).content.decode()
    return tuple(  # type: ignore[return-value]
        reverse(name, args=[mail.pk]) in page for name in ("admin:resend", "admin:mailqueue_email_cancel")
    )
