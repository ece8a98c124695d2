"""What an order would do to any number of mails, counted before it is given, and why it would leave others alone."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from django.db import models
from django.utils.translation import gettext_lazy as _
from post_office.models import STATUS, Email

from mailqueue.ops.conditions import State, state_case, with_facts
from mailqueue.ops.reach import Obstacle, obstacle_case
from mailqueue.queue.orders import BATCH, could_come_twice, newest_attempt


class Order(StrEnum):
    """What people order for many mails at once."""

    REQUEUE = "requeue"
    RELEASE = "release"
    CANCEL = "cancel"
    HOLD = "hold"

    @property
    def is_queueing(self) -> bool:
        return self in {Order.REQUEUE, Order.RELEASE}


class Change(models.TextChoices):
    """Why a mail was left alone although it could have been acted on a moment before or after."""

    UNASKED = "unasked", _("somebody would have got it twice, and you were not asked about it")
    PASSING = "passing", _("it changed at the same moment")


Reason = State | Obstacle | Change


@dataclass(slots=True)
class Forecast:
    """What an order would do at the moment."""

    count: int = 0
    """How many mails it would be carried out on."""
    twice: list[int] = field(default_factory=list)
    """Those of them that somebody has, or may have, who would get them again; in order."""
    up_to: int = 0
    """The newest attempt that this takes into account."""
    left: Counter[Reason] = field(default_factory=Counter)
    """How many it would leave as they are, by the reason."""


def forecast(order: Order, email_ids: Sequence[int], *, using: str) -> Forecast:
    """Tell what an order would do, in one statement and two for each `BATCH` of mails; `email_ids` are in order.

    What is gone counts for nothing.
    """
    found = Forecast(up_to=newest_attempt(using=using) if order.is_queueing else 0)
    for batch in batches(email_ids):
        reasons = _reasons(order, batch, using=using)
        fit = [pk for pk, reason in reasons.items() if reason is None]
        found.count += len(fit)
        found.left.update(reason for reason in reasons.values() if reason is not None)
        if order.is_queueing:
            found.twice += sorted(could_come_twice(fit, using=using))
    return found


def why_left(order: Order, email_ids: Sequence[int], *, using: str) -> Counter[Reason]:
    """Count the reasons for which these mails were left as they are. What is gone counts for nothing."""
    left: Counter[Reason] = Counter()
    for batch in batches(email_ids):
        reasons = _reasons(order, batch, using=using)
        fit = [pk for pk, reason in reasons.items() if reason is None]
        left.update(reason for reason in reasons.values() if reason is not None)
        twice = could_come_twice(fit, using=using) if order.is_queueing else set()
        left.update(Change.UNASKED if pk in twice else Change.PASSING for pk in fit)
    return left


def batches(email_ids: Sequence[int]) -> Iterator[list[int]]:
    """Cut into what one statement takes, in the order given."""
    return (list(email_ids[start : start + BATCH]) for start in range(0, len(email_ids), BATCH))


def _reasons(order: Order, batch: Sequence[int], *, using: str) -> dict[int, Reason | None]:
    """Return of each mail why the order would leave it as it is; None: it would not."""
    mails = with_facts(Email.objects.using(using).filter(pk__in=batch))
    rows = mails.values_list("pk", "status", state_case(), obstacle_case())
    return {pk: _reason(order, status, State(state), obstacle) for pk, status, state, obstacle in rows}


def _reason(order: Order, status: int | None, state: State, obstacle: str) -> Reason | None:
    if state == State.SENDING:
        return state
    if order == Order.CANCEL and state == State.HELD:
        return None
    if not order.is_queueing:
        return None if status in (STATUS.queued, STATUS.requeued) else state
    if state == State.INTERRUPTED or (order == Order.RELEASE and state != State.HELD):
        return state
    return Obstacle(obstacle) if obstacle else None
