"""The charts of the queue at a glance, and the same figures as a table, in the active language."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.formats import date_format, number_format
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from mailqueue.ops.charts import MARKS, Captions, Column, bars, curves
from mailqueue.ops.figures import STEPS, Figure, Span, readable_wait, total

TICK_SECONDS = {Span.HOUR: 15 * 60, Span.DAY: 6 * 3600, Span.WEEK: 24 * 3600}
"""How far the captions below a chart are apart."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart with what stands around it."""

    title: str
    summary: str
    svg: SafeString
    legend: Sequence[tuple[str, str]]
    """What each colour means, by kind; empty where there is one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One step of time in words."""

    time: str
    cells: Sequence[str]


def charts(figures: Sequence[Figure], span: Span) -> list[Chart]:
    """Draw throughput, failures and latency of one span."""
    return [_throughput(figures, span), _failures(figures, span), _latency(figures, span)]


def rows(figures: Sequence[Figure], span: Span) -> list[Row]:
    """Return the steps in which something ended, the latest first."""
    return [
        Row(
            _time(figure, span),
            (
                *map(_number, (figure.sums.accepted, figure.sums.put_off, figure.sums.failed, figure.sums.unknown)),
                readable_wait(figure.half),
                readable_wait(figure.most),
            ),
        )
        for figure in reversed(figures)
        if figure.sums.accepted or any(_bad(figure).values())
    ]


def _throughput(figures: Sequence[Figure], span: Span) -> Chart:
    summary = _accepted(total(figures))
    columns = [
        Column(_labelled(figure, span, _accepted(figure)), {"accepted": figure.sums.accepted}) for figure in figures
    ]
    title = {
        Span.HOUR: _("Accepted, per minute"),
        Span.DAY: _("Accepted, per 15 minutes"),
        Span.WEEK: _("Accepted, per 2 hours"),
    }[span]
    captions = Captions("mail-throughput", title, summary, _ticks(figures, span))
    return Chart(title, summary, bars(columns, captions), ())


def _failures(figures: Sequence[Figure], span: Span) -> Chart:
    legend = {"failed": _("failed"), "unknown": _("unknown"), "put_off": _("put off")}
    title, summary = _("Not accepted"), _counts(total(figures))
    columns = [Column(_labelled(figure, span, _counts(figure)), _bad(figure)) for figure in figures]
    captions = Captions("mail-failures", title, summary, _ticks(figures, span))
    return Chart(title, summary, bars(columns, captions), list(legend.items()))


def _latency(figures: Sequence[Figure], span: Span) -> Chart:
    legend = {"most": _("95 of 100 mails within"), "half": _("half of the mails within")}
    title, summary = _("From due to accepted"), _waits(total(figures))
    columns = [
        Column(_labelled(figure, span, _waits(figure)), {"most": figure.most, "half": figure.half})
        for figure in figures
    ]
    captions = Captions("mail-latency", title, summary, _ticks(figures, span))
    marks = {mark: readable_wait(mark) if mark < MARKS[-1] else _("1 h") for mark in MARKS}
    return Chart(title, summary, curves(columns, captions, marks), list(legend.items()))


def _bad(figure: Figure) -> Mapping[str, int]:
    return {"failed": figure.sums.failed, "unknown": figure.sums.unknown, "put_off": figure.sums.put_off}


def _counts(figure: Figure) -> str:
    words = {name: _number(count) for name, count in _bad(figure).items()}
    return _("%(failed)s failed, %(unknown)s unknown, %(put_off)s put off") % words


def _waits(figure: Figure) -> str:
    if figure.half is None:
        return _("no mail was accepted at its first attempt")
    words = {"half": readable_wait(figure.half), "most": readable_wait(figure.most)}
    return _("half of the mails within %(half)s, 95 of 100 within %(most)s") % words


def _accepted(figure: Figure) -> str:
    return _("%(count)s accepted") % {"count": _number(figure.sums.accepted)}


def _labelled(figure: Figure, span: Span, text: str) -> str:
    return _("%(time)s: %(text)s") % {"time": _time(figure, span), "text": text}


def _number(count: int) -> str:
    return number_format(count, force_grouping=True)


def _time(figure: Figure, span: Span) -> str:
    return date_format(localtime(figure.began_at), "H:i" if span != Span.WEEK else "D H:i")


def _ticks(figures: Sequence[Figure], span: Span) -> dict[int, str]:
    """Name the first step of each stretch of local time, but not the one that was under way when the span began."""
    step, _count = STEPS[span]
    apart, format_ = TICK_SECONDS[span], "D" if span == Span.WEEK else "H:i"
    found: dict[int, str] = {}
    for place, figure in enumerate(figures):
        there = localtime(figure.began_at)
        if (there.hour * 3600 + there.minute * 60) % apart < step:
            found[place] = date_format(there, format_)
    return found
