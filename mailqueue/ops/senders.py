"""Which senders there are, and whether they are alive, by the database's clock."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Q, QuerySet, TextChoices
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from mailqueue.models import SenderProcess
from mailqueue.queue.presence import ALIVE_SECONDS

IS_ALIVE = ExpressionWrapper(
    Q(seen_at__gt=Now() - timedelta(seconds=ALIVE_SECONDS), ended_at=None), output_field=BooleanField()
)
BY_LIFE = (IS_ALIVE.desc(), F("ended_at").desc(nulls_first=True), "host", "started_at", "name")
"""The order of a list of senders: as in `Life`."""


class Life(TextChoices):
    """What became of a sender, in the order in which one wants to know it."""

    ALIVE = "alive", _("alive")
    GONE = "gone", _("gone")
    ENDED = "ended", _("ended in order")


@dataclass(frozen=True, slots=True)
class Absence:
    """That no sender is alive who would send mail of a backend."""

    since: datetime | None
    """When the last one was seen; None: nobody knows of one."""


def with_life(senders: QuerySet[Any]) -> QuerySet[Any]:
    """Add `is_alive`."""
    described: QuerySet[Any] = senders.annotate(is_alive=IS_ALIVE)
    return described


def life_of(sender: Any) -> Life:
    """Return what became of a sender that was read `with_life`."""
    if sender.is_alive:
        return Life.ALIVE
    return Life.GONE if sender.ended_at is None else Life.ENDED


def absences(backends: Collection[str], *, using: str | None) -> dict[str, Absence]:
    """Return for which of these backends no sender is alive, in one statement."""
    senders = list(with_life(SenderProcess.objects.using(using)))
    found = {backend: absence_from(senders, backend) for backend in backends}
    return {backend: absence for backend, absence in found.items() if absence is not None}


def absence_from(senders: Iterable[Any], backend: str) -> Absence | None:
    """Return that none of these senders, which were read `with_life`, is alive and serves a backend; else None."""
    serving = [sender for sender in senders if not sender.backends or backend in sender.backends]
    if any(sender.is_alive for sender in serving):
        return None
    return Absence(max((sender.seen_at for sender in serving), default=None))
