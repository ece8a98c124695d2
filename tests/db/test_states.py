"""Every situation of a mail has one state, the same in a description and in a filter."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import STATUS, Email

from mailqueue.delivery.backends import canonical
from mailqueue.models import AttemptOutcome, BackendHealth, StopReason
from mailqueue.ops.states import State, filter_by_state, state_of, states_of
from tests.support.situations import SITUATIONS, make_attempt, make_mail, stop_mail

pytestmark = pytest.mark.django_db


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


def test_a_page_of_mails_costs_three_statements(everything: dict[str, Email]) -> None:
    with CaptureQueriesContext(connection) as captured:
        states_of(everything.values())

    assert len(captured) == 3


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
        ("to be retried", "because of: 451 4.7.1 greylisted"),
        ("being sent", "host-a/4711"),
        ("sent", "250 queued as 1A2B"),
        ("failed", "550 5.1.1 no such user"),
        ("failed by others", "no reason was recorded"),
        ("cancelled", "by grace"),
        ("held", "The backend is not configured."),
        ("unknown, to be sent again", "sent once more"),
        ("unknown, left to a person", "waits for a person"),
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


def test_paused_backends_cost_no_further_statement(everything: dict[str, Email]) -> None:
    BackendHealth.objects.create(alias=canonical(""), paused_at=timezone.now())
    with CaptureQueriesContext(connection) as captured:
        states_of(everything.values())

    assert len(captured) == 3
