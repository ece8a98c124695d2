"""From one outcome and the history to what becomes of the mail."""

import smtplib
from dataclasses import replace

import pytest

from mailqueue.conf import Configuration
from mailqueue.delivery.backend_errors import sending_failed
from mailqueue.delivery.outcomes import Blame, Outcome, Pace, RecipientOutcome, Reply, Stage, Trouble, Verdict
from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.queue.claim import Claim
from mailqueue.queue.history import History
from mailqueue.queue.settle import Settlement
from mailqueue.sender.conclude import conclude, discreet

CLAIM = Claim(attempt_id=1, email_id=2, number=1, token="t", backend="default", priority=1)
ANN, BOB = "ann@x", "bob@x"
SENT = Outcome(Verdict.SENT, Stage.DONE, reply=Reply(250, "ok", "2.0.0"))
RETRY = Outcome(Verdict.RETRY, Stage.DATA, Blame.MESSAGE, reply=Reply(451, "later", "4.3.0"))
FAIL = Outcome(Verdict.FAIL, Stage.RCPT, Blame.RECIPIENT, reply=Reply(550, "no such user", "5.1.1"))
UNKNOWN = Outcome(Verdict.UNKNOWN, Stage.FINAL_DOT, Blame.MESSAGE)


def concluded(
    outcome: Outcome,
    *,
    recipients: tuple[str, ...] = (ANN,),
    history: History | None = None,
    wish: str = "",
    others_pass: bool = False,
    **settings: object,
) -> Settlement:
    return conclude(
        CLAIM,
        outcome,
        recipients=recipients,
        history=history or History(),
        configuration=Configuration(RETRY_DELAYS=(100, 1000, 5000), **settings),
        unknown_outcome=wish,
        others_pass=others_pass,
    )


def mixed(**verdicts: Verdict) -> Outcome:
    results = {f"{name}@x": RecipientOutcome(verdict, Reply(450, "so")) for name, verdict in verdicts.items()}
    return Outcome(Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, recipients=results)


def test_a_mail_that_everybody_has_is_sent() -> None:
    found = concluded(SENT, recipients=(ANN, BOB))

    assert (AttemptOutcome.SENT, True, False, None) == (
        found.outcome,
        found.is_accepted,
        found.is_counted,
        found.recipients,
    )


@pytest.mark.parametrize(("earlier", "seconds"), [(0, 100), (1, 1000), (2, 5000), (7, 5000)])
def test_a_temporary_failure_waits_as_long_as_the_schedule_says(earlier: int, seconds: float) -> None:
    found = concluded(RETRY, history=History(counted=earlier))

    assert (AttemptOutcome.RETRY, True, pytest.approx(seconds, rel=0.2)) == (
        found.outcome,
        found.is_counted,
        found.retry_after,
    )


def test_a_mail_is_given_up_when_its_time_is_over_but_not_without_a_try() -> None:
    old = History(counted=3, first_counted_ago=49 * 3600)

    assert (AttemptOutcome.FAILED, StopReason.FAILED) == (
        concluded(RETRY, history=old).outcome,
        concluded(RETRY, history=old).stop,
    )
    assert AttemptOutcome.RETRY == concluded(RETRY, history=History()).outcome


def test_a_permanent_failure_stops_the_mail_with_the_servers_words() -> None:
    found = concluded(FAIL)

    assert (AttemptOutcome.FAILED, StopReason.FAILED, "550 5.1.1 no such user", True) == (
        found.outcome,
        found.stop,
        found.note,
        found.is_counted,
    )


def test_the_backends_fault_costs_no_attempt_and_the_breaker_makes_it_wait() -> None:
    found = concluded(Outcome(Verdict.DEFER, Stage.CONNECT, Blame.BACKEND, Trouble.CONNECT))

    assert (AttemptOutcome.DEFERRED, False, None) == (found.outcome, found.is_counted, found.retry_after)


@pytest.mark.parametrize(("deferred", "seconds"), [(0, 10), (1, 20), (3, 80), (20, 600)])
def test_a_session_that_was_broken_off_makes_the_mail_step_aside(deferred: int, seconds: float) -> None:
    outcome = Outcome(Verdict.DEFER, Stage.RCPT, Blame.BACKEND, Trouble.CONNECT)

    assert seconds == concluded(outcome, history=History(deferred=deferred)).retry_after


