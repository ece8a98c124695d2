"""What is made of figures: estimates, totals, and how they are read out."""

from datetime import UTC, datetime, timedelta

import pytest

from mailqueue.ops.figure_charts import charts, rows
from mailqueue.ops.figures import LONGEST, STEPS, Figure, Span, quantile, readable_wait, total
from mailqueue.queue.figures import WAITS, Sums

BEGAN = datetime(2026, 11, 21, 8, tzinfo=UTC)


def waits(**counts: int) -> tuple[int, ...]:
    return tuple(counts.get(name, 0) for name in WAITS)


def figures(span: Span, *sums: Sums) -> list[Figure]:
    """A span whose first steps are these, and in whose others nothing happened."""
    step, count = STEPS[span]
    all_sums = [*sums, *[Sums()] * (count - len(sums))]
    return [Figure(BEGAN + n * timedelta(seconds=step), one) for n, one in enumerate(all_sums)]


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({}, 0.5, None),
        ({"within_30ms": 10}, 0.5, 0.015),
        ({"within_1s": 10}, 0.5, 0.65),
        ({"within_30ms": 90, "within_10s": 10}, 0.5, 0.03 * 50 / 90),
        ({"within_30ms": 90, "within_10s": 10}, 0.95, 6.5),
        ({"within_1h": 1}, 1, LONGEST),
        ({"over_1h": 5}, 0.5, LONGEST),
    ],
)
def test_how_long_a_share_of_the_mails_took_is_estimated(
    counts: dict[str, int], share: float, expected: float | None
) -> None:
    assert pytest.approx(expected) == quantile(waits(**counts), share)


def test_what_all_steps_come_to_is_known() -> None:
    found = total(figures(Span.HOUR, Sums(1, 2, 3, 4, waits(within_1s=5)), Sums(10, 20, 30, 40, waits(over_1h=6))))

    assert Sums(11, 22, 33, 44, waits(within_1s=5, over_1h=6)) == found.sums


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "-"),
        (0.0123, "10 ms"),
        (0.25, "200 ms"),
        (1, "1 s"),
        (2.34, "2.3 s"),
        (12.3, "12 s"),
        (60, "1 min"),
        (1234, "21 min"),
        (LONGEST, "over 1 h"),
    ],
)
def test_a_wait_is_told_as_exactly_as_it_was_counted(seconds: float | None, expected: str) -> None:
    assert expected == readable_wait(seconds)


@pytest.mark.parametrize("span", Span)
def test_there_are_three_charts_of_every_span(span: Span) -> None:
    found = charts(figures(span, Sums(3, 1, 0, 2, waits(within_1s=3))), span)

    assert [
        "3 accepted",
        "0 failed, 2 unknown, 1 put off",
        "half of the mails within 600 ms, 95 of 100 within 1 s",
    ] == [chart.summary for chart in found]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span.HOUR, ["08:00", "08:15", "08:30", "08:45"]),
        (Span.DAY, ["12:00", "18:00", "00:00", "06:00"]),
        (Span.WEEK, ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]),
    ],
)
def test_round_times_stand_below_a_chart(span: Span, expected: list[str]) -> None:
    (chart, *_) = charts(figures(span), span)

    assert expected == [text for text in expected if f">{text}</text>" in chart.svg]
    assert len(expected) == chart.svg.count("text-anchor")


def test_the_table_has_what_happened_and_the_latest_first() -> None:
    found = rows(figures(Span.HOUR, Sums(1, waits=waits(within_1s=1)), Sums(), Sums(failed=2)), Span.HOUR)

    assert [
        ("08:02", ("0", "0", "2", "0", "-", "-")),
        ("08:00", ("1", "0", "0", "0", "600 ms", "1 s")),
    ] == [(row.time, tuple(row.cells)) for row in found]
