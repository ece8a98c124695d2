"""The address of a failed mail is corrected and the mail queued again, the same mail as before."""

from datetime import timedelta
from email.message import EmailMessage as Message
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.models import AttemptOutcome, MailOptions, MessageSource, StopReason
from mailqueue.ops.corrections import OutdatedError, correct, missing_of
from mailqueue.ops.states import State, state_of
from mailqueue.outbox.messages import letter_of, load_rows, recipients_of
from mailqueue.queue.orders import Agreement
from tests.support.admin_acts import allow, at_that_time, make_reader, messages_of, page_of
from tests.support.secrets import mark_wiped
from tests.support.situations import SITUATIONS, make_attempt, make_mail, stop_mail

pytestmark = pytest.mark.django_db

CORRECT = "admin:mailqueue_email_correct"
REFUSED = {"verdict": "fail", "code": 550, "enhanced": "5.1.1", "reply": "no such user"}
ACCEPTED = {"verdict": "sent", "code": 250, "enhanced": "", "reply": "ok"}


def made(situation: str) -> Email:
    make, _ = SITUATIONS[situation]
    return make()


def make_failed(**fields: Any) -> Email:
    """Make a mail whose only attempt failed, to `to` and whoever else is named."""
    mail = make_mail(status=STATUS.failed, **fields)
    make_attempt(
        mail, AttemptOutcome.FAILED, stage="rcpt", reply_code=550, enhanced_code="5.1.1", reply="no such user"
    )
    stop_mail(mail, StopReason.FAILED, note="550 5.1.1 no such user")
    return mail


def keep(mail: Email, **fields: Any) -> None:
    MessageSource.objects.create(email=mail, envelope_from="shop@example.com", **fields)


def address_of(mail: Email) -> str:
    return reverse(CORRECT, args=[mail.pk])


def fields_of(client: Client, mail: Email) -> dict[str, str]:
    """Return what the page posts as it is."""
    context = client.get(address_of(mail)).context
    form = context["form"]
    return {
        "asked": context["asked"],
        "seen": form.seen,
        **{line.html_name: line.value() for line in form.lines},
    }


def answer(client: Client, mail: Email, *addresses: str) -> Any:
    changed = {f"address-{number}": address for number, address in enumerate(addresses)}
    return client.post(address_of(mail), fields_of(client, mail) | changed, follow=True)


def row_of(mail: Email) -> Any:
    return load_rows([mail.pk], using="default")[mail.pk]


@pytest.fixture
def reader(client: Client) -> Client:
    make_reader(client)
    return client


def test_the_address_is_changed_and_the_mail_queued_again_as_the_same_mail(admin_client: Client) -> None:
    mail = make_failed(to="ann@exmaple.com", message_id="<1@host>", headers={"Date": "Mon, 1 Jan 2024 10:00:00 +0000"})
    response = answer(admin_client, mail, "ann@example.com")
    row = row_of(mail)

    assert (["ann@example.com"], "<1@host>", {"Date": "Mon, 1 Jan 2024 10:00:00 +0000"}) == (
        row.to,
        row.message_id,
        row.headers,
    )
    assert State.WAITING == state_of(mail).state
    assert ["1 address was corrected, and the mail was queued again."] == messages_of(response)


@pytest.mark.parametrize("situation", ["failed", "held"])
def test_mail_that_failed_or_is_held_can_be_corrected(admin_client: Client, situation: str) -> None:
    mail = made(situation)
    answer(admin_client, mail, "bob@example.com")

    assert (State.WAITING, ["bob@example.com"]) == (state_of(mail).state, row_of(mail).to)


