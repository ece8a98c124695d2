"""What a mail's earlier attempts mean for the next one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.delivery.outcomes import Stage, Verdict
from mailqueue.models import AttemptOutcome
from mailqueue.queue.history import History, parsed

ANN, BOB, CARL = "ann@x", "bob@x", "carl@x"


def past(*attempts: dict) -> History:
    history = History()
    for attempt in attempts:
        history.add(**{"is_counted": False, **attempt})
    return history


def test_counted_attempts_are_counted_from_the_first_one() -> None:
    history = past(
        {"outcome": AttemptOutcome.RETRY, "is_counted": True, "ago": 90.0},
        {"outcome": AttemptOutcome.DEFERRED, "ago": 60.0, "stage": Stage.CONNECT},
        {"outcome": AttemptOutcome.RETRY, "is_counted": True, "ago": 30.0},
    )

    assert (2, 90.0, 0) == (history.counted, history.first_counted_ago, history.deferred)


def test_a_final_outcome_begins_a_new_round() -> None:
    history = past(
        {"outcome": AttemptOutcome.RETRY, "is_counted": True, "ago": 90.0},
        {"outcome": AttemptOutcome.UNKNOWN},
        {"outcome": AttemptOutcome.FAILED, "is_counted": True, "ago": 30.0},
    )

    assert History() == history


def test_a_stop_begins_a_new_round_whatever_the_outcome() -> None:
    assert History() == past({"outcome": AttemptOutcome.UNKNOWN, "was_stopped": True})


def test_who_has_it_is_left_out_and_who_was_refused_too() -> None:
    recipients = {ANN: {"verdict": Verdict.SENT}, BOB: {"verdict": Verdict.FAIL}, CARL: {"verdict": Verdict.RETRY}}
    history = past({"outcome": AttemptOutcome.RETRY, "is_counted": True, "recipients": recipients})

    assert [CARL] == history.pending([ANN, BOB, CARL])


def test_after_a_partial_success_a_requeue_goes_to_those_without_it() -> None:
    recipients = {ANN: {"verdict": Verdict.SENT}, BOB: {"verdict": Verdict.FAIL}}
    history = past({"outcome": AttemptOutcome.PARTLY_SENT, "recipients": recipients})

    assert [BOB] == history.pending([ANN, BOB])


def test_after_a_full_success_a_requeue_goes_to_all() -> None:
    recipients = {ANN: {"verdict": Verdict.SENT}, BOB: {"verdict": Verdict.RETRY}}
    history = past(
        {"outcome": AttemptOutcome.RETRY, "is_counted": True, "recipients": recipients},
        {"outcome": AttemptOutcome.SENT},
    )

    assert [ANN, BOB] == history.pending([ANN, BOB])


def test_only_sessions_that_had_begun_count_as_broken_off() -> None:
    history = past(
        {"outcome": AttemptOutcome.DEFERRED, "stage": Stage.CONNECT},
        {"outcome": AttemptOutcome.DEFERRED, "stage": Stage.RCPT},
    )

    assert history.deferred == 1


def test_how_often_a_server_turned_the_mail_away_after_the_sender_was_named_is_counted_apart() -> None:
    history = past(
        {"outcome": AttemptOutcome.DEFERRED, "stage": Stage.MAIL, "reply_code": 421},
        {"outcome": AttemptOutcome.DEFERRED, "stage": Stage.RCPT, "reply_code": 421},
        {"outcome": AttemptOutcome.DEFERRED, "stage": Stage.FINAL_DOT, "reply_code": 421},
        {"outcome": AttemptOutcome.DEFERRED, "stage": Stage.FINAL_DOT, "reply_code": 454},
        {"outcome": AttemptOutcome.DEFERRED, "stage": Stage.BODY, "error": "LeaseLost"},
    )

    assert (5, 3) == (history.deferred, history.turned_away)


def test_attempts_that_ended_without_a_word_of_a_server_are_counted_apart() -> None:
    history = past(
        {"outcome": AttemptOutcome.RETRY, "is_counted": True, "error": "KeyError"},
        {"outcome": AttemptOutcome.RETRY, "is_counted": True, "error": "ApiError", "reply_code": 500},
        {"outcome": AttemptOutcome.RETRY, "is_counted": True, "reply_code": 451},
        {"outcome": AttemptOutcome.DEFERRED, "error": "ConnectionRefusedError"},
    )

    assert (3, 1) == (history.counted, history.raised)


def test_who_is_not_named_by_a_transaction_that_was_full_is_still_to_get_it() -> None:
    history = past({"outcome": AttemptOutcome.RETRY, "recipients": {ANN: {"verdict": Verdict.SENT}}})

    assert [BOB, CARL] == history.pending([ANN, BOB, CARL])


def test_recipients_nested_too_deep_to_be_read_are_damage_and_no_end_of_the_turn() -> None:
    history = History()
    history.add(outcome="retry", is_counted=True, recipients=parsed("[" * 200_000 + "]" * 200_000))

    assert history.is_damaged


LOCALS = st.from_regex(r"[a-z0-9]{1,8}(\.[A-Z0-9]{1,8})?", fullmatch=True)
LABELS = st.sampled_from(["example", "bücher", "köln-süd", "例え", "a", "x1-y"])
NAMES = st.sampled_from(["", "Ann", "ann@example.com", "Doe, Jane", "Jürgen Groß", 'a "b" c'])


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """Two ways to write one mailbox."""
    local, labels = draw(LOCALS), [*draw(st.lists(LABELS, min_size=1, max_size=3)), "com"]

    def spelt() -> str:
        written = [label.encode("idna").decode() if draw(st.booleans()) else label for label in labels]
        domain = ".".join(label.upper() if draw(st.booleans()) else label for label in written)
        name = draw(NAMES)
        return f'"{name.replace(chr(34), chr(92) + chr(34))}" <{local}@{domain}>' if name else f"{local}@{domain}"

    return spelt(), spelt()


@given(spelt=spellings(), verdict=st.sampled_from([Verdict.SENT, Verdict.FAIL]))
def test_nobody_is_pending_under_another_spelling_of_the_same_mailbox(
    spelt: tuple[str, str], verdict: Verdict
) -> None:
    one, other = spelt
    history = past({"outcome": AttemptOutcome.RETRY, "recipients": {one: {"verdict": verdict}}})

    assert [CARL] == history.pending([other, CARL])


@pytest.mark.parametrize("other", ["Ann@x", "ann@y", "ann+news@x", "ann", "", "ann@x, bob@x"])
def test_another_mailbox_is_pending(other: str) -> None:
    history = past({"outcome": AttemptOutcome.RETRY, "recipients": {ANN: {"verdict": Verdict.SENT}}})

    assert [other] == history.pending([other])


def test_who_was_refused_is_still_without_the_mail() -> None:
    recipients = {"Ann <ann@x>": {"verdict": Verdict.SENT}, BOB: {"verdict": Verdict.FAIL}}
    history = past({"outcome": AttemptOutcome.RETRY, "recipients": recipients})

    assert [BOB, CARL] == history.missing([ANN, BOB, CARL])


def test_what_attempts_say_keeps_its_keys() -> None:
    history = past({"outcome": AttemptOutcome.RETRY, "recipients": {"Ann <ann@X>": {"verdict": Verdict.SENT}}})

    assert {"Ann <ann@X>"} == history.accepted


def test_no_address_is_parsed_where_nobody_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed_entries: list[str] = []
    monkeypatch.setattr("mailqueue.queue.history.spelling_of", parsed_entries.append)
    History().pending([ANN, BOB])

    assert [] == parsed_entries
