"""Looks that go on where the last one ended: nothing is lost, nothing is read twice, and everybody has a share."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import STATUS, Email

from mailqueue.conf import Configuration
from mailqueue.delivery.backends import canonical
from mailqueue.models import BackendHealth
from mailqueue.queue.release import release
from mailqueue.sender import cursors as cursors_module
from mailqueue.sender.cursors import LONGEST_REST_SECONDS, Cursors
from mailqueue.sender.look import Look, look
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Plan
from mailqueue.sender.turn import Turn
from tests.support.mails import OTHER, SENDER, make_mail, turn

pytestmark = pytest.mark.django_db
DEFAULT = canonical("")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Looker:
    """A sender that does nothing but look."""

    def __init__(self, name: str = SENDER, *, is_until_empty: bool = False) -> None:
        self.clock = Clock()
        self.cursors = Cursors(clock=self.clock)
        self.options = Options(concurrency=1, using="default", sender=name, is_until_empty=is_until_empty)

    def try_to_look(self, room: int = 10, *, above: int = -1) -> Look:
        """Look in a turn of which nobody knows yet whether it is committed."""
        with turn() as cursor:
            return look(
                cursor,
                rooms={DEFAULT: room},
                avoiding={},
                options=self.options,
                configuration=Configuration(),
                cursors=self.cursors,
                above={DEFAULT: above},
            )

    def look(self, room: int = 10, *, above: int = -1) -> list[int]:
        """Return the mails that a look brought."""
        found = self.try_to_look(room, above=above)
        self.cursors = found.cursors
        return [claim.email_id for claim in found.claims]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read the lanes from their beginnings takes no time, however busy this machine is."""
    monkeypatch.setattr(cursors_module, "SLOW_SECONDS", 1e9)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    """To read the lanes from their beginnings takes long."""
    # A sender has introduced its backends before it looks.
    BackendHealth.objects.create(alias=DEFAULT)
    monkeypatch.setattr(cursors_module, "SLOW_SECONDS", -1.0)
    monkeypatch.setattr(cursors_module, "RESTS_PER_READ", 1e12)


def make_old_mail(*, minutes: int = 1) -> Email:
    mail = make_mail()
    Email.objects.filter(pk=mail.pk).update(created=timezone.now() - timedelta(minutes=minutes))
    return mail


def commits_late(_looker: Looker, _mail: Email) -> Email:
    """A mail that was written before the first, in a transaction that ends only now."""
    return make_old_mail(minutes=60)


def is_queued_again(_looker: Looker, mail: Email) -> Email:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE mailqueue_attempt SET finished_at = now(), outcome = 'failed'")
    Email.objects.filter(pk=mail.pk).update(status=STATUS.queued)
    return mail


def is_handed_back(looker: Looker, mail: Email) -> Email:
    with turn() as cursor:
        cursor.execute("SELECT id FROM mailqueue_attempt")
        release(cursor, [attempt_id for (attempt_id,) in cursor.fetchall()], sender=looker.options.sender)
    return mail


ways_back = pytest.mark.parametrize("comes_in_behind", [commits_late, is_queued_again, is_handed_back])
WayBack = Callable[[Looker, Email], Email]


@ways_back
@pytest.mark.usefixtures("quick")
def test_what_comes_in_behind_the_last_claim_is_found_at_the_next_look(comes_in_behind: WayBack) -> None:
    looker, mail = Looker(), make_old_mail()
    looker.look()
    back = comes_in_behind(looker, mail)

    assert [back.pk] == looker.look()


@ways_back
@pytest.mark.usefixtures("slow")
def test_where_that_takes_long_it_is_found_a_moment_later(comes_in_behind: WayBack) -> None:
    looker, mail = Looker(), make_old_mail()
    looker.look()
    back = comes_in_behind(looker, mail)
    soon = looker.look()
    looker.clock.now += LONGEST_REST_SECONDS

    assert ([], [back.pk]) == (soon, looker.look())


