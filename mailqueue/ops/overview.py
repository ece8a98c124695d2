"""The queue at a glance: what stands in it and for how long, how its backends are, and who is sending."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connections
from post_office.models import PRIORITY

from mailqueue.delivery.backends import canonical, configured_aliases
from mailqueue.models import BackendHealth, SenderProcess
from mailqueue.ops.backends import Backend
from mailqueue.ops.conditions import State
from mailqueue.ops.senders import BY_LIFE, with_life
from mailqueue.queue.counts import AGES, MOST, Pile, read_domains, read_piles, read_stopped
from mailqueue.queue.enqueue import database_time

AGING = frozenset({State.WAITING, State.RETRYING})
"""Mails of which one asks how long they have been there."""
SHOWN = (
    State.WAITING,
    State.SENDING,
    State.RETRYING,
    State.SCHEDULED,
    State.UNKNOWN,
    State.HELD,
    State.PARTLY_SENT,
    State.FAILED,
    State.EXPIRED,
    State.CANCELLED,
)


@dataclass(slots=True)
class Count:
    """How many mails there are, or at least how many: nobody waits for a count of a million."""

    number: int = 0
    is_at_least: bool = False

    def add(self, number: int, *, is_at_least: bool = False) -> None:
        self.number += number
        self.is_at_least |= is_at_least


@dataclass(slots=True)
class Ages:
    """How old mails are that wait or are retried: how many there are of each class, see AGES."""

    name: str
    counts: list[int] = field(default_factory=lambda: [0] * (len(AGES) + 1))

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(slots=True)
class Overview:
    """The queue at one moment, by the database's clock."""

    now: datetime
    counts: dict[State, Count]
    """Held and unknown mails are all counted; partly sent, failed, expired and cancelled ones of the last
    24 hours."""
    oldest_due_at: datetime | None
    """Since when the mail has been due that waits longest."""
    next_due_at: datetime | None
    """When the next mail is due of those that are not."""
    waiting: dict[str, Count]
    """Mails that wait, by backend."""
    lanes: list[Ages]
    backends: list[Backend]
    senders: list[SenderProcess]
    """With `is_alive`."""

    @property
    def oldest_seconds(self) -> float | None:
        return None if self.oldest_due_at is None else (self.now - self.oldest_due_at).total_seconds()


def overview(*, using: str) -> Overview:
    """Read all of it, in a handful of statements whose cost does not grow with the queue."""
    with connections[using].cursor() as cursor:
        piles = read_piles(cursor)
        stopped = read_stopped(cursor)
    now = database_time(using)
    return Overview(
        now=now,
        counts=_counts(piles, stopped),
        oldest_due_at=min((pile.oldest_due_at for pile in piles if pile.oldest_due_at), default=None),
        next_due_at=min((pile.next_due_at for pile in piles if pile.next_due_at), default=None),
        waiting=_waiting(piles),
        lanes=_lanes(piles),
        backends=_backends(now, using=using),
        senders=list(with_life(SenderProcess.objects.using(using)).order_by(*BY_LIFE)),
    )


def ages_by_domain(*, using: str) -> list[Ages]:
    """Return how old mails are that wait or are retried, by the domain that they go to, most mails first.

    A mail that goes to several domains counts for each.
    """
    with connections[using].cursor() as cursor:
        found = [Ages(domain, counts) for domain, counts in read_domains(cursor).items()]
    return sorted(found, key=lambda ages: (-ages.total, ages.name))


def _counts(piles: Sequence[Pile], stopped: Mapping[str, tuple[int, bool]]) -> dict[State, Count]:
    counts = {state: Count() for state in SHOWN}
    full = _full_parts(piles)
    for pile in piles:
        state = State(pile.state)
        counts[state].add(pile.count, is_at_least=(pile.alias, pile.priority, pile.is_due) in full)
    for reason, (number, is_at_least) in stopped.items():
        counts[State(reason)].add(number, is_at_least=is_at_least)
    return counts


def _waiting(piles: Sequence[Pile]) -> dict[str, Count]:
    full = _full_parts(piles)
    counts: defaultdict[str, Count] = defaultdict(Count)
    for pile in piles:
        if pile.state == State.WAITING:
            is_at_least = (pile.alias, pile.priority, pile.is_due) in full
            counts[canonical(pile.alias)].add(pile.count, is_at_least=is_at_least)
    return dict(counts)


def _full_parts(piles: Sequence[Pile]) -> set[tuple[str, int, bool]]:
    """Return the parts of lanes, due or not, of which no more was counted."""
    totals: Counter[tuple[str, int, bool]] = Counter()
    for pile in piles:
        totals[pile.alias, pile.priority, pile.is_due] += pile.count
    return {part for part, count in totals.items() if count >= MOST}


def _lanes(piles: Sequence[Pile]) -> list[Ages]:
    lanes: dict[tuple[str, int], Ages] = {}
    for pile in piles:
        if pile.state in AGING:
            key = canonical(pile.alias), pile.priority
            lane = lanes.setdefault(key, Ages(f"{key[0]} {priority_name(pile.priority)}"))
            lane.counts[pile.age_class] += pile.count
    return [lanes[key] for key in sorted(lanes, key=lambda key: (key[0], -key[1]))]


def priority_name(priority: int) -> str:
    """Return what post_office calls a priority, or its number."""
    names: dict[int, str] = {number: name for name, number in PRIORITY._asdict().items()}
    return names.get(priority, str(priority))


def _backends(now: datetime, *, using: str) -> list[Backend]:
    """Return every backend that is configured or has a row, by alias."""
    rows = {row.alias: row for row in BackendHealth.objects.using(using)}
    rows |= {alias: BackendHealth(alias=alias) for alias in configured_aliases() if alias not in rows}
    return [Backend(rows[alias], now) for alias in sorted(rows)]