def test_of_a_partly_sent_mail_only_those_are_asked_for_who_have_not_got_it(admin_client: Client) -> None:
    mail = made("partly sent")
    page = admin_client.get(address_of(mail))
    answer(admin_client, mail, "bob@example.org")
    row = row_of(mail)
    missing, has_it = missing_of(row)

    assert [("Cc", "bob@example.com", "550 5.1.1 no such user")] == [
        (line.label, line.value(), line.help_text) for line in page.context["form"].lines
    ]
    assert (["ann@example.com"], ["bob@example.org"]) == (row.to, row.cc)
    assert (["bob@example.org"], ["ann@example.com"]) == (
        [each.place.entry for each in missing],
        [place.entry for place in has_it],
    )


def test_a_name_is_kept_unless_another_is_given(admin_client: Client) -> None:
    mail = make_failed(to='"Doe, Jane" <jane@a.org>', cc=["Bob <bob@a.org>"])
    page = admin_client.get(address_of(mail))
    answer(admin_client, mail, "jane@b.org", "Robert <bob@b.org>")
    row = row_of(mail)

    assert ['To: "Doe, Jane"', "Cc: Bob"] == [line.label for line in page.context["form"].lines]
    assert (['"Doe, Jane" <jane@b.org>'], ["Robert <bob@b.org>"]) == (row.to, row.cc)


def test_what_was_said_of_a_recipient_last_stands_beside_the_address(admin_client: Client) -> None:
    mail = make_mail(status=STATUS.failed, cc=["bob@example.com"])
    make_attempt(mail, AttemptOutcome.RETRY, reply_code=451, reply="greylisted")
    make_attempt(mail, AttemptOutcome.RETRY, recipients={"ann@example.com": REFUSED})
    make_attempt(mail, AttemptOutcome.DEFERRED)
    lines = admin_client.get(address_of(mail)).context["form"].lines

    assert ["550 5.1.1 no such user", "451 greylisted"] == [line.help_text for line in lines]


def test_what_a_server_says_is_not_taken_for_html(admin_client: Client) -> None:
    mail = make_failed()
    mail.attempts.update(reply="<script>alert(1)</script>")

    assert "<script>alert" not in admin_client.get(address_of(mail)).content.decode()


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "bob",
        "a@x.org, b@x.org",
        "Bob <bob@example.com",
        "bob@example.com\r\nBcc: eve@example.com",
        "a\0@x.org",
        "Bob\n <b@x.org>",
    ],
)
def test_what_is_no_address_is_refused_and_changes_nothing(admin_client: Client, wrong: str) -> None:
    mail = make_failed()
    response = answer(admin_client, mail, wrong)

    assert response.context["form"].errors
    assert (State.FAILED, ["ann@example.com"], 0) == (
        state_of(mail).state,
        row_of(mail).to,
        LogEntry.objects.count(),
    )


def test_a_control_character_in_an_address_is_refused(admin_client: Client) -> None:
    mail = make_failed()

    assert answer(admin_client, mail, '"a\x7fb" <bob@example.com>').context["form"].errors


def test_an_error_names_the_value_and_the_remedy(admin_client: Client) -> None:
    response = answer(admin_client, make_failed(to="Ann <ann@a.org>"), "bob@")

    assert ["Ann <bob@> is not an email address. Give one address, such as jane@example.com."] == response.context[
        "form"
    ].errors["address-0"]


@pytest.mark.parametrize("given", [("Bob@example.com", "bob@example.com"), ("new@x.org", "New@x.org")])
def test_nobody_becomes_a_recipient_twice(admin_client: Client, given: tuple[str, str]) -> None:
    mail = make_failed(cc=["bob@example.com"])

    assert "is a recipient of this mail already" in answer(admin_client, mail, *given).content.decode()


def test_who_has_the_mail_is_not_written_to_again_under_another_name(admin_client: Client) -> None:
    response = answer(admin_client, made("partly sent"), "ANN@example.com")

    assert "ANN@example.com is a recipient of this mail already" in response.content.decode()


