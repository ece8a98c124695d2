"""What a real sender leaves in the minutes."""

import signal
from collections.abc import Callable

import pytest
from django.db.models import Sum

from mailqueue.models import SendingMinute
from mailqueue.queue.figures import COLUMNS, WAITS
from tests.support.senders import Senders, queue_mails, wait_until_sent
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]


def totals() -> dict[str, int]:
    """What all minutes count together, without what is 0; the waits as one number."""
    sums = SendingMinute.objects.aggregate(**{f"sum_{name}": Sum(name, default=0) for name in COLUMNS})
    waits = sum(sums.pop(f"sum_{name}") for name in WAITS)
    return {name.removeprefix("sum_"): value for name, value in sums.items() if value} | {"waits": waits}


def test_what_a_sender_sent_is_in_the_minutes_when_it_has_ended(senders: MakeSenders) -> None:
    queue_mails(120)
    with senders().start() as sender:
        wait_until_sent(120)

        assert sender.stop(signal.SIGTERM) == 0
    assert {"accepted_count": 120, "waits": 120} == totals()


def test_two_senders_add_up(senders: MakeSenders) -> None:
    queue_mails(60)
    with senders().start("--until-empty") as one, senders().start("--until-empty") as other:
        assert (0, 0) == (one.wait(), other.wait())

    assert {"accepted_count": 60, "waits": 60} == totals()


def test_a_sender_that_goes_on_writes_meanwhile(senders: MakeSenders) -> None:
    with senders().start() as sender:
        queue_mails(1)
        wait_until(SendingMinute.objects.exists, what="a minute", seconds=60)

        assert sender.stop(signal.SIGTERM) == 0
    assert {"accepted_count": 1, "waits": 1} == totals()
