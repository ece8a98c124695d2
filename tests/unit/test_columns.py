"""Tables for terminals stand in columns, whatever letters are in them."""

from mailqueue.ops.columns import columns


def test_columns_stand_below_each_other_and_numbers_end_at_one_place() -> None:
    assert ["waiting    5  now", "held     120"] == columns([("waiting", "5", "now"), ("held", "120", "")], right=[1])


def test_a_letter_that_takes_two_places_counts_for_two_and_a_mark_for_none() -> None:
    assert ["等待中    x", "waiting   x", "cafe\u0301      x", "sending!  x"] == columns(
        [("等待中", "x"), ("waiting", "x"), ("cafe\u0301", "x"), ("sending!", "x")]
    )


def test_a_table_without_rows_has_no_lines() -> None:
    assert [] == columns([])
