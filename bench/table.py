"""The table that the benchmark prints."""

from collections.abc import Iterable, Mapping

from bench.figures import Better, Figure, Figures, Verdict

HEAD = ("", "median", "quietest", "unit", "target", "")


def table(figures: Figures, titles: Mapping[str, str]) -> str:
    """Return all figures, each section under its title, in columns of plain text (a Markdown table as well)."""
    parts = []
    for section, title in titles.items():
        if found := [figure for figure in figures if figure.section == section]:
            parts.append(
                f"{title}\n\n{_columns([HEAD, *(_row(figure, figures.verdict(figure)) for figure in found)])}"
            )
    return "\n\n".join(parts) + "\n"


def _row(figure: Figure, verdict: Verdict | None) -> tuple[str, ...]:
    if figure.median is None or figure.quietest is None:
        return (figure.label, f"not measured: {figure.not_measured}", "", "", "", "")
    return (
        figure.label,
        number(figure.median, figure.digits),
        number(figure.quietest, figure.digits),
        figure.unit,
        _target(figure, verdict) if verdict else "",
        _judged(verdict.is_met) if verdict else "",
    )


def _target(figure: Figure, verdict: Verdict) -> str:
    """Say the target and, where it is a multiple, what was reached; of several runs, what each reached."""
    assert figure.target  # noqa: S101 - for the type checker: without one there is no verdict
    sign = "≥" if figure.better is Better.HIGHER else "≤"
    digits, times, reached = figure.digits, "", ""
    if figure.target.of:
        digits, times, reached = 2, " ×", f"; is {verdict.median:.2f} ×"
    runs = " / ".join(number(median, digits) for median in verdict.medians)
    told = f" ({runs})" if len(verdict.reached) > 1 else ""
    return f"{sign} {number(figure.target.bound, digits)}{times}{reached}{told}"


def _judged(is_met: list[bool]) -> str:
    if all(is_met):
        return "met"
    return f"missed in {is_met.count(False)} of {len(is_met)}" if any(is_met) else "MISSED"


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
