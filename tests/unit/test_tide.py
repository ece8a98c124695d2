"""What a backend lately said, as one sender counts it."""

from mailqueue.delivery.outcomes import Blame, Outcome, RecipientOutcome, Reply, Stage, Trouble, Verdict
from mailqueue.sender.tide import POLICY_SECONDS, PUT_OFF_SECONDS, Tide

SENT = Outcome(Verdict.SENT, Stage.DONE, reply=Reply(250, "Ok"))
PUT_OFF = Outcome(Verdict.RETRY, Stage.FINAL_DOT, Blame.MESSAGE, reply=Reply(451, "Try again later"))
SPAM = Outcome(Verdict.FAIL, Stage.FINAL_DOT, Blame.MESSAGE, Trouble.POLICY, reply=Reply(550, "Spam", "5.7.1"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tide_of(*outcomes: Outcome, clock: Clock | None = None) -> Tide:
    tide = Tide(clock=clock or Clock())
    for outcome in outcomes:
        tide.note(outcome, recipient_count=1)
    return tide


def test_the_accepted_rate_is_that_of_the_recipients_who_have_the_mail() -> None:
    some = {"a@x": RecipientOutcome(Verdict.SENT, Reply(250)), "b@x": RecipientOutcome(Verdict.RETRY, Reply(451))}
    tide = tide_of(SENT, PUT_OFF, Outcome(Verdict.RETRY, Stage.DONE, recipients=some))

    assert 2.0 == tide.accepted_rate()


def test_nothing_is_accepted_where_nothing_was_said() -> None:
    assert 0.0 == tide_of().accepted_rate()


def test_a_backend_passes_mail_for_a_while_after_it_took_one() -> None:
    clock = Clock()
    tide = tide_of(SENT, clock=clock)
    is_passing = tide.is_passing(seconds=60)
    clock.now += 61

    assert (True, False) == (is_passing, tide.is_passing(seconds=60))


def test_much_mail_put_off_within_a_minute_is_told_once() -> None:
    tide = tide_of(*[PUT_OFF] * 21, *[SENT] * 20)

    assert (True, False) == (tide.take_putting_off(), tide.take_putting_off())


def test_little_mail_put_off_is_nothing_to_tell() -> None:
    assert (False, False) == (
        tide_of(*[PUT_OFF] * 19).take_putting_off(),
        tide_of(*[PUT_OFF, SENT] * 30).take_putting_off(),
    )


def test_mail_put_off_long_ago_does_not_count() -> None:
    clock = Clock()
    tide = tide_of(*[PUT_OFF] * 30, clock=clock)
    clock.now += PUT_OFF_SECONDS + 1

    assert not tide.take_putting_off()


def test_a_person_is_told_once_when_most_of_at_least_fifty_mails_are_refused_as_spam() -> None:
    tide = tide_of(*[SPAM] * 30, *[SENT] * 25)

    assert ((30, 55), None) == (tide.take_policy_warning(), tide.take_policy_warning())


def test_a_person_is_told_again_of_what_came_since() -> None:
    clock = Clock()
    tide = tide_of(*[SPAM] * 60, clock=clock)
    tide.take_policy_warning()
    clock.now += 1
    for _ in range(50):
        tide.note(SPAM, recipient_count=1)

    assert (50, 50) == tide.take_policy_warning()


def test_spam_among_little_or_well_liked_mail_is_nothing_to_tell() -> None:
    few, liked = tide_of(*[SPAM] * 49), tide_of(*[SPAM, SENT] * 30)

    assert (None, None) == (few.take_policy_warning(), liked.take_policy_warning())


def test_ten_minutes_are_remembered_and_no_more() -> None:
    clock = Clock()
    tide = Tide(clock=clock)
    for _ in range(2 * POLICY_SECONDS):
        clock.now += 1
        tide.note(SENT, recipient_count=1)

    assert POLICY_SECONDS == len(tide._slots)