def test_a_lease_that_ended_on_the_way_makes_nobody_wait() -> None:
    outcome = Outcome(Verdict.DEFER, Stage.BODY, Blame.BACKEND, error="LeaseLost")

    assert None is concluded(outcome).retry_after


def test_those_who_were_put_off_are_retried_and_the_others_remembered() -> None:
    found = concluded(mixed(ann=Verdict.SENT, bob=Verdict.RETRY), recipients=(ANN, BOB))

    assert (AttemptOutcome.RETRY, True) == (found.outcome, found.is_accepted)
    assert {ANN: "sent", BOB: "retry"} == {a: r["verdict"] for a, r in (found.recipients or {}).items()}


def test_a_mail_that_some_have_and_others_never_will_is_partly_sent() -> None:
    found = concluded(mixed(ann=Verdict.SENT, bob=Verdict.FAIL), recipients=(ANN, BOB))

    assert (AttemptOutcome.PARTLY_SENT, None, True) == (found.outcome, found.stop, found.is_sent)


def test_who_was_refused_earlier_makes_a_later_success_partial() -> None:
    found = concluded(SENT, recipients=(BOB,), history=History(counted=1, refused={ANN}))

    assert (AttemptOutcome.PARTLY_SENT, ["bob@x"]) == (found.outcome, list(found.recipients or {}))


def test_what_was_put_off_too_long_is_refused_in_the_end() -> None:
    late = History(counted=1, first_counted_ago=49 * 3600, accepted={ANN})
    found = concluded(RETRY, recipients=(BOB,), history=late)

    assert (AttemptOutcome.PARTLY_SENT, None) == (found.outcome, found.stop)


def test_an_unknown_outcome_is_resent_once_and_then_held() -> None:
    once, twice = concluded(UNKNOWN), concluded(UNKNOWN, history=History(unknown=1))

    assert (600, None, None, StopReason.UNKNOWN) == (once.retry_after, once.stop, twice.retry_after, twice.stop)


def test_with_hold_an_unknown_outcome_is_never_resent() -> None:
    assert StopReason.UNKNOWN == concluded(UNKNOWN, UNKNOWN_OUTCOME="hold").stop


def test_a_mail_that_asks_to_be_held_is_never_resent() -> None:
    found = concluded(UNKNOWN, wish="hold", UNKNOWN_OUTCOME="resend")

    assert (None, StopReason.UNKNOWN) == (found.retry_after, found.stop)


def test_a_mail_that_asks_to_be_resent_is_resent_once_whatever_the_setting_says() -> None:
    once = concluded(UNKNOWN, wish="resend", UNKNOWN_OUTCOME="hold")
    twice = concluded(UNKNOWN, wish="resend", UNKNOWN_OUTCOME="hold", history=History(unknown=1))

    assert (600, None, None, StopReason.UNKNOWN) == (once.retry_after, once.stop, twice.retry_after, twice.stop)


def test_discretion_leaves_out_what_an_exception_quotes_and_keeps_its_type_and_the_servers_words() -> None:
    quoting, answered = Reply(0, "bad header: your code is 4711"), Reply(550, "no such user", "5.1.1")
    results = {ANN: RecipientOutcome(Verdict.FAIL, quoting), BOB: RecipientOutcome(Verdict.FAIL, answered)}
    outcome = Outcome(Verdict.FAIL, Stage.BUILD, reply=quoting, error="BadHeaderError", recipients=results)
    found = discreet(outcome)

    text = "BadHeaderError (its text is left out, for the mail is sensitive)"
    assert [text, text] == [found.reply.text, found.recipients[ANN].reply.text]
    assert (answered, "BadHeaderError") == (found.recipients[BOB].reply, found.error)


class ApiError(Exception):
    status_code = 422


def test_discretion_keeps_the_status_of_an_api_and_not_its_words_and_the_words_of_an_smtp_server() -> None:
    by_api = sending_failed(ApiError("refused: {'subject': 'Your code: 4711'}"))
    by_smtp = sending_failed(smtplib.SMTPDataError(554, b"5.7.1 spam"))
    once = discreet(by_api)

    assert "422 ApiError (its text is left out, for the mail is sensitive)" == str(once.reply)
    assert (once, by_smtp) == (discreet(once), discreet(by_smtp))


