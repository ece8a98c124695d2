"""Who is next: the most urgent, but for one mail in ten."""

from collections import Counter

import pytest

from mailqueue.sender.precedence import LOWER_SHARE, Precedence


def chosen(precedence: Precedence, count: int, priorities: tuple[int, ...]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for _ in range(count):
        counts += precedence.share_out(1, priorities)
    return counts


def test_one_mail_in_ten_is_of_a_lower_priority() -> None:
    assert {3: 90, 1: 10} == Precedence().share_out(100, (3, 1))


def test_the_lowest_of_several_priorities_has_a_tenth_of_the_tenth() -> None:
    assert {3: 900, 2: 90, 0: 10} == Precedence().share_out(1000, (3, 2, 0))


@pytest.mark.parametrize("room", [1, 2, 3, 7])
def test_small_rooms_add_up_to_the_same_shares(room: int) -> None:
    precedence = Precedence()
    shares = sum((precedence.share_out(room, (3, 1)) for _ in range(100)), Counter[int]())

    assert {3: 90 * room, 1: 10 * room} == shares


def test_a_priority_that_waits_alone_has_everything() -> None:
    assert {1: 7} == Precedence().share_out(7, (1,))


def test_where_nothing_waits_nothing_is_shared_out() -> None:
    assert {} == Precedence().share_out(7, ())


def test_what_a_copy_notes_is_not_noted() -> None:
    precedence = Precedence()
    precedence.copy().share_out(LOWER_SHARE - 1, (3, 1))

    assert 3 == precedence.choose((3, 1))


def test_after_ten_mails_with_nothing_below_them_the_first_below_need_not_wait() -> None:
    precedence = Precedence()
    for _ in range(LOWER_SHARE):
        precedence.note(3)

    assert [1, 3] == [next(iter(precedence.share_out(1, (3, 1)))) for _ in range(2)]
