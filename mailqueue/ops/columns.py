"""Tables of plain text, for terminals."""

from collections.abc import Sequence
from unicodedata import combining, east_asian_width

WIDE = frozenset({"W", "F"})
"""What takes two places in a terminal (Unicode Standard Annex 11)."""


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Return the rows as lines in which the columns stand below each other; those of `right` end at one place."""
    if not rows:
        return []
    widths = [max(_width(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [_line(row, widths, right) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    cells = []
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        padding = " " * (width - _width(cell))
        cells.append(padding + cell if place in right else cell + padding)
    return "  ".join(cells).rstrip()


def _width(cell: str) -> int:
    return sum(1 + (east_asian_width(letter) in WIDE) for letter in cell if not combining(letter))