def test_text_that_the_database_would_refuse_is_made_harmless() -> None:
    nasty = Outcome(Verdict.FAIL, Stage.DATA, Blame.MESSAGE, reply=Reply(550, "a\0b", "5.7.1"))

    assert "a\N{REPLACEMENT CHARACTER}b" == concluded(nasty).reply


def test_who_was_refused_before_an_unknown_outcome_is_remembered() -> None:
    results = {
        ANN: RecipientOutcome(Verdict.UNKNOWN, Reply(0)),
        BOB: RecipientOutcome(Verdict.FAIL, Reply(550, "no such user")),
    }
    outcome = Outcome(Verdict.UNKNOWN, Stage.FINAL_DOT, recipients=results)
    found = concluded(outcome, recipients=(ANN, BOB))

    assert ({ANN: "unknown", BOB: "fail"}, False) == (
        {address: result["verdict"] for address, result in (found.recipients or {}).items()},
        found.is_accepted,
    )


BUSY = Outcome(Verdict.DEFER, Stage.DATA, Blame.BACKEND, Trouble.BUSY, Reply(421, "busy"))
THROTTLED = Outcome(Verdict.DEFER, Stage.DATA, Blame.BACKEND, Trouble.THROTTLED, Reply(429, "slow down"))
HOUR = 3600


def waiting(**results: tuple[Pace, float | None]) -> Outcome:
    """An outcome that puts every recipient off in a way of its own."""
    found = {
        f"{name}@x": RecipientOutcome(Verdict.RETRY, Reply(450, "so", retry_after=hint), pace)
        for name, (pace, hint) in results.items()
    }
    return Outcome(Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, recipients=found)


@pytest.mark.parametrize(
    ("turned_away", "others_pass", "outcome"),
    [
        (1, True, AttemptOutcome.DEFERRED),
        (2, True, AttemptOutcome.RETRY),
        (5, True, AttemptOutcome.RETRY),
        (5, False, AttemptOutcome.DEFERRED),
    ],
)
def test_a_mail_on_which_the_server_closes_again_and_again_while_others_pass_counts(
    turned_away: int, others_pass: bool, outcome: AttemptOutcome
) -> None:
    history = History(deferred=turned_away, turned_away=turned_away)
    found = concluded(BUSY, history=history, others_pass=others_pass)

    assert (outcome, outcome == AttemptOutcome.RETRY) == (found.outcome, found.is_counted)


@pytest.mark.parametrize(
    ("stage", "turned_away", "others_pass", "outcome"),
    [
        (Stage.FINAL_DOT, 1, True, AttemptOutcome.DEFERRED),
        (Stage.FINAL_DOT, 2, True, AttemptOutcome.RETRY),
        (Stage.RCPT, 2, True, AttemptOutcome.RETRY),
        (Stage.RCPT, 5, False, AttemptOutcome.DEFERRED),
        (Stage.MAIL, 5, True, AttemptOutcome.DEFERRED),
        (Stage.GREETING, 5, True, AttemptOutcome.DEFERRED),
    ],
)
def test_a_mail_that_is_throttled_again_and_again_for_what_it_is_counts_while_others_pass(
    stage: Stage, turned_away: int, others_pass: bool, outcome: AttemptOutcome
) -> None:
    history = History(deferred=turned_away, turned_away=turned_away)
    found = concluded(replace(THROTTLED, stage=stage), history=history, others_pass=others_pass)

    assert (outcome, outcome == AttemptOutcome.RETRY) == (found.outcome, found.is_counted)


@pytest.mark.parametrize("trouble", [Trouble.SHUT, Trouble.CROWDED, Trouble.CONNECT])
def test_what_concerns_all_mail_makes_no_deferral_count(trouble: Trouble) -> None:
    history = History(deferred=5, turned_away=5)
    found = concluded(replace(THROTTLED, trouble=trouble), history=history, others_pass=True)

    assert (AttemptOutcome.DEFERRED, False) == (found.outcome, found.is_counted)


