"""Every situation of a mail has one state, the same in a description and in a filter."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.delivery.backends import canonical
from mailqueue.models import AttemptOutcome, BackendHealth, MailOptions, RefusedFrom, SenderProcess, StopReason
from mailqueue.ops.states import State, filter_by_state, state_of, states_of
from tests.support.situations import SITUATIONS, make_attempt, make_mail, make_sender, stop_mail

pytestmark = pytest.mark.django_db
SEEN_AT = datetime(2026, 11, 21, 8, tzinfo=UTC)
YEARS = timedelta(days=30_000)


@pytest.fixture(autouse=True)
def sender() -> SenderProcess:
    return make_sender()


@pytest.fixture
def everything() -> dict[str, Email]:
    return {name: make() for name, (make, _) in SITUATIONS.items()}


def test_there_is_a_situation_for_every_state() -> None:
    covered = {state for _, state in SITUATIONS.values()}

    assert set(State) == covered


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_situation_has_its_state(situation: str) -> None:
    make, expected = SITUATIONS[situation]

    assert expected == state_of(make()).state


@pytest.mark.parametrize("state", State)
def test_the_filter_finds_just_the_mails_that_are_described_with_its_state(
    state: State, everything: dict[str, Email]
) -> None:
    described = {pk for pk, status in states_of(everything.values()).items() if status.state == state}
    found = set(filter_by_state(Email.objects.all(), state).values_list("pk", flat=True))

    assert described == found


def test_a_filtered_list_can_be_filtered_again(everything: dict[str, Email]) -> None:
    sent = filter_by_state(Email.objects.all(), State.SENT)

    assert not filter_by_state(sent, State.HELD).exists()


def test_a_filtered_list_can_be_counted_and_cut(everything: dict[str, Email]) -> None:
    waiting = filter_by_state(Email.objects.order_by("-id"), "waiting")

    assert (waiting.count(), len(waiting[:2])) == (5, 2)


def count_statements(mails: Iterable[Email]) -> int:
    with CaptureQueriesContext(connection) as captured:
        states_of(mails)
    return len(captured)


def test_mails_that_are_done_with_cost_two_statements() -> None:
    assert (2, 2) == (count_statements([SITUATIONS["sent"][0]()]), count_statements([SITUATIONS["failed"][0]()]))


def test_a_page_of_mails_costs_as_many_statements_as_each_kind_needs_once(everything: dict[str, Email]) -> None:
    others = [make() for make, _ in SITUATIONS.values()]

    assert count_statements(everything.values()) == count_statements([*everything.values(), *others])


def test_no_mail_costs_nothing() -> None:
    with CaptureQueriesContext(connection) as captured:
        described = states_of([])

    assert (described, len(captured)) == ({}, 0)


def test_the_clock_of_the_database_decides() -> None:
    mail = make_mail(scheduled_time=timezone.now() + timedelta(minutes=1))
    with time_machine.travel(timezone.now() + timedelta(days=1), tick=False):
        status = state_of(mail)

    assert status.state == State.SCHEDULED


def test_a_mail_is_described_as_the_database_knows_it_not_as_it_was_read() -> None:
    mail = make_mail()
    Email.objects.filter(pk=mail.pk).update(status=STATUS.sent)

    assert state_of(mail).state == State.SENT


def test_a_mail_that_is_gone_has_no_state() -> None:
    mail = make_mail()
    Email.objects.filter(pk=mail.pk).delete()

    with pytest.raises(Email.DoesNotExist):
        state_of(mail)


def test_only_attempts_that_were_started_are_counted() -> None:
    mail = make_mail()
    make_attempt(mail, AttemptOutcome.RETRY)
    make_attempt(mail, AttemptOutcome.EXPIRED, started_at=None)

    assert state_of(mail).attempt_count == 1


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        ("to be retried", "Retry 2 at "),
        ("to be retried", "because of: 451 4.7.1 greylisted"),
        (
            "partly sent",
            "These have it: ann@example.com. These were refused: bob@example.com (550 5.1.1 no such user).",
        ),
        ("being sent", "host-a/4711"),
        ("sent", "250 queued as 1A2B"),
        ("failed", "550 5.1.1 no such user"),
        ("failed by others", "no reason was recorded"),
        ("cancelled", "by grace"),
        ("held", "The backend is not configured."),
        ("unknown, to be sent again", "sent once more"),
        ("unknown, left to a person", "A person has to decide."),
        ("interrupted", "post_office itself"),
    ],
)
def test_the_detail_says_why(situation: str, words: str) -> None:
    make, _ = SITUATIONS[situation]

    assert words in state_of(make()).detail


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_has_a_sentence_and_a_text(situation: str) -> None:
    make, _ = SITUATIONS[situation]
    status = state_of(make())

    assert status.detail.endswith((".", "user", "greylisted", "1A2B"))
    assert status.text.startswith(str(status.state.label))


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        ("queued", False),
        ("scheduled", False),
        ("being sent", False),
        ("to be retried", False),
        ("unknown, to be sent again", False),
        ("unknown, left to a person", True),
        ("sent", True),
        ("partly sent", True),
        ("failed", True),
        ("interrupted", True),
    ],
)
def test_a_state_is_final_when_nothing_more_happens_by_itself(situation: str, expected: bool) -> None:
    make, _ = SITUATIONS[situation]

    assert expected is state_of(make()).is_final


def test_a_retry_says_when_to_the_second() -> None:
    moment = datetime(2099, 3, 4, 5, 6, 7, tzinfo=UTC)
    described = state_of(make_mail(status=STATUS.requeued, scheduled_time=moment))

    assert described.text == "retrying at 2099-03-04 05:06:07"


def test_a_mail_that_waits_for_a_shut_backend_names_it_with_the_reason_and_the_next_probe() -> None:
    mail = make_mail()
    BackendHealth.objects.create(
        alias=canonical(""),
        shut_at=datetime(2026, 11, 21, 8, tzinfo=UTC),
        shut_reason="auth: 535 no",
        probe_at=datetime(2026, 11, 21, 9, tzinfo=UTC),
    )
    described = state_of(mail)

    assert described.state == State.WAITING
    assert "which is shut since 2026-11-21 08:00:00 (auth: 535 no). Next probe: 2026-11-21 09:00:00." in (
        described.detail
    )
    assert ".." not in described.detail


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"paused_at": datetime(2026, 11, 21, 8, tzinfo=UTC), "paused_by": "ann", "pause_note": "moving house"},
            "which is paused by ann since 2026-11-21 08:00:00 (moving house).",
        ),
        (
            {"paused_at": datetime(2026, 11, 21, 8, tzinfo=UTC), "paused_by": "ann", "shut_at": timezone.now()},
            "which is paused by ann since 2026-11-21 08:00:00.",
        ),
        (
            {"resting_until": datetime(2099, 1, 2, 3, tzinfo=UTC)},
            "which rests until 2099-01-02 03:00:00: the server asked to slow down.",
        ),
        (
            {
                "resting_until": datetime(2099, 1, 2, 3, tzinfo=UTC),
                "day_began_at": datetime(2099, 1, 1, 3, 0, 0, 200, tzinfo=UTC),
            },
            "which takes nothing more until 2099-01-02 03:00:00: its recipients of the day are used up.",
        ),
        ({"resting_until": datetime(2020, 1, 1, tzinfo=UTC)}, "It is due: the next free sender takes it."),
        ({"connection_limit": 1, "throttled_rate": 1.0}, "It is due: the next free sender takes it."),
    ],
)
def test_a_mail_that_waits_says_what_it_waits_for(fields: dict[str, Any], words: str) -> None:
    mail = make_mail()
    BackendHealth.objects.create(alias=canonical(""), **fields)

    assert words in state_of(mail).detail


def test_another_backend_that_is_paused_keeps_no_mail_waiting() -> None:
    mail = make_mail()
    BackendHealth.objects.create(alias="other", paused_at=timezone.now())

    assert state_of(mail).detail == "It is due: the next free sender takes it."


@pytest.mark.parametrize("situation", ["scheduled", "to be retried", "unknown, to be sent again"])
def test_what_has_its_time_says_that_a_paused_backend_may_make_it_later(situation: str) -> None:
    make, _ = SITUATIONS[situation]
    BackendHealth.objects.create(alias=canonical(""), paused_at=timezone.now(), paused_by="ann")
    detail = state_of(make()).detail

    assert f". But not before somebody resumes the backend {canonical('')}, which is paused by ann since" in detail
    assert ".." not in detail


def test_what_waits_for_a_person_does_not_speak_of_a_pause() -> None:
    make, _ = SITUATIONS["unknown, left to a person"]
    BackendHealth.objects.create(alias=canonical(""), paused_at=timezone.now())

    assert "paused" not in state_of(make()).detail


def test_a_mail_whose_sender_address_is_refused_says_so_in_the_words_of_the_server() -> None:
    note = "The mail server refuses this sender address. It said: 553 5.7.1 not verified"
    mail = make_mail(status=STATUS.failed)
    stop_mail(mail, StopReason.HELD, note=note)

    assert f"It is held: {note}" == state_of(mail).detail


def test_what_waits_for_a_backend_is_not_asked_for_its_place() -> None:
    mail = make_mail()
    free = count_statements([mail])
    BackendHealth.objects.create(alias=canonical(""), paused_at=timezone.now())

    assert free - 1 == count_statements([mail])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seen_at": SEEN_AT}, "It is due, but no sender is alive since 2026-11-21 08:00:00."),
        ({"ended_at": SEEN_AT, "seen_at": SEEN_AT}, "It is due, but no sender is alive since 2026-11-21 08:00:00."),
        ({"backends": ["newsletter"]}, "It is due, but no sender is alive. To start one: python manage.py send_q"),
        ({"backends": [canonical("")]}, "It is due: the next free sender takes it."),
    ],
)
def test_a_mail_that_nobody_would_send_says_so(sender: SenderProcess, fields: dict[str, Any], words: str) -> None:
    SenderProcess.objects.update(**fields)

    assert words in state_of(make_mail()).detail


@pytest.mark.parametrize("situation", ["scheduled", "to be retried", "unknown, to be sent again"])
def test_what_has_its_time_says_that_nobody_would_send_it_then(situation: str) -> None:
    make, _ = SITUATIONS[situation]
    mail = make()
    SenderProcess.objects.update(seen_at=SEEN_AT)
    seen = state_of(mail).detail
    SenderProcess.objects.all().delete()

    assert ". But no sender is alive since 2026-11-21 08:00:00." in seen
    assert ". But no sender is alive." in state_of(mail).detail


def test_a_paused_backend_is_told_before_a_sender_that_is_not_there() -> None:
    SenderProcess.objects.all().delete()
    BackendHealth.objects.create(alias=canonical(""), paused_at=timezone.now())

    assert "which is paused by somebody" in state_of(make_mail()).detail


def test_a_shut_backend_is_told_after_a_sender_that_is_not_there() -> None:
    SenderProcess.objects.all().delete()
    BackendHealth.objects.create(alias=canonical(""), shut_at=timezone.now(), probe_at=timezone.now())

    assert "no sender is alive" in state_of(make_mail()).detail


@pytest.mark.parametrize(
    ("tokens", "tokens_ago", "rate", "words"),
    [
        (0.0, 0, 0.01, "whose rate is used up until "),
        (0.5, 0, 10, "the next free sender takes it."),
        (0.0, 3600, 0.01, "the next free sender takes it."),
        (0.0, 0, None, "the next free sender takes it."),
    ],
)
def test_a_mail_that_waits_for_the_rate_says_until_when(
    tokens: float, tokens_ago: float, rate: float | None, words: str
) -> None:
    tokens_at = timezone.now() - timedelta(seconds=tokens_ago)
    BackendHealth.objects.create(alias=canonical(""), tokens=tokens, tokens_at=tokens_at, max_per_second=rate)

    assert words in state_of(make_mail()).detail


def test_a_rest_that_the_rate_makes_is_not_laid_on_the_server() -> None:
    until = datetime(2099, 1, 2, 3, tzinfo=UTC)
    BackendHealth.objects.create(alias=canonical(""), tokens_at=timezone.now(), resting_until=until)

    assert "whose rate is used up until 2099-01-02 03:00:00." in state_of(make_mail()).detail


def queue_before(mail: Email, *, priority: int, count: int) -> None:
    earlier = mail.created - timedelta(minutes=1)
    mails = [Email(from_email="a@example.com", to=["b@example.com"], status=STATUS.queued) for _ in range(count)]
    for created in Email.objects.bulk_create(mails):
        Email.objects.filter(pk=created.pk).update(priority=priority, created=earlier)


@pytest.mark.parametrize(
    ("higher", "before", "words"),
    [
        (0, 0, "It is due: the next free sender takes it."),
        (1, 0, "It is due, behind 1 mail of higher priority."),
        (3, 0, "It is due, behind 3 mails of higher priority."),
        (0, 1, "It is due, behind 1 mail that was there before."),
        (0, 2, "It is due, behind 2 mails that were there before."),
        (3, 2, "It is due; of higher priority: 3 mails, and there before it: 2."),
    ],
)
def test_a_mail_that_waits_its_turn_says_how_much_is_before_it(higher: int, before: int, words: str) -> None:
    mail = make_mail()
    queue_before(mail, priority=2, count=higher)
    queue_before(mail, priority=1, count=before)
    queue_before(mail, priority=0, count=1)
    make_mail(scheduled_time=timezone.now() + timedelta(days=1))
    make_mail(status=STATUS.sent)

    assert words == state_of(mail).detail


def test_more_than_anybody_counts_is_said_to_be_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("queue.positions", "ops.waiting_sentences"):
        monkeypatch.setattr(f"mailqueue.{module}.MOST", 2)
    mail = make_mail()
    queue_before(mail, priority=3, count=4)

    assert state_of(mail).detail == "It is due, behind more than 2 mails of higher priority."


def test_the_names_of_one_backend_are_one_queue() -> None:
    mail = make_mail(backend_alias=canonical(""))
    queue_before(mail, priority=3, count=1)

    assert state_of(mail).detail == "It is due, behind 1 mail of higher priority."


@pytest.mark.parametrize("fields", [{}, {"shut_at": SEEN_AT}])
def test_mail_of_a_backend_that_is_not_configured_says_so(fields: dict[str, Any]) -> None:
    BackendHealth.objects.create(alias="newsletter", **fields)
    SenderProcess.objects.all().delete()

    assert state_of(make_mail(backend_alias="newsletter")).detail == (
        "It names the backend newsletter, which is not configured any more: the next sender holds it."
    )


RESULTS = {
    "ann@example.com": {"verdict": "sent", "code": 250, "enhanced": "", "reply": "ok"},
    "bob@example.com": {"verdict": "retry", "code": 451, "enhanced": "4.7.1", "reply": "greylisted"},
    "cid@example.com": {"verdict": "fail", "code": 550, "enhanced": "5.1.1", "reply": "no such user"},
}


def partly_sent(status: int) -> Email:
    mail = make_mail(status=status, cc=["bob@example.com", "cid@example.com"], scheduled_time=SEEN_AT + YEARS)
    make_attempt(mail, AttemptOutcome.RETRY, recipients=RESULTS, reply_code=451, reply="greylisted")
    return mail


def test_a_mail_that_some_have_says_who_has_it_who_waits_and_who_was_refused() -> None:
    assert state_of(partly_sent(STATUS.requeued)).detail.endswith(
        "because of: 451 greylisted. These have it: ann@example.com. These wait for it: bob@example.com. "
        "These were refused: cid@example.com (550 5.1.1 no such user)."
    )


def test_of_a_mail_that_is_stopped_nobody_waits() -> None:
    mail = partly_sent(STATUS.failed)
    stop_mail(mail, StopReason.CANCELLED, stopped_by="grace")

    assert state_of(mail).detail == (
        "It was cancelled by grace. These have it: ann@example.com. These do not have it: bob@example.com. "
        "These were refused: cid@example.com (550 5.1.1 no such user)."
    )


def test_of_many_recipients_a_few_are_named() -> None:
    addresses = [f"r{number}@example.com" for number in range(5)]
    results = dict.fromkeys(addresses, RESULTS["ann@example.com"]) | {"ann@example.com": {"verdict": "fail"}}
    mail = make_mail(status=STATUS.sent, cc=addresses)
    make_attempt(mail, AttemptOutcome.PARTLY_SENT, recipients=results)

    assert "These have it: r0@example.com, r1@example.com, r2@example.com and 2 more. These were refused: ann@e" in (
        state_of(mail).detail
    )


def test_recipients_that_can_not_be_read_are_not_told() -> None:
    mail = make_mail(status=STATUS.sent)
    make_attempt(mail, AttemptOutcome.PARTLY_SENT, recipients={"ann@example.com": "odd"})

    assert state_of(mail).detail == "Some recipients have it, others were refused for good."


@pytest.mark.parametrize(
    ("has_sender", "words"),
    [
        (
            True,
            "lease ended at 2026-11-21 08:00:00. The next sender that looks takes it up. It may have arrived.",
        ),
        (
            False,
            "lease ended at 2026-11-21 08:00:00, and no sender is alive to take it up. It may have arrived.",
        ),
    ],
)
def test_a_mail_whose_sender_let_its_lease_end_is_not_said_to_be_with_it(has_sender: bool, words: str) -> None:
    mail = make_mail()
    make_attempt(mail, lease_until=SEEN_AT)
    if not has_sender:
        SenderProcess.objects.all().delete()

    assert state_of(mail).detail.endswith(words)


def test_who_has_a_mail_is_told_by_the_mailbox_whatever_the_row_calls_it() -> None:
    mail = SITUATIONS["partly sent"][0]()
    Email.objects.filter(pk=mail.pk).update(to=["Ann <ann@example.com>"], cc=["Bob <bob@EXAMPLE.com>"])

    assert state_of(mail).detail.endswith(
        "These have it: Ann <ann@example.com>. These were refused: Bob <bob@EXAMPLE.com> (550 5.1.1 no such user)."
    )


MAY_BE_THERE = "It may have arrived: how the attempt at 2026-11-21 08:00:00 ended is unknown."


def may_have_arrived(status: int, **fields: Any) -> Email:
    mail = make_mail(status=status, **fields)
    make_attempt(mail, AttemptOutcome.UNKNOWN, started_at=SEEN_AT)
    return mail


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (StopReason.EXPIRED, "Its time is over: it is not sent any more."),
        (StopReason.CANCELLED, "It was cancelled by grace."),
        (StopReason.HELD, "It is held by grace: wait."),
        (StopReason.FAILED, "It failed: wait."),
    ],
)
def test_a_mail_that_is_stopped_says_that_it_may_have_arrived_before(reason: StopReason, words: str) -> None:
    mail = may_have_arrived(STATUS.failed)
    stop_mail(mail, reason, stopped_by="grace", note="wait")

    assert state_of(mail).detail == f"{words} {MAY_BE_THERE}"


def test_a_mail_that_may_have_arrived_says_so_when_its_time_to_be_sent_again_has_come() -> None:
    mail = may_have_arrived(STATUS.requeued, scheduled_time=SEEN_AT)

    assert state_of(mail).detail == f"It is due: the next free sender takes it. {MAY_BE_THERE}"


def test_a_mail_that_was_sent_and_queued_again_says_that_it_was_sent_before() -> None:
    mail = make_mail()
    make_attempt(mail, AttemptOutcome.SENT, finished_at=SEEN_AT, reply_code=250, reply="ok")

    assert state_of(mail).detail == (
        "It is due: the next free sender takes it. It was sent before, at 2026-11-21 08:00:00."
    )


def test_what_the_server_said_when_it_took_a_mail_is_no_reason_to_send_it_again() -> None:
    mail = make_mail(status=STATUS.requeued, scheduled_time=SEEN_AT + YEARS)
    make_attempt(mail, AttemptOutcome.SENT, reply_code=250, reply="ok")

    assert state_of(mail).detail.startswith("It is tried again at ")


@pytest.mark.parametrize("has_sender", [True, False])
def test_a_mail_whose_time_is_over_is_not_said_to_be_sent_next(has_sender: bool) -> None:
    mail = make_mail()
    Email.objects.update(expires_at=SEEN_AT)
    if not has_sender:
        SenderProcess.objects.all().delete()

    assert "Its time is over: the next sender that looks notes it as expired, and nobody sends it." == (
        state_of(mail).detail
    )


def test_a_mail_that_says_nothing_any_more_will_fail() -> None:
    mail = make_mail()
    MailOptions.objects.create(email=mail, wiped_at=SEEN_AT)

    assert state_of(mail).detail == "It is due, but what it said is no longer kept: it will fail."


@pytest.mark.parametrize(("ago", "is_refused"), [(timedelta(0), True), (timedelta(hours=2), False)])
def test_a_mail_whose_sender_address_was_just_refused_will_be_held(ago: timedelta, is_refused: bool) -> None:
    RefusedFrom.objects.create(
        backend=canonical(""), from_email="shop@example.com", reply="553 5.7.1 no", refused_at=timezone.now() - ago
    )
    detail = state_of(make_mail()).detail

    assert is_refused is ("refuses its sender address, and it will be held: 553 5.7.1 no" in detail)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"shut_at": SEEN_AT, "shut_reason": "auth: 535 no", "probe_at": SEEN_AT},
            ". But its backend BACKEND is shut since 2026-11-21 08:00:00 (auth: 535 no). Next probe: 2026-11-21 08:",
        ),
        ({"resting_until": SEEN_AT + YEARS}, f". But its backend BACKEND starts nothing until {SEEN_AT + YEARS:%Y}"),
        ({"resting_until": SEEN_AT}, ""),
        ({"resting_until": timezone.now() + timedelta(minutes=1)}, ""),
    ],
)
def test_what_has_its_time_says_what_will_keep_it_then(fields: dict[str, Any], words: str) -> None:
    BackendHealth.objects.create(alias=canonical(""), **fields)
    detail = state_of(SITUATIONS["scheduled"][0]()).detail

    assert words.replace("BACKEND", canonical("")) in detail
    assert bool(words) is ("But" in detail)


def test_what_has_its_time_and_a_backend_that_is_gone_will_be_held() -> None:
    mail = make_mail(scheduled_time=SEEN_AT + YEARS, backend_alias="newsletter")

    assert "But its backend newsletter is not configured any more: the next sender holds it then." in (
        state_of(mail).detail
    )


def test_what_expires_before_its_time_says_so() -> None:
    mail = make_mail(scheduled_time=SEEN_AT + YEARS)
    Email.objects.update(expires_at=SEEN_AT + YEARS - timedelta(days=1))

    assert ". But its time is over by then: it expires at " in state_of(mail).detail


def test_mail_under_another_name_of_the_same_backend_is_before_it_too() -> None:
    mail = make_mail(backend_alias=canonical(""))
    queue_before(mail, priority=1, count=3)

    assert state_of(mail).detail == "It is due, behind 3 mails that were there before."


def test_recipients_that_are_overridden_are_told_by_those_of_the_attempts(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "OVERRIDE_RECIPIENTS": ["dev@example.com"]}
    mail = SITUATIONS["partly sent"][0]()

    assert state_of(mail).detail.endswith(
        "These have it: ann@example.com. These were refused: bob@example.com (550 5.1.1 no such user)."
    )
