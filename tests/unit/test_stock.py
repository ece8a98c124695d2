"""How far ahead of the connections a sender claims, and what starts next."""

import pytest

from mailqueue.queue.claim import Claim
from mailqueue.sender.stock import MOST, Stock


def claims(*numbers: int, priority: int = 1, backend: str = "default") -> list[Claim]:
    return [Claim(number, number, 1, "", backend, priority) for number in numbers]


def test_an_empty_stock_asks_for_two_mails_a_connection() -> None:
    assert 16 == Stock().room("default", connections=8)


def test_nothing_is_claimed_for_a_backend_that_allows_this_sender_no_connection() -> None:
    assert 0 == Stock().room("default", connections=0)


def test_a_stock_that_is_not_low_asks_for_nothing() -> None:
    stock = Stock()
    stock.add(claims(1, 2, 3))

    assert (0, 2) == (
        stock.room("default", connections=2),
        stock.room("default", connections=2, besides=claims(1)),
    )


def test_the_stock_of_a_slow_backend_leaves_the_room_of_the_others() -> None:
    stock = Stock()
    stock.add(claims(1, 2, 3, 4, backend="slow"))

    assert (0, 4) == (stock.room("slow", connections=2), stock.room("default", connections=2))


def test_what_is_urgent_goes_to_the_front_and_the_rest_keeps_its_order() -> None:
    stock = Stock()
    stock.add(claims(1, 2))
    stock.add(claims(3, priority=3))

    assert [3, 1, 2] == [claim.attempt_id for claim in stock.next(3, free={"default": 9})]


def test_what_starts_next_is_no_more_than_each_backend_has_free() -> None:
    stock = Stock()
    stock.add(claims(1, 2, 3))
    stock.add(claims(4, 5, backend="other"))
    stock.add(claims(6, backend="resting"))

    assert [1, 4, 5] == [claim.attempt_id for claim in stock.next(9, free={"default": 1, "other": 2})]


def test_what_is_removed_is_gone() -> None:
    stock = Stock()
    stock.add(claims(1, 2))
    stock.remove(claims(1))

    assert [2] == [claim.attempt_id for claim in stock]


def test_fast_connections_are_given_half_a_second_of_work_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("mailqueue.sender.stock.time.monotonic", lambda: now[0])
    stock = Stock()
    now[0] = 2.0
    stock.count_sent(["default"] * 400)
    fast = stock.room("default", connections=2)
    now[0] = 4.0
    stock.count_sent(["default"] * 1_000_000)

    assert (100, MOST) == (fast, stock.room("default", connections=2))


def started(stock: Stock, count: int) -> list[int]:
    """Start mails one at a time and return their priorities."""
    priorities = []
    for _ in range(count):
        (claim,) = stock.next(1, free={"default": 1})
        stock.remove([claim])
        priorities.append(claim.priority)
    return priorities


def test_one_start_in_ten_is_of_a_lower_priority() -> None:
    stock = Stock()
    stock.add(claims(*range(100)))
    stock.add(claims(*range(100, 200), priority=3))

    assert ([3] * 9 + [1]) * 2 == started(stock, 20)


def test_mails_that_start_together_share_as_those_that_start_one_by_one() -> None:
    stock = Stock()
    stock.add(claims(*range(20)))
    stock.add(claims(*range(100, 120), priority=3))

    assert [3] * 9 + [1] == [claim.priority for claim in stock.next(10, free={"default": 10})]


def test_what_is_asked_for_above_a_priority_does_not_count_what_is_not() -> None:
    stock = Stock()
    stock.add(claims(1, 2, 3, 4))
    stock.add(claims(5, priority=3))

    assert (0, 3) == (stock.room("default", connections=2), stock.room("default", connections=2, above=1))


def test_the_stock_knows_the_lowest_priority_that_waits_for_each_backend() -> None:
    stock = Stock()
    stock.add(claims(1, priority=3))
    stock.add(claims(2, priority=1))
    stock.add(claims(3, priority=2, backend="other"))

    assert ({"default": 1, "other": 2}, {"default": 3, "other": 2}) == (
        stock.lowest(),
        stock.lowest(besides=claims(2, priority=1)),
    )


def test_a_removal_of_what_is_not_there_changes_nothing() -> None:
    stock = Stock()
    stock.add(claims(1))
    stock.remove(claims(2, 3, priority=3))

    assert [1] == [claim.attempt_id for claim in stock]
