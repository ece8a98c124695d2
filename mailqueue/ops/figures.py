"""What was sent over time, and how long it took: figures for a chart or a program."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from django.db import connections, models
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from mailqueue.queue.figures import WAITS, Sums, read

MINUTE, HOUR = 60, 3600
LONGEST = max(seconds for seconds in WAITS.values() if seconds != float("inf"))
"""Of a wait that is longer nobody knows more than that."""


class Span(models.TextChoices):
    """How far back figures go."""

    HOUR = "hour", gettext_lazy("Last hour")
    DAY = "day", gettext_lazy("Last 24 hours")
    WEEK = "week", gettext_lazy("Last 7 days")


STEPS = {Span.HOUR: (MINUTE, 60), Span.DAY: (15 * MINUTE, 96), Span.WEEK: (2 * HOUR, 84)}
"""How long a step of each span is (seconds), and how many there are."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was sent in one step of time."""

    began_at: datetime
    sums: Sums

    @property
    def half(self) -> float | None:
        """Within how many seconds half of the mails were accepted that were at their first attempt; an estimate."""
        return quantile(self.sums.waits, 0.5)

    @property
    def most(self) -> float | None:
        """Within how many seconds 95 of 100 of them were."""
        return quantile(self.sums.waits, 0.95)


def read_figures(span: Span, *, now: datetime, using: str) -> list[Figure]:
    """Return the figures of a span that ends now, in one statement; the last step is still under way."""
    step, count = STEPS[span]
    last = int(now.timestamp()) // step
    places = range(last - count + 1, last + 1)
    with connections[using].cursor() as cursor:
        found = read(cursor, step=step, places=places)
    moments = [datetime.fromtimestamp(place * step, UTC) for place in places]
    return [Figure(moment, sums) for moment, sums in zip(moments, found, strict=True)]


def total(figures: Sequence[Figure]) -> Figure:
    """Return what several steps come to."""
    sums = [figure.sums for figure in figures]
    return Figure(
        figures[0].began_at,
        Sums(
            accepted=sum(one.accepted for one in sums),
            put_off=sum(one.put_off for one in sums),
            failed=sum(one.failed for one in sums),
            unknown=sum(one.unknown for one in sums),
            waits=tuple(map(sum, zip(*(one.waits for one in sums), strict=True))),
        ),
    )


def quantile(waits: Sequence[int], share: float) -> float | None:
    """Estimate how long that share of the mails took at most, as if each class were evenly filled; None: no mails."""
    rank = share * sum(waits)
    if not rank:
        return None
    passed = 0
    for (lower, upper), count in zip(pairwise((0.0, *WAITS.values())), waits, strict=True):
        if passed + count >= rank and upper <= LONGEST:
            return lower + (upper - lower) * (rank - passed) / count
        passed += count
    return LONGEST


def readable_wait(seconds: float | None) -> str:
    """Return how long mails took, as exactly as it was counted."""
    if seconds is None:
        return "-"
    if seconds >= LONGEST:
        return _("over 1 h")
    rough = float(f"{seconds:.1g}")
    if rough < 1:
        return _("%(number)s ms") % {"number": round(1000 * rough)}
    if seconds < MINUTE:
        shown = round(seconds, 0 if seconds >= 10 else 1)
        return _("%(number)s s") % {"number": number_format(shown, 0 if shown == int(shown) else 1)}
    return _("%(number)s min") % {"number": round(seconds / MINUTE)}
