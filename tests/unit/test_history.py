"""What a mail's earlier attempts mean for the next one."""

from mailqueue.delivery.outcomes import Stage, Verdict
from mailqueue.models import AttemptOutcome
from mailqueue.queue.history import History

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
