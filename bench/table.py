"""The table that the benchmark prints."""

from collections.abc import Iterable, Mapping

from bench.figures import Better, Figure, Figures

HEAD = ("", "median", "quietest", "unit", "target", "")


def table(figures: Figures, titles: Mapping[str, str]) -> str:
    """Return all figures, each section under its title, in columns of plain text (a Markdown table as well)."""
    medians = figures.medians()
    parts = []
    for section, title in titles.items():
        if found := [figure for figure in figures if figure.section == section]:
            parts.append(f"{title}\n\n{_columns([HEAD, *(_row(figure, medians) for figure in found)])}")
    return "\n\n".join(parts) + "\n"


def _row(figure: Figure, medians: dict[str, float]) -> tuple[str, ...]:
    if figure.median is None or figure.quietest is None:
        return (figure.label, f"not measured: {figure.not_measured}", "", "", "", "")
    met = figure.is_met(medians)
    return (
        figure.label,
        number(figure.median, figure.digits),
        number(figure.quietest, figure.digits),
        figure.unit,
        _target(figure, medians),
        "" if met is None else "met" if met else "MISSED",
    )


def _target(figure: Figure, medians: dict[str, float]) -> str:
    """Say the target in the figure's unit and, where it is a multiple, as what and how much was reached."""
    threshold = figure.target.threshold(medians) if figure.target else None
    if figure.target is None or threshold is None or figure.median is None:
        return ""
    sign = "≥" if figure.better is Better.HIGHER else "≤"
    bound = f"{sign} {number(threshold, figure.digits)}"
    other = medians.get(figure.target.of)
    if not other:
        return bound
    return f"{bound} ({figure.target.bound:.3g} ×; is {figure.median / other:.2f} ×)"


def number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def _columns(rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    widths = [max(len(row[n]) for row in rows if n == 0 or not _is_wide(row)) for n in range(len(HEAD))]
    lines = [_line(row, widths) for row in rows]
    rule = "|" + "|".join(f"{'-' * (width + 1)}{':' if 1 <= n <= 2 else '-'}" for n, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _is_wide(row: tuple[str, ...]) -> bool:
    """Whether a row's second cell is a sentence that may run over the columns after it."""
    return not any(row[2:]) and bool(row[0])


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    if _is_wide(row):
        return f"| {row[0]:<{widths[0]}} | {row[1]} ||||| "[:-1]
    cells = [
        f"{cell:>{width}}" if 1 <= n <= 2 else f"{cell:<{width}}"
        for n, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return f"| {' | '.join(cells)} |"