@pytest.mark.parametrize("twin", ["ann@xn--bcher-kva.de", "ann@BÜCHER.de", "Bob <ann@xn--bcher-kva.DE>"])
def test_a_domain_is_the_same_in_both_ways_of_writing_it(admin_client: Client, twin: str) -> None:
    mail = make_mail(to="ann@bücher.de", cc=["bob@a.org"], status=STATUS.sent)
    recipients = {"ann@bücher.de": ACCEPTED, "bob@a.org": REFUSED}
    make_attempt(mail, AttemptOutcome.PARTLY_SENT, recipients=recipients)
    response = answer(admin_client, mail, twin)

    assert f"{escape(twin)} is a recipient of this mail already" in response.content.decode()
    assert ["bob@a.org"] == row_of(mail).cc


@pytest.mark.parametrize(
    "new",
    [
        {"bob@a.org": "ann@xn--bcher-kva.de"},
        {"bob@a.org": "carl@A.org"},
        {"bob@a.org": "eve@bücher.de", "carl@a.org": "Eve <eve@xn--bcher-kva.de>"},
    ],
)
def test_who_would_be_a_recipient_twice_is_found_under_the_lock_too(new: dict[str, str]) -> None:
    mail = make_mail(to="ann@bücher.de", cc=["bob@a.org", "carl@a.org"], status=STATUS.sent)
    recipients = {"ann@bücher.de": ACCEPTED, "bob@a.org": REFUSED, "carl@a.org": REFUSED}
    make_attempt(mail, AttemptOutcome.PARTLY_SENT, recipients=recipients)
    with pytest.raises(OutdatedError):
        correct(mail.pk, new, expected=["bob@a.org", "carl@a.org"], agreed=Agreement(), using="default")

    assert ["bob@a.org", "carl@a.org"] == row_of(mail).cc


def test_who_has_the_mail_is_known_under_another_spelling(admin_client: Client) -> None:
    mail = made("partly sent")
    Email.objects.filter(pk=mail.pk).update(to="Ann <ann@EXAMPLE.com>")
    _, has_it = missing_of(row_of(mail))

    assert ["Ann <ann@EXAMPLE.com>"] == [place.entry for place in has_it]


def test_without_a_change_nothing_is_queued(admin_client: Client) -> None:
    mail = make_failed()
    response = answer(admin_client, mail)

    assert "No address was changed." in response.content.decode()
    assert State.FAILED == state_of(mail).state


def test_a_message_that_its_caller_built_keeps_its_bytes_and_the_page_says_so(admin_client: Client) -> None:
    mail = make_failed(to="Ann <ann@a.org>")
    keep(mail, recipients=["ann@a.org", "list@a.org"], message=b"To: Ann <ann@a.org>\r\n\r\nhello")
    page = admin_client.get(address_of(mail))
    answer(admin_client, mail, "ann@b.org", "list@a.org")
    row = row_of(mail)

    assert ["To", "Envelope"] == [line.label for line in page.context["form"].lines]
    assert "its text still names the old ones" in page.content.decode()
    assert (["ann@b.org", "list@a.org"], ["Ann <ann@b.org>"]) == (recipients_of(row), row.to)
    assert b"To: Ann <ann@a.org>\r\n\r\nhello" == bytes(row.mailqueue_source.message)


def test_who_stands_in_the_envelope_alone_is_changed_there(admin_client: Client) -> None:
    mail = make_failed(to="ann@a.org")
    keep(mail, recipients=["list@a.org"], message=b"To: ann@a.org\r\n\r\nhello")
    answer(admin_client, mail, "list@b.org")
    row = row_of(mail)

    assert (["list@b.org"], ["ann@a.org"]) == (recipients_of(row), row.to)


def test_a_header_of_the_callers_own_stays_and_the_page_says_so(admin_client: Client) -> None:
    mail = make_failed(headers={"To": "everybody"})

    assert "its text still names the old ones" in admin_client.get(address_of(mail)).content.decode()


