"""The arithmetic of the benchmark: percentiles, medians, targets, and the table that tells them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Better, Figure, Figures, Target, percentile
from bench.report import write
from bench.table import table

TITLES = {"drain": "Drains", "idle": "At rest"}


def rate(key: str, *, target: Target | None = None) -> Figure:
    return Figure("drain", key, key, "mails/s", target=target)


def noted(*pairs: tuple[Figure, float]) -> Figures:
    figures = Figures()
    for figure, value in pairs:
        figures.note(figure, value)
    return figures


def beside_loop(*runs: list[tuple[float, float]]) -> Figures:
    """Return what was noted of two contestants in runs of several laps; ours is to be 1.8 times the other."""
    figures = Figures()
    for figures.run, laps in enumerate(runs):
        for ours, loop in laps:
            figures.note(rate("ours", target=Target(1.8, of="loop")), ours)
            figures.note(rate("loop"), loop)
    return figures


def row(text: str, label: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {label} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(share: float, expected: int) -> None:
    found = percentile(list(range(100, 0, -1)), share)

    assert expected == found


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_not_exceeded_by_at_least_its_share_of_the_values(values: list[float], share: float) -> None:
    found = percentile(values, share)

    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_the_quietest_of_the_runs_is_the_fastest_rate() -> None:
    figure = Figure("drain", "a", "a", "mails/s", runs={0: [900, 1100], 1: [1000]})

    assert (1000, 1100) == (figure.median, figure.quietest)


def test_the_quietest_of_the_runs_is_the_shortest_time() -> None:
    figure = Figure("drain", "a", "a", "ms", Better.LOWER, runs={0: [9, 11, 10]})

    assert (10, 9) == (figure.median, figure.quietest)


@pytest.mark.parametrize(("value", "is_met"), [(1800, True), (1799, False)])
def test_a_multiple_of_a_peer_is_reached_from_its_bound_on(value: float, is_met: bool) -> None:
    figures = beside_loop([(value, 1000)])
    verdict = figures.verdict(next(iter(figures)))

    assert verdict is not None
    assert [is_met] == verdict.is_met


def test_a_multiple_is_that_of_the_same_lap() -> None:
    # The machine became ten times slower after the first lap: the medians alone would say 1.2 times.
    figures = beside_loop([(2000, 1000), (210, 100), (190, 100)], [(200, 100), (1100, 1000), (1900, 1000)])
    verdict = figures.verdict(next(iter(figures)))

    assert verdict is not None
    assert ([[2, 2.1, 1.9], [2, 1.1, 1.9]], [2, 1.9], 1.95) == (verdict.reached, verdict.medians, verdict.median)


@pytest.mark.parametrize(("value", "is_met"), [(5.0, True), (5.1, False)])
def test_a_time_is_to_be_at_most_its_bound(value: float, is_met: bool) -> None:
    figure = Figure("claim", "p99", "p99", "ms", Better.LOWER, Target(5), runs={0: [value]})
    verdict = Figures().verdict(figure)

    assert verdict is not None
    assert [is_met] == verdict.is_met


@pytest.mark.parametrize("target", [None, Target(1.8, of="loop")])
def test_what_has_no_target_or_no_peer_that_was_measured_is_neither_met_nor_missed(target: Target | None) -> None:
    figures = noted((rate("ours", target=target), 1))
    (ours,) = figures

    assert figures.verdict(ours) is None


def test_the_last_lap_of_a_call_that_was_broken_off_counts_where_both_have_run_it() -> None:
    figures = beside_loop([(2000, 1000)])
    figures.note(rate("ours"), 5)

    assert ["ours", "1,002", "2,000", "mails/s", "≥ 1.80 ×; is 2.00 ×", "met"] == row(table(figures, TITLES), "ours")


def test_a_peer_that_was_measured_in_no_run_yet_says_nothing() -> None:
    figures = noted((rate("ours", target=Target(1.8, of="loop")), 1))
    figures.miss(rate("loop"), "broken off")

    assert ["ours", "1", "1", "mails/s", "", ""] == row(table(figures, TITLES), "ours")


def test_the_table_says_which_multiple_was_to_be_and_which_is() -> None:
    figures = beside_loop([(2000.4, 1000)])

    assert ["ours", "2,000", "2,000", "mails/s", "≥ 1.80 ×; is 2.00 ×", "met"] == row(table(figures, TITLES), "ours")


@pytest.mark.parametrize(
    ("values", "words"),
    [((1800, 1900, 2000), "met"), ((1700, 1900, 2000), "missed in 1 of 3"), ((1, 2, 3), "MISSED")],
)
def test_the_table_says_what_each_run_reached(values: tuple[float, ...], words: str) -> None:
    figures = beside_loop(*([(value, 1000)] for value in values))
    runs = " / ".join(f"{value / 1000:.2f}" for value in values)
    found = row(table(figures, TITLES), "ours")

    assert (f"≥ 1.80 ×; is {values[1] / 1000:.2f} × ({runs})", words) == (found[4], found[5])


def test_the_table_says_what_each_run_reached_of_a_fixed_bound() -> None:
    figures = Figures()
    for figures.run in range(2):
        figures.note(Figure("idle", "cpu", "share", "%", Better.LOWER, Target(0.3), digits=2), figures.run / 5)

    assert ["share", "0.10", "0.00", "%", "≤ 0.30 (0.00 / 0.20)", "met"] == row(table(figures, TITLES), "share")


def test_the_table_says_what_was_missed() -> None:
    figures = noted((Figure("idle", "cpu", "share", "%", Better.LOWER, Target(0.3), digits=2), 0.456))

    assert ["share", "0.46", "0.46", "%", "≤ 0.30", "MISSED"] == row(table(figures, TITLES), "share")


def test_the_table_says_why_something_was_not_measured() -> None:
    figures = Figures()
    figures.miss(rate("celery"), "no redis-server")

    assert "not measured: no redis-server" in row(table(figures, TITLES), "celery")


def test_the_table_leaves_out_sections_without_figures() -> None:
    text = table(noted((rate("ours"), 1)), TITLES)

    assert ("Drains" in text, "At rest" in text) == (True, False)


def test_a_second_run_adds_to_the_figure_of_the_first() -> None:
    figures = beside_loop([(1, 1), (2, 1)], [(3, 1)])
    (ours, _) = figures

    assert {0: [1, 2], 1: [3]} == ours.runs


def test_the_file_tells_every_value_and_what_was_held_against_the_bound(tmp_path: Path) -> None:
    figures = beside_loop([(2000, 1000), (1800, 1000)], [(1000, 1000)])
    path = tmp_path / "new" / "figures.json"

    write(path, figures, machine={"cores": "2"}, at=datetime(2030, 1, 2, tzinfo=UTC), arguments=["--small"])

    told = json.loads(path.read_text())["figures"][0]
    assert (1.8, "loop", [[2, 1.8], [1]], [True, False], [[2000, 1800], [1000]]) == tuple(
        told[name] for name in ("target", "target_of", "reached", "is_met", "runs")
    )