@pytest.mark.parametrize(
    ("deferred", "hint", "least", "most"),
    [(0, None, 5, 5), (1, None, 10, 10), (3, None, 40, 40), (9, None, 600, 600), (3, 60, 60, 66)],
)
def test_a_throttled_mail_steps_aside_longer_each_time_or_as_long_as_it_was_told(
    deferred: int, hint: float | None, least: float, most: float
) -> None:
    outcome = Outcome(
        Verdict.DEFER, Stage.DATA, Blame.BACKEND, Trouble.THROTTLED, Reply(429, "slow down", retry_after=hint)
    )

    assert least <= (concluded(outcome, history=History(deferred=deferred)).retry_after or 0) <= most


@pytest.mark.parametrize("trouble", [Trouble.THROTTLED, Trouble.BUSY])
def test_no_hint_of_a_backend_in_trouble_puts_a_mail_off_for_longer_than_the_backend_itself_rests(
    trouble: Trouble,
) -> None:
    reply = Reply(451, "tomorrow", retry_after=24 * HOUR)
    found = concluded(Outcome(Verdict.DEFER, Stage.DATA, Blame.BACKEND, trouble, reply))

    assert HOUR <= (found.retry_after or 0) <= 1.1 * HOUR


def test_a_hint_in_a_greeting_makes_no_single_mail_wait() -> None:
    outcome = Outcome(
        Verdict.DEFER, Stage.GREETING, Blame.BACKEND, Trouble.CROWDED, Reply(421, "in an hour", retry_after=HOUR)
    )

    assert None is concluded(outcome).retry_after


def test_a_server_that_refuses_the_sender_has_the_mail_held_without_counting() -> None:
    outcome = Outcome(Verdict.HOLD, Stage.MAIL, Blame.BACKEND, Trouble.SENDER, Reply(553, "not yours", "5.7.1"))
    found = concluded(outcome)

    assert (AttemptOutcome.DEFERRED, StopReason.HELD, False, None) == (
        found.outcome,
        found.stop,
        found.is_counted,
        found.retry_after,
    )
    assert "The mail server refuses this sender address. It said: 553 5.7.1 not yours" == found.note


def test_a_mail_that_is_held_before_it_is_sent_is_not_laid_to_the_servers_charge() -> None:
    found = concluded(Outcome(Verdict.HOLD, Stage.BUILD, reply=Reply(0, "not allowed")))

    assert (AttemptOutcome.DEFERRED, StopReason.HELD, False, "not allowed") == (
        found.outcome,
        found.stop,
        found.is_counted,
        found.note,
    )


@pytest.mark.parametrize(
    ("results", "least", "most"),
    [
        ({"ann": (Pace.SCHEDULE, None)}, 80, 120),
        ({"ann": (Pace.SCHEDULE, 300)}, 300, 330),
        ({"ann": (Pace.SCHEDULE, 9000), "bob": (Pace.SCHEDULE, None)}, 80, 120),
        ({"ann": (Pace.MAILBOX, 7)}, 0.8 * 4 * HOUR, 1.2 * 4 * HOUR),
        ({"ann": (Pace.MAILBOX, None), "bob": (Pace.SCHEDULE, 30)}, 30, 33),
        ({"ann": (Pace.MAILBOX, None), "bob": (Pace.AT_ONCE, None)}, 80, 120),
        ({"ann": (Pace.AT_ONCE, 300)}, 300, 330),
    ],
)
def test_the_recipient_who_is_due_first_decides_when_the_mail_goes_on(
    results: dict[str, tuple[Pace, float | None]], least: float, most: float
) -> None:
    found = concluded(waiting(**results), recipients=tuple(f"{name}@x" for name in results))

    assert least <= (found.retry_after or 0) <= most


def test_who_comes_at_once_is_not_named_and_costs_no_attempt() -> None:
    results = {
        ANN: RecipientOutcome(Verdict.SENT, Reply(250, "ok")),
        BOB: RecipientOutcome(Verdict.RETRY, Reply(452, "too many"), Pace.AT_ONCE),
    }
    outcome = Outcome(Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, pace=Pace.AT_ONCE, recipients=results, queue_id="Q1")
    found = concluded(outcome, recipients=(ANN, BOB, "carl@x"), history=History(first_counted_ago=99 * HOUR))

    assert (AttemptOutcome.RETRY, False, 0, [ANN], "Q1") == (
        found.outcome,
        found.is_counted,
        found.retry_after,
        list(found.recipients or {}),
        found.queue_id,
    )