def test_parts_beside_the_row_are_changed_with_it(admin_client: Client) -> None:
    mail = make_failed(to="ann@a.org")
    parts = {"to": ["ann@a.org"], "subject": "Tea\u2028"}
    keep(mail, recipients=["ann@a.org"], parts=parts)
    answer(admin_client, mail, "ann@b.org")
    row = row_of(mail)
    message: Message = letter_of(row, recipients=["ann@b.org"]).build().message()  # type: ignore[assignment]

    assert (["ann@b.org"], ["ann@b.org"], "ann@b.org") == (row.to, recipients_of(row), message["To"])


def test_attributes_beside_the_row_stay(admin_client: Client) -> None:
    mail = make_failed(to="ann@a.org")
    keep(mail, recipients=["ann@a.org"], attributes={"tags": ["order"]})
    answer(admin_client, mail, "ann@b.org")
    source = MessageSource.objects.get()

    assert (["ann@b.org"], None, {"tags": ["order"]}) == (source.recipients, source.parts, source.attributes)


def test_where_the_envelope_can_not_be_read_nothing_can_be_corrected(admin_client: Client) -> None:
    mail = make_failed()
    keep(mail, recipients={"ann": 1})
    response = admin_client.get(address_of(mail), follow=True)

    assert ["No recipient of this mail is known who has not got it."] == messages_of(response)


def test_more_recipients_than_anybody_corrects_are_refused(admin_client: Client) -> None:
    mail = make_failed(bcc=[f"{number}@example.com" for number in range(200)])
    response = admin_client.get(address_of(mail), follow=True)

    assert ["201 recipients have not got this mail. Here at most 200 are corrected."] == messages_of(response)
    assert address_of(mail) not in page_of(admin_client, mail)


@pytest.mark.parametrize("situation", ["queued", "being sent", "sent", "cancelled", "expired", "interrupted"])
def test_in_other_states_it_is_refused(admin_client: Client, situation: str) -> None:
    mail = made(situation)
    response = admin_client.get(address_of(mail), follow=True)

    assert messages_of(response)[0].startswith(
        "Addresses are corrected on mail that failed, was partly sent, or is held."
    )
    assert address_of(mail) not in page_of(admin_client, mail)


def test_mail_whose_time_is_over_or_that_was_wiped_is_refused(admin_client: Client) -> None:
    over = make_failed(expires_at=timezone.now() - timedelta(seconds=1))
    wiped = made("partly sent")
    MailOptions.objects.create(email=wiped, is_sensitive=True)
    mark_wiped(wiped)
    said = [messages_of(admin_client.get(address_of(mail), follow=True)) for mail in (over, wiped)]

    assert [
        ["1 mail is left as it is: the time in which it may be sent is over."],
        ["1 mail is left as it is: what it said is no longer kept."],
    ] == said


def test_a_mail_that_could_come_twice_is_asked_about_on_the_page(admin_client: Client) -> None:
    mail = make_failed(cc=["bob@example.com"])
    make_attempt(mail, AttemptOutcome.UNKNOWN)
    fields = fields_of(admin_client, mail)
    unasked = admin_client.post(address_of(mail), {**fields, "asked": "", "address-0": "ann@example.org"})
    before = state_of(mail).state
    admin_client.post(address_of(mail), {**fields, "address-0": "ann@example.org"})

    assert "may get it a second time" in unasked.content.decode()
    assert (State.FAILED, State.WAITING) == (before, state_of(mail).state)