@pytest.mark.usefixtures("slow")
def test_new_mail_does_not_wait_for_that() -> None:
    looker = Looker()
    make_mail()
    looker.look()
    mails = [make_mail(priority=priority).pk for priority in (3, 2, 1, 0)]

    assert mails == looker.look()


@pytest.mark.usefixtures("slow")
def test_new_mail_does_not_wait_in_a_lane_that_was_empty() -> None:
    looker = Looker()
    looker.look()
    mail = make_mail(priority=3)

    assert [mail.pk] == looker.look()


@pytest.mark.usefixtures("slow")
def test_who_drains_the_queue_reads_all_lanes_before_it_believes_that_they_are_empty() -> None:
    looker, mail = Looker(is_until_empty=True), make_old_mail()
    looker.look()
    late = commits_late(looker, mail)

    assert [late.pk] == looker.look()


@pytest.mark.usefixtures("slow")
def test_a_priority_that_nobody_uses_is_found_a_moment_later() -> None:
    looker = Looker()
    looker.look()
    odd = make_mail()
    Email.objects.filter(pk=odd.pk).update(priority=7)
    soon = looker.look()
    looker.clock.now += LONGEST_REST_SECONDS

    assert ([], [odd.pk]) == (soon, looker.look())


@pytest.mark.usefixtures("slow")
def test_a_turn_that_was_undone_leaves_the_next_look_where_it_was() -> None:
    looker = Looker()
    mails = [make_mail().pk for _ in range(3)]
    looker.look(1)
    with pytest.raises(ZeroDivisionError), turn():
        looker.try_to_look()
        raise ZeroDivisionError

    assert mails[1:] == looker.look()


@pytest.mark.usefixtures("slow")
def test_a_turn_that_was_committed_lets_the_next_look_go_on() -> None:
    a_turn = Turn(options=Looker().options, configuration=Configuration())
    mails = [make_mail().pk for _ in range(2)]
    looks = []
    for _ in mails:
        with CaptureQueriesContext(connection) as captured:
            found = a_turn.run(Plan(rooms={DEFAULT: 1})).found
        is_whole = any("WITH RECURSIVE" in query["sql"] for query in captured)
        looks.append(([claim.email_id for claim in found.claims], is_whole))

    assert [([mails[0]], True), ([mails[1]], False)] == looks


@pytest.mark.usefixtures("slow")
def test_two_senders_share_a_lane() -> None:
    mails = [make_mail().pk for _ in range(20)]
    one, other = Looker(), Looker(OTHER)
    taken = [looker.look(3) for _ in range(4) for looker in (one, other)]

    assert mails == sorted(pk for pks in taken for pk in pks)


def test_a_look_that_finds_nothing_costs_one_statement() -> None:
    looker = Looker()
    make_mail(priority=3, scheduled_time=timezone.now() + timedelta(days=1))
    with turn(), CaptureQueriesContext(connection) as captured:
        looker.look()

    assert 1 == len([query for query in captured if "SAVEPOINT" not in query["sql"]])


@pytest.mark.parametrize("room", [1, 2, 3, 10])
def test_one_mail_in_ten_is_of_a_lower_lane_however_small_the_rooms(room: int) -> None:
    looker = Looker()
    for priority in (2, 1):
        for _ in range(30):
            make_mail(priority=priority)
    priorities: Counter[int] = Counter()
    while priorities.total() < 30:
        found = looker.try_to_look(room)
        looker.cursors = found.cursors
        priorities.update(claim.priority for claim in found.claims)

    assert {2: 27, 1: 3} == priorities


def test_what_a_lane_does_not_need_of_its_share_goes_to_those_below() -> None:
    mails = [make_mail(priority=priority).pk for priority in (3, 1, 1, 1, 0)]

    assert mails == Looker().look(5)


def test_a_look_for_more_urgent_mail_leaves_the_rest() -> None:
    _, hot = make_mail(priority=1), make_mail(priority=2)

    assert [hot.pk] == Looker().look(above=1)