@pytest.mark.parametrize(
    ("trouble", "hint", "seconds"),
    [(Trouble.NONE, None, 0), (Trouble.NONE, 60, 0), (Trouble.THROTTLED, None, 5), (Trouble.THROTTLED, 60, 60)],
)
def test_who_found_no_room_beside_others_comes_next_and_after_a_moment_where_the_server_is_in_need_of_it(
    trouble: Trouble, hint: float | None, seconds: float
) -> None:
    results = {
        ANN: RecipientOutcome(Verdict.SENT, Reply(250, "ok")),
        BOB: RecipientOutcome(Verdict.RETRY, Reply(452, "so", retry_after=hint), Pace.AT_ONCE),
    }
    outcome = Outcome(Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, trouble, recipients=results)

    assert seconds == concluded(outcome, recipients=(ANN, BOB)).retry_after


@pytest.mark.parametrize("earlier", [set(), {"carl@x"}])
def test_where_nobody_was_accepted_nobody_comes_at_once_and_the_attempt_counts(earlier: set[str]) -> None:
    outcome = Outcome(Verdict.RETRY, Stage.RCPT, Blame.RECIPIENT, Trouble.THROTTLED, pace=Pace.AT_ONCE)
    found = concluded(outcome, recipients=(ANN, BOB), history=History(accepted=earlier))
    late = concluded(outcome, history=History(counted=9, first_counted_ago=48 * HOUR))

    assert (AttemptOutcome.RETRY, True, pytest.approx(100, rel=0.2), AttemptOutcome.FAILED) == (
        found.outcome,
        found.is_counted,
        found.retry_after,
        late.outcome,
    )


def test_a_mail_with_nobody_left_is_sent_without_a_stage() -> None:
    found = concluded(Outcome(Verdict.SENT, Stage.BUILD), recipients=(), history=History(accepted={ANN}))

    assert (AttemptOutcome.SENT, "") == (found.outcome, found.stage)


@pytest.mark.parametrize(
    ("pace", "ago", "expected"),
    [
        (Pace.MAILBOX, 23 * HOUR, "retry"),
        (Pace.MAILBOX, 24 * HOUR, "fail"),
        (Pace.SCHEDULE, 24 * HOUR, "retry"),
        (Pace.SCHEDULE, 48 * HOUR, "fail"),
    ],
)
def test_each_recipient_is_waited_for_as_long_as_its_own_trouble_deserves(
    pace: Pace, ago: float, expected: str
) -> None:
    waits = waiting(ann=(pace, None), bob=(Pace.AT_ONCE, None))
    found = concluded(
        replace(waits, recipients={**waits.recipients, "carl@x": RecipientOutcome(Verdict.SENT, Reply(250, "ok"))}),
        recipients=(ANN, BOB, "carl@x"),
        history=History(counted=3, first_counted_ago=ago),
    )

    assert {ANN: expected, "carl@x": "sent"} == {
        address: result["verdict"] for address, result in (found.recipients or {}).items()
    }


@pytest.mark.parametrize(("raised", "outcome"), [(0, "retry"), (1, "retry"), (2, "failed"), (5, "failed")])
def test_what_nobody_foresaw_is_tried_three_times(raised: int, outcome: str) -> None:
    unforeseen = Outcome(Verdict.RETRY, Stage.BODY, Blame.MESSAGE, error="KeyError", pace=Pace.THREE_TIMES)

    assert outcome == concluded(unforeseen, history=History(counted=raised, raised=raised)).outcome


def test_a_mail_that_is_put_off_as_a_whole_names_none_of_its_recipients() -> None:
    assert None is concluded(RETRY, recipients=(ANN, BOB)).recipients


def test_discretion_keeps_when_a_service_wants_to_be_asked_again() -> None:
    outcome = Outcome(
        Verdict.DEFER,
        Stage.DATA,
        reply=Reply(429, "slow down, Ann", is_exception=True, retry_after=60),
        error="ApiError",
    )

    assert 60 == discreet(outcome).reply.retry_after


def test_a_queue_id_is_cut_to_what_the_database_takes() -> None:
    assert "x" * 255 == concluded(Outcome(Verdict.SENT, Stage.DONE, queue_id="x" * 300)).queue_id