def test_an_answer_that_comes_too_late_is_asked_for_again(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = make_failed()
    make_attempt(mail, AttemptOutcome.UNKNOWN)
    with monkeypatch.context() as then:
        at_that_time(then, 3700)
        fields = fields_of(admin_client, mail)
    response = admin_client.post(address_of(mail), {**fields, "address-0": "ann@example.org"})

    assert "more than an hour after the question" in messages_of(response)[0]
    assert (State.FAILED, ["ann@example.org"]) == (
        state_of(mail).state,
        [line.value() for line in response.context["form"].lines],
    )


def test_who_got_it_since_the_page_was_made_does_not_get_it_again(admin_client: Client) -> None:
    mail = make_failed(cc=["bob@example.com"])
    fields = fields_of(admin_client, mail)
    make_attempt(
        mail, AttemptOutcome.PARTLY_SENT, recipients={"ann@example.com": ACCEPTED, "bob@example.com": REFUSED}
    )
    response = admin_client.post(address_of(mail), {**fields, "address-0": "ann@example.org"}, follow=True)

    assert ["bob@example.com"] == [line.value() for line in response.context["form"].lines]
    assert "The mail has changed since you looked at it" in messages_of(response)[0]
    assert State.FAILED == state_of(mail).state


def test_what_changes_at_the_last_moment_leaves_everything_as_it_is() -> None:
    mail = make_failed()
    with pytest.raises(OutdatedError):
        correct(mail.pk, {"eve@a.org": "eve@b.org"}, expected=["eve@a.org"], agreed=Agreement(), using="default")

    assert (State.FAILED, ["ann@example.com"]) == (state_of(mail).state, row_of(mail).to)


@pytest.mark.parametrize("situation", ["cancelled", "queued", "expired", "sent"])
def test_a_mail_that_came_into_another_state_is_left_in_it(situation: str) -> None:
    mail = made(situation)
    before = state_of(mail).state
    with pytest.raises(OutdatedError):
        correct(
            mail.pk, {"ann@example.com": "b@b.org"}, expected=["ann@example.com"], agreed=Agreement(), using="default"
        )

    assert (before, ["ann@example.com"]) == (state_of(mail).state, row_of(mail).to)


def test_a_mail_that_is_gone_is_not_corrected() -> None:
    mail = make_failed()
    pk = mail.pk
    mail.delete()

    assert not correct(pk, {"a@a.org": "b@b.org"}, expected=["a@a.org"], agreed=Agreement(), using="default")


def test_a_mail_that_is_being_sent_again_is_not_corrected() -> None:
    mail = make_failed()
    Email.objects.filter(pk=mail.pk).update(status=STATUS.queued)
    make_attempt(mail)

    assert not correct(
        mail.pk, {"ann@example.com": "b@b.org"}, expected=["ann@example.com"], agreed=Agreement(), using="default"
    )
    assert ["ann@example.com"] == row_of(mail).to


@pytest.mark.parametrize("refusal", ["outdated", "being sent"])
def test_the_page_says_what_came_in_between(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    mail = make_failed()
    fields = fields_of(admin_client, mail)

    def interfere(*args: Any, **given: Any) -> bool:
        if refusal == "outdated":
            Email.objects.filter(pk=mail.pk).update(to="eve@example.com")
        else:
            Email.objects.filter(pk=mail.pk).update(status=STATUS.queued)
            make_attempt(mail)
        return correct(*args, **given)

    monkeypatch.setattr("mailqueue.admin.corrections.correct", interfere)
    response = admin_client.post(address_of(mail), {**fields, "address-0": "b@b.org"}, follow=True)
    expected = {"outdated": "The mail has changed since", "being sent": "1 mail is being sent right now"}

    assert messages_of(response)[0].startswith(expected[refusal])
    assert 0 == LogEntry.objects.count()


def test_the_log_says_what_was_changed(admin_client: Client) -> None:
    mail = make_failed(to="Ann <ann@a.org>")
    answer(admin_client, mail, "ann@b.org")
    entry = LogEntry.objects.get()

    assert (str(mail.pk), "Corrected and requeued: ann@a.org → ann@b.org") == (entry.object_id, entry.change_message)


def test_of_a_sensitive_mail_the_log_says_no_address(admin_client: Client) -> None:
    mail = make_failed()
    MailOptions.objects.create(email=mail, is_sensitive=True)
    answer(admin_client, mail, "bob@example.com")

    assert "Corrected 1 address and requeued." == LogEntry.objects.get().change_message


def make_held(outcome: AttemptOutcome = AttemptOutcome.DEFERRED, **fields: Any) -> Email:
    mail = make_mail(status=STATUS.failed, cc=["bob@example.com"])
    make_attempt(mail, outcome, **fields)
    stop_mail(mail, StopReason.HELD, note="The mail server refuses this sender address.")
    return mail


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stage": "mail", "reply_code": 550}, False),
        ({"stage": "rcpt", "reply_code": 550}, False),
        ({"outcome": AttemptOutcome.FAILED, "stage": "rcpt", "reply_code": 550}, True),
        ({"outcome": AttemptOutcome.FAILED, "stage": "final_dot", "reply_code": 550}, False),
        ({"outcome": AttemptOutcome.RETRY, "recipients": {"bob@example.com": REFUSED}}, True),
        ({"outcome": AttemptOutcome.RETRY, "recipients": {"bob@example.com": ACCEPTED}}, False),
        ({"outcome": AttemptOutcome.RETRY, "recipients": {"bob@example.com": "mangled"}}, False),
        ({"outcome": AttemptOutcome.RETRY, "recipients": ["mangled"]}, False),
    ],
)
def test_of_held_mail_addresses_are_corrected_where_the_last_attempt_refused_one(
    admin_client: Client, fields: dict[str, Any], expected: bool
) -> None:
    mail = make_held(**fields)

    assert expected == (address_of(mail) in page_of(admin_client, mail))


