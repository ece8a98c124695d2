from mailqueue.delivery.classify import parse_reply
from mailqueue.delivery.outcomes import Outcome, Reply, Stage, Verdict
from mailqueue.delivery.tally import MOST_IN_VAIN, Answer, Tally

THROTTLING = "454 Throttling failure"
TOO_MANY = "452 4.5.3 too many recipients"
UNKNOWN = "550 5.1.1 unknown"


def answer(stage: Stage, said: str) -> Answer:
    return Answer.to(stage, parse_reply(int(said[:3]), said[4:].encode()))


def tally_after(*refusals: str, accepted: tuple[str, ...] = ()) -> Tally:
    tally = Tally(accepted=list(accepted))
    for number, said in enumerate(refusals):
        tally.refuse(f"{number}@example.net", answer(Stage.RCPT, said))
    return tally


def test_a_server_that_throttles_takes_no_more_whatever_it_says_to_those_who_were_offered_already() -> None:
    assert [True, True, True] == [
        tally_after(THROTTLING).is_over,
        tally_after(THROTTLING, TOO_MANY).is_over,
        tally_after(THROTTLING, UNKNOWN).is_over,
    ]


def test_too_many_is_the_end_once_somebody_was_accepted_or_it_was_said_too_often() -> None:
    assert [False, True, False, True] == [
        tally_after(TOO_MANY).is_over,
        tally_after(TOO_MANY, accepted=("ann@example.net",)).is_over,
        tally_after(*[TOO_MANY] * (MOST_IN_VAIN - 1)).is_over,
        tally_after(*[TOO_MANY] * MOST_IN_VAIN).is_over,
    ]


def test_when_nobody_was_refused_the_last_answer_is_that_of_all() -> None:
    taken = answer(Stage.FINAL_DOT, "250 2.0.0 Ok: queued as 4F3A")

    assert Outcome(
        Verdict.SENT, Stage.DONE, reply=Reply(250, "Ok: queued as 4F3A", "2.0.0"), queue_id="4F3A"
    ) == Tally(accepted=["a@example.net", "b@example.net"]).outcome(taken)
