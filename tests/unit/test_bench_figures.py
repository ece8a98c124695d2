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
    figure = Figure("drain", "a", "a", "mails/s", values=[900, 1100, 1000])

    assert (1000, 1100) == (figure.median, figure.quietest)


def test_the_quietest_of_the_runs_is_the_shortest_time() -> None:
    figure = Figure("drain", "a", "a", "ms", Better.LOWER, values=[9, 11, 10])

    assert (10, 9) == (figure.median, figure.quietest)


@pytest.mark.parametrize(("value", "is_met"), [(1800, True), (1799, False)])
def test_a_multiple_of_a_peer_is_reached_from_its_bound_on(value: float, is_met: bool) -> None:
    figures = noted((rate("ours", target=Target(1.8, of="loop")), value), (rate("loop"), 1000))
    (ours, _) = figures

    assert is_met is ours.is_met(figures.medians())


@pytest.mark.parametrize(("value", "is_met"), [(5.0, True), (5.1, False)])
def test_a_time_is_to_be_at_most_its_bound(value: float, is_met: bool) -> None:
    figure = Figure("claim", "p99", "p99", "ms", Better.LOWER, Target(5), values=[value])

    assert is_met is figure.is_met({})


def test_a_target_beside_a_peer_that_was_not_measured_is_neither_met_nor_missed() -> None:
    figures = noted((rate("ours", target=Target(1.8, of="loop")), 1))
    (ours,) = figures

    assert ours.is_met(figures.medians()) is None


def test_the_table_says_which_multiple_was_to_be_and_which_is() -> None:
    figures = noted((rate("ours", target=Target(1.8, of="loop")), 2000.4), (rate("loop"), 1000))

    assert ["ours", "2,000", "2,000", "mails/s", "≥ 1,800 (1.8 ×; is 2.00 ×)", "met"] == row(
        table(figures, TITLES), "ours"
    )


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
    figures = noted((rate("ours"), 1), (rate("ours"), 3))
    (ours,) = figures

    assert [1, 3] == ours.values


def test_the_file_tells_every_value_and_the_bound_it_was_held_against(tmp_path: Path) -> None:
    figures = noted((rate("ours", target=Target(1.8, of="loop")), 2000), (rate("loop"), 1000))
    path = tmp_path / "new" / "figures.json"

    write(path, figures, machine={"cores": "2"}, at=datetime(2030, 1, 2, tzinfo=UTC), arguments=["--small"])

    told = json.loads(path.read_text())
    assert ([2000], 1800, True) == tuple(told["figures"][0][name] for name in ("values", "target", "is_met"))
