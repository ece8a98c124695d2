"""How a backend is: whether mail flows through it, what it may be given, and what of that is in force now."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext_lazy as _
from post_office.models import STATUS, Email

from mailqueue.conf import configuration
from mailqueue.delivery.backends import canonical, configured_aliases, spellings
from mailqueue.models import BackendHealth
from mailqueue.queue.rate import DAY_SECONDS, present_rate

NOTICEABLE = timedelta(seconds=1)
COUNTED_MAILS = 1000
"""Nobody waits for a count of more mails than that."""


class Flow(models.TextChoices):
    """Whether mail flows through a backend; of several reasons why it does not, the gravest."""

    OPEN = "open", _("open")
    SLOWED = "slowed", _("slowed down")
    RESTING = "resting", _("resting")
    SPENT = "spent", _("used up for today")
    SHUT = "shut", _("shut")
    PAUSED = "paused", _("paused")
    GONE = "gone", _("not configured any more")


STOPPED = frozenset({Flow.GONE, Flow.PAUSED, Flow.SHUT, Flow.SPENT, Flow.RESTING})


class Source(models.TextChoices):
    """Who says how much a backend may be given."""

    ADMIN = "admin", _("admin")
    SETTINGS = "settings", _("settings")
    NOBODY = "nobody", _("nobody")


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of one thing a backend may be given, and who says so; None: any number."""

    allowed: float | None
    source: Source


@dataclass(frozen=True, slots=True)
class Backend:
    """What was known of a backend at one moment, by the database's clock."""

    row: BackendHealth
    now: datetime

    @property
    def flow(self) -> Flow:
        if self.row.alias not in configured_aliases():
            return Flow.GONE
        if self.row.paused_at is not None:
            return Flow.PAUSED
        if self.row.shut_at is not None:
            return Flow.SHUT
        if self.row.resting_until is not None and self.row.resting_until > self.now:
            return Flow.SPENT if _rests_to_end_of_day(self.row) else Flow.RESTING
        return Flow.SLOWED if self.is_rate_cut or self.are_connections_cut else Flow.OPEN

    @property
    def per_second(self) -> Limit:
        return self._limit(self.row.max_per_second, "per_second")

    @property
    def per_day(self) -> Limit:
        return self._limit(self.row.max_per_day, "per_day")

    @property
    def connections(self) -> Limit:
        return self._limit(self.row.max_connections, "connections")

    @property
    def rate_now(self) -> float | None:
        """Recipients per second that senders start now, when nothing else stands in the way; None: any number."""
        ceiling, row = self.per_second.allowed, self.row
        if row.throttled_rate is None:
            return ceiling
        rested_for = (self.now - row.resting_until).total_seconds() if row.resting_until else 0.0
        return present_rate(
            ceiling=ceiling,
            throttled_rate=row.throttled_rate,
            throttle_count=row.throttle_count,
            rested_for=rested_for,
        )

    @property
    def connections_now(self) -> float | None:
        """Connections of all senders together that are allowed now; None: any number."""
        known = [limit for limit in (self.connections.allowed, self.row.connection_limit) if limit is not None]
        return min(known, default=None)

    @property
    def metered_until(self) -> datetime | None:
        """When the rate lets the next mail start, where that is worth waiting for."""
        rate, row = self.rate_now, self.row
        if rate is None or row.tokens_at is None or row.tokens >= 1:
            return None
        until = row.tokens_at + timedelta(seconds=(1 - row.tokens) / rate)
        return until if until - self.now >= NOTICEABLE else None

    @property
    def is_asked_to_rest(self) -> bool:
        """Whether it rests because the server said so; else its own rate makes it."""
        row = self.row
        if row.resting_until is None or row.tokens_at is None:
            return True
        return abs(row.tokens_at - row.resting_until) < NOTICEABLE

    @property
    def is_rate_cut(self) -> bool:
        return self.rate_now != self.per_second.allowed

    @property
    def are_connections_cut(self) -> bool:
        return self.connections_now != self.connections.allowed

    @property
    def day_ends_at(self) -> datetime | None:
        """When the recipients of this day are forgotten; None: no day is under way."""
        ends_at = _end_of_day(self.row)
        return ends_at if ends_at is not None and ends_at > self.now else None

    def _limit(self, ordered: float | None, name: str) -> Limit:
        if ordered is not None:
            return Limit(ordered, Source.ADMIN)
        configured = configured_limit(self.row.alias, name)
        return Limit(configured, Source.NOBODY if configured is None else Source.SETTINGS)


def configured_limit(alias: str, name: str) -> float | None:
    """Return what the settings allow a backend: `per_second`, `per_day` or `connections`; None: any number."""
    return configuration().RATE_LIMITS.get(alias, {}).get(name)


def with_clock(rows: QuerySet[BackendHealth]) -> QuerySet[BackendHealth]:
    """Let the rows tell when they were read, by the database's clock: `backend_of` asks for it."""
    timed: QuerySet[BackendHealth] = rows.annotate(read_at=Now())
    return timed


def backend_of(row: BackendHealth) -> Backend:
    """Return what a row says that was read `with_clock`."""
    return Backend(row, row.read_at)  # type: ignore[attr-defined]  # an annotation


def backends_in_the_way(*, using: str | None) -> dict[str, Backend]:
    """Return the backends through which no mail flows now, by alias, in one statement."""
    stopped = ~Q(paused_at=None) | ~Q(shut_at=None) | Q(resting_until__gt=Now())
    metered = Q(tokens__lt=1) & ~Q(tokens_at=None)
    rows = with_clock(BackendHealth.objects.using(using).filter(stopped | metered))
    found = {row.alias: backend_of(row) for row in rows}
    return {alias: one for alias, one in found.items() if one.flow in STOPPED or one.metered_until is not None}


def unlisted_aliases(*, using: str) -> list[str]:
    """Return the configured backends that have no row yet."""
    listed = set(BackendHealth.objects.using(using).values_list("alias", flat=True))
    return [alias for alias in configured_aliases() if alias not in listed]


def is_known(alias: str, *, using: str) -> bool:
    """Whether a backend is configured, or was: a row of it is left, or some mail that names it."""
    if canonical(alias) in configured_aliases():
        return True
    if "\0" in alias:
        return False
    rows, mails = BackendHealth.objects.using(using), Email.objects.using(using)
    return rows.filter(pk=alias).exists() or mails.filter(backend_alias=alias).exists()


def count_queued(alias: str, *, using: str) -> int:
    """Count the mails that stand in the queue of a backend, those for later too; beyond the most nothing is read."""
    return sum(_count_lane(spelling, using=using) for spelling in spellings(alias))


def _count_lane(spelling: str, *, using: str) -> int:
    # Asked for in its order, the lane index is read, whatever the planner thinks of the table.
    lane = (Coalesce("priority", Value(1)), Coalesce("scheduled_time", "created"), "pk")
    queued = Email.objects.using(using).filter(backend_alias=spelling, status__in=(STATUS.queued, STATUS.requeued))
    found: int = queued.order_by(*lane)[: COUNTED_MAILS + 1].count()
    return found


def _end_of_day(row: BackendHealth) -> datetime | None:
    return None if row.day_began_at is None else row.day_began_at + timedelta(seconds=DAY_SECONDS)


def _rests_to_end_of_day(row: BackendHealth) -> bool:
    ends_at = _end_of_day(row)
    if ends_at is None or row.resting_until is None:
        return False
    return abs(ends_at - row.resting_until) < timedelta(seconds=1)
