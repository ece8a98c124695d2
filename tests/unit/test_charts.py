"""Charts as text: every number stands where it should, and in words too."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest

from mailqueue.ops.charts import BOTTOM, MARKS, TOP, Captions, Column, bars, ceiling, curves

CAPTIONS = Captions("trial", "Accepted <per minute>", "7 accepted", {0: "08:00", 3: "08:03"})
NAMES = {mark: f"{mark:g} s" for mark in MARKS}
NUMBER = re.compile(r"-?[\d.]+")


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - we wrote it


def counted(*counts: int) -> list[Column]:
    return [Column(f"{n}: {count}", {"accepted": count}) for n, count in enumerate(counts)]


def waited(*seconds: float | None) -> list[Column]:
    return [Column(f"{n}: {value}", {"half": value}) for n, value in enumerate(seconds)]


def elements(svg: str, kind: str) -> list[ElementTree.Element]:
    return [found for found in parsed(svg).iter() if found.get("class") == f"mail-chart-{kind}"]


def numbers(svg: str, kind: str, *names: str) -> list[tuple[float, ...]]:
    """The values of these attributes of all elements of a kind, without their units."""
    return [tuple(float(NUMBER.findall(found.get(name, ""))[0]) for name in names) for found in elements(svg, kind)]


def texts(svg: str) -> Sequence[str | None]:
    return [found.text for found in parsed(svg).iter("text")]


def heights(svg: str) -> list[float]:
    """Where the points of a curve are, if none is beside another."""
    return [float(found.get("cy", "")) for found in parsed(svg).iter("circle")]


def test_a_chart_says_in_words_what_it_is() -> None:
    root = parsed(bars(counted(1, 2, 4, 0), CAPTIONS))
    words = {found.get("id"): found.text for found in root if found.get("id")}

    assert {"trial-title": "Accepted <per minute>", "trial-text": "7 accepted"} == words
    assert ("img", "trial-title trial-text") == (root.get("role"), root.get("aria-labelledby"))


def test_a_bar_is_as_high_as_its_count_and_none_where_nothing_was() -> None:
    svg = bars(counted(1, 2, 4, 0), CAPTIONS)
    full = BOTTOM - TOP

    assert [
        (2.5, 20, BOTTOM - full / 4, full / 4),
        (27.5, 20, BOTTOM - full / 2, full / 2),
        (52.5, 20, TOP, full),
    ] == numbers(svg, "accepted", "x", "width", "y", "height")


def test_kinds_stand_on_each_other() -> None:
    svg = bars([Column("", {"failed": 1, "unknown": 0, "put_off": 3})], CAPTIONS)
    ((below, height),) = numbers(svg, "failed", "y", "height")
    ((above, rest),) = numbers(svg, "put_off", "y", "height")

    assert (BOTTOM, below) == (below + height, above + rest)
    assert [] == elements(svg, "unknown")


def test_one_among_thousands_can_be_seen() -> None:
    svg = bars([Column("", {"accepted": 9_000, "failed": 1})], CAPTIONS)

    assert [(1,)] == numbers(svg, "failed", "height")


def test_every_column_tells_its_numbers_to_the_mouse() -> None:
    slots = elements(bars(counted(1, 2), CAPTIONS), "slot")

    assert ["0: 1", "1: 2"] == [slot[0].text for slot in slots]


def test_the_scale_and_the_times_stand_beside_the_bars() -> None:
    assert ["2,000", "1,000", "08:00", "08:03"] == texts(bars(counted(1_500, 0, 0, 0), CAPTIONS))


def test_a_time_at_an_edge_does_not_leave_the_chart() -> None:
    captions = Captions("trial", "", "", {0: "08:00", 30: "08:30", 59: "08:59"})
    found = parsed(bars(counted(*[0] * 60), captions)).iter("text")

    assert ["start", "middle", "end"] == [tick.get("text-anchor") for tick in found if tick.get("text-anchor")]


def test_a_chart_of_nothing_has_a_scale_and_no_bars() -> None:
    svg = bars(counted(0, 0), CAPTIONS)

    assert (["2", "1"], []) == (texts(svg)[:2], elements(svg, "accepted"))


def test_what_is_said_is_escaped() -> None:
    svg = bars([Column("<script>alert(1)</script>", {"accepted": 1})], CAPTIONS)

    assert "<script>" not in svg
    assert "&lt;script&gt;" in svg


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 2), (2, 2), (3, 4), (7, 10), (10, 10), (11, 20), (41, 60), (1_234_567, 2_000_000)]
)
def test_a_scale_ends_at_a_round_number_with_a_whole_half(value: int, expected: int) -> None:
    assert (expected, 0) == (ceiling(value), ceiling(value) % 2)


def test_a_curve_joins_what_is_known_and_is_broken_where_nothing_is() -> None:
    svg = curves(waited(0.1, 1, None, 10), CAPTIONS, NAMES)
    root = parsed(svg)
    lines = [found for found in root.iter("line") if found.get("class") == "mail-chart-half"]

    assert (1, 1) == (len(lines), len(list(root.iter("circle"))))
    assert [NAMES[0.1], NAMES[1], NAMES[10]] == texts(svg)[:3]


def test_seconds_stand_on_a_logarithmic_scale_that_ends_where_they_end() -> None:
    svg = curves(waited(0.001, None, 0.1, None, 10), CAPTIONS, NAMES)

    assert [BOTTOM, pytest.approx(BOTTOM - (BOTTOM - TOP) / 3, abs=0.1), TOP] == heights(svg)


def test_a_wait_beyond_the_scale_stays_at_its_top() -> None:
    assert [TOP] == heights(curves(waited(100_000), CAPTIONS, NAMES))


def test_without_any_wait_there_is_a_scale() -> None:
    assert [NAMES[0.1], NAMES[1]] == texts(curves(waited(None, None), CAPTIONS, NAMES))[:2]
