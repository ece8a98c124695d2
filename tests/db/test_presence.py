"""Senders say that they live, and are forgotten when they do not."""

import pytest
from django.db import connection

from mailqueue.models import SenderProcess
from mailqueue.ops.senders import life_of, with_life
from mailqueue.queue.presence import ALIVE_SECONDS, Presence, forget_old, leave, note_alive, read_presence
from tests.support.mails import turn

pytestmark = pytest.mark.django_db


def note(name: str, *, backends: tuple[str, ...] = ()) -> None:
    with turn() as cursor:
        note_alive(cursor, name=name, host="host", version="1.0", backends=backends, connection_count=8)


def alive() -> list[Presence]:
    with turn() as cursor:
        return read_presence(cursor)


def pass_time(seconds: float, *, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mailqueue_senderprocess SET seen_at = seen_at - %s * interval '1 second' WHERE name = %s",
            [seconds, name],
        )


def test_those_who_showed_up_lately_are_alive_in_the_order_of_their_names() -> None:
    note("b", backends=("smtp",))
    note("a")
    note("c")
    pass_time(ALIVE_SECONDS + 1, name="c")

    assert [Presence("a", (), 8), Presence("b", ("smtp",), 8)] == alive()


def test_who_shows_up_again_is_alive_again_and_began_when_it_began() -> None:
    note("a")
    pass_time(ALIVE_SECONDS + 1, name="a")
    began = SenderProcess.objects.get().started_at
    note("a")

    assert (1, began) == (len(alive()), SenderProcess.objects.get().started_at)


def test_who_leaves_is_gone_at_once_and_who_died_is_forgotten_after_a_day() -> None:
    for name in ("left", "died", "alive"):
        note(name)
    pass_time(2 * 86_400, name="died")
    with turn() as cursor:
        leave(cursor, name="left")
        forget_old(cursor)

    assert ["alive"] == [presence.name for presence in alive()]


def test_of_those_who_ended_in_order_each_host_keeps_the_last() -> None:
    for name in ("first", "second", "alive", "killed"):
        note(name)
    pass_time(ALIVE_SECONDS + 1, name="killed")
    with turn() as cursor:
        note_alive(cursor, name="elsewhere", host="other", version="1.0", backends=(), connection_count=8)
        for name in ("elsewhere", "first", "second"):
            leave(cursor, name=name)
    ended = SenderProcess.objects.exclude(ended_at=None).values_list("name", flat=True)
    lives = {sender.name: life_of(sender) for sender in with_life(SenderProcess.objects.all())}

    assert {"elsewhere", "second"} == set(ended)
    assert {"elsewhere": "ended", "second": "ended", "alive": "alive", "killed": "gone"} == lives


def test_who_ended_and_shows_up_again_is_alive() -> None:
    note("a")
    with turn() as cursor:
        leave(cursor, name="a")
    note("a")

    assert [Presence("a", (), 8)] == alive()
