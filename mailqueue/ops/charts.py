"""Charts as SVG: numbers in, text out. Widths are per cent, so that a chart is as wide as the screen allows and its
letters stay as large as all others; colours come from the style sheet."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

HEIGHT, TOP, BOTTOM, CAPTION = 150, 16, 122, 142
"""In pixels from above: the whole, the highest value, the base line, and the feet of the letters below it."""
GAP = 0.2
"""How much of the width of a column is left free."""
EDGE = 4
"""So near to an edge (per cent) a caption does not stand in the middle of what it names."""
TOPS = (2, 4, 6, 10)
"""Half of each is a whole number too."""
LEAST_SECONDS = 0.01
MARKS = (0.1, 1, 10, 60, 600, 3600)
"""Where a scale of seconds may have lines."""


@dataclass(frozen=True, slots=True)
class Column:
    """One step of time: what to say of it, and its values by kind, from the base line up."""

    label: str
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Captions:
    """The words of a chart. `name` is its own within the page; `ticks` stand below columns, by their places."""

    name: str
    title: str
    description: str
    ticks: Mapping[int, str]


def bars(columns: Sequence[Column], captions: Captions) -> SafeString:
    """Draw one bar a column, made of the counts of its kinds."""
    top = ceiling(max(sum(value or 0 for value in column.values.values()) for column in columns))
    marks = {top: number_format(top, force_grouping=True), top // 2: number_format(top // 2, force_grouping=True)}
    scale = [(_height(value / top), text) for value, text in marks.items()]
    count = len(columns)
    parts = (part for place, column in enumerate(columns) for part in _bar(column, place, count, top))
    return _chart(columns, captions, scale, parts)


def curves(columns: Sequence[Column], captions: Captions, marks: Mapping[float, str]) -> SafeString:
    """Draw seconds on a logarithmic scale, one curve a kind; where there is no value, it is broken.

    `marks` names the seconds at which lines may be drawn.
    """
    known = [value for column in columns for value in column.values.values() if value is not None]
    top = next((mark for mark in MARKS[1:] if mark >= max(known, default=0)), MARKS[-1])
    scale = [(_height(_level(mark, top)), marks[mark]) for mark in MARKS if mark <= top]
    kinds = list(columns[0].values)
    return _chart(columns, captions, scale, (part for kind in kinds for part in _curve(columns, kind, top)))


def ceiling(value: float) -> int:
    """Return where a scale ends that must hold this count: a round number."""
    power = 1
    while True:
        for top in TOPS:
            if top * power >= value:
                return top * power
        power *= 10


def _chart(
    columns: Sequence[Column], captions: Captions, scale: Sequence[tuple[float, str]], parts: Iterable[SafeString]
) -> SafeString:
    title, text = f"{captions.name}-title", f"{captions.name}-text"
    return _element(
        "svg",
        _element("title", captions.title, id=title),
        _element("desc", captions.description, id=text),
        *(_line(y) for y, _ in [*scale, (BOTTOM, "")]),
        *parts,
        *(_element("text", name, x=0, y=y - 3) for y, name in scale),
        *(_tick(name, (place + 0.5) * 100 / len(columns)) for place, name in captions.ticks.items()),
        *(_slot(column, place, len(columns)) for place, column in enumerate(columns)),
        class_="mail-chart",
        role="img",
        aria_labelledby=f"{title} {text}",
        width="100%",
        height=HEIGHT,
    )


def _line(y: float) -> SafeString:
    return _element("line", class_="mail-chart-line", x1=0, x2="100%", y1=y, y2=y)


def _tick(name: str, x: float) -> SafeString:
    anchor = "start" if x < EDGE else "end" if x > 100 - EDGE else "middle"
    return _element("text", name, x=_share(x), y=CAPTION, text_anchor=anchor)


def _slot(column: Column, place: int, count: int) -> SafeString:
    """Draw what a mouse finds: the whole height of a column says its numbers."""
    x, width = _share(place * 100 / count), _share(100 / count)
    return _element(
        "rect", _element("title", column.label), class_="mail-chart-slot", x=x, width=width, y=0, height=BOTTOM
    )


def _bar(column: Column, place: int, count: int, top: int) -> Iterator[SafeString]:
    """Draw the kinds that a bar is made of, none too low to be seen."""
    x, width = _share((place + GAP / 2) * 100 / count), _share((1 - GAP) * 100 / count)
    end = 0.0
    for kind, value in column.values.items():
        if value:
            end += value
            height = max((BOTTOM - TOP) * value / top, 1)
            yield _element("rect", class_=f"mail-chart-{kind}", x=x, width=width, y=_height(end / top), height=height)


def _curve(columns: Sequence[Column], kind: str, top: float) -> Iterator[SafeString]:
    points = [
        None if (value := column.values[kind]) is None else (_share((n + 0.5) * 100 / len(columns)), value)
        for n, column in enumerate(columns)
    ]
    places = [point and (point[0], _height(_level(point[1], top))) for point in points]
    for one, other in pairwise(places):
        if one and other:
            yield _element("line", class_=f"mail-chart-{kind}", x1=one[0], y1=one[1], x2=other[0], y2=other[1])
    for before, place, after in zip([None, *places], places, [*places[1:], None], strict=False):
        if place and not (before or after):
            yield _element("circle", class_=f"mail-chart-{kind}", cx=place[0], cy=place[1], r=2)


def _element(tag: str, /, *children: str, **attributes: str | float) -> SafeString:
    """Write an element; text and values are escaped, elements stay what they are."""
    given = [(name.rstrip("_").replace("_", "-"), _written(value)) for name, value in attributes.items()]
    return format_html(
        "<{0}{1}>{2}</{0}>",
        tag,
        format_html_join("", ' {}="{}"', given),
        format_html_join("", "{}", [(child,) for child in children]),
    )


def _written(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def _share(x: float) -> str:
    return f"{x:.2f}%"


def _level(seconds: float, top: float) -> float:
    """Return how high a number of seconds stands on the logarithmic scale: 0 is the base line, 1 the top."""
    return max(math.log(max(seconds, LEAST_SECONDS) / LEAST_SECONDS) / math.log(top / LEAST_SECONDS), 0)


def _height(level: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * min(level, 1)
