"""What a mail's earlier attempts mean for the next one."""

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