def test_of_held_mail_that_was_never_tried_no_address_is_offered_to_be_corrected(admin_client: Client) -> None:
    mail = made("held")

    assert address_of(mail) not in page_of(admin_client, mail)


def test_of_held_mail_to_somebody_who_is_not_allowed_the_address_is_corrected(
    admin_client: Client, settings: Settings
) -> None:
    settings.MAILQUEUE = {**settings.MAILQUEUE, "ALLOWED_RECIPIENTS": ["example.net"]}
    mail = make_held(stage="build")

    assert address_of(mail) in page_of(admin_client, mail)


@pytest.mark.parametrize(
    ("is_sensitive", "shown"), [(False, "Your order of &lt;b&gt;tea&lt;/b&gt;"), (True, "(sensitive)")]
)
def test_the_page_says_which_mail_it_is(admin_client: Client, is_sensitive: bool, shown: str) -> None:
    mail = make_failed(subject="Your order of <b>tea</b>")
    MailOptions.objects.create(email=mail, is_sensitive=is_sensitive)
    page = admin_client.get(address_of(mail)).content.decode()

    assert (True, not is_sensitive) == (f"<h2>{shown}</h2>" in page, "Your order" in page)


def test_a_get_changes_nothing(admin_client: Client) -> None:
    mail = make_failed()
    admin_client.get(address_of(mail), {"address-0": "bob@example.com"})

    assert (State.FAILED, ["ann@example.com"], 0) == (state_of(mail).state, row_of(mail).to, LogEntry.objects.count())


@pytest.mark.parametrize("method", ["get", "post"])
def test_it_needs_its_permission(reader: Client, method: str) -> None:
    for codename in ("requeue_mail", "cancel_mail", "hold_mail", "export_mail", "view_body"):
        allow(codename)
    mail = make_failed()

    assert 403 == getattr(reader, method)(address_of(mail)).status_code
    assert address_of(mail) not in page_of(reader, mail)


def test_it_needs_no_other_permission(reader: Client) -> None:
    allow("correct_mail")
    mail = make_failed()
    page = page_of(reader, mail)
    answer(reader, mail, "bob@example.com")

    assert (True, State.WAITING) == (address_of(mail) in page, state_of(mail).state)


def test_it_needs_a_csrf_token(admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    mail = make_failed()

    assert 403 == client.post(address_of(mail), {"address-0": "bob@example.com"}).status_code


def test_it_takes_no_other_method(admin_client: Client) -> None:
    assert 405 == admin_client.put(address_of(make_failed())).status_code


def test_a_mail_that_is_gone_is_not_found(admin_client: Client) -> None:
    assert 404 == admin_client.get(reverse(CORRECT, args=[1])).status_code
