"""How far ahead of the connections a sender claims."""

from mailqueue.queue.claim import Claim
from mailqueue.sender.stock import MOST, Stock


def claims(*numbers: int, priority: int = 1) -> list[Claim]:
    return [Claim(number, number, 1, "", "default", priority) for number in numbers]


def test_an_empty_stock_asks_for_two_mails_a_connection() -> None:
    assert Stock(concurrency=8).room() == 16


def test_a_stock_that_is_not_low_asks_for_nothing() -> None:
    stock = Stock(concurrency=2)
    stock.add(claims(1, 2, 3))

    assert (0, False, 2) == (stock.room(), stock.has_room, stock.room(besides=1))


def test_what_is_urgent_goes_to_the_front_and_the_rest_keeps_its_order() -> None:
    stock = Stock(concurrency=2)
    stock.add(claims(1, 2))
    stock.add(claims(3, priority=3))

    assert [3, 1, 2] == [claim.attempt_id for claim in stock.next(3)]


def test_what_is_removed_is_gone() -> None:
    stock = Stock(concurrency=2)
    stock.add(claims(1, 2))
    stock.remove(claims(1))

    assert [2] == [claim.attempt_id for claim in stock]


def test_fast_connections_are_given_half_a_second_of_work_within_bounds(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("mailqueue.sender.stock.time.monotonic", lambda: now[0])
    stock = Stock(concurrency=2)
    now[0] = 2.0
    stock.count_sent(400)
    fast = stock.room()
    now[0] = 4.0
    stock.count_sent(1_000_000)

    assert (100, MOST) == (fast, stock.room())
