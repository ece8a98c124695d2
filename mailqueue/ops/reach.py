"""Whom a mail would reach if it were queued again, and who has it already."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import connections, models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.ops.states import MailStatus, State, states_of
from mailqueue.outbox.messages import load_rows, recipients_of
from mailqueue.queue.history import History, read_histories

ARRIVED = frozenset({State.SENT})
PERHAPS_ARRIVED = frozenset({State.UNKNOWN})
COULD_COME_TWICE = ARRIVED | PERHAPS_ARRIVED


class Obstacle(models.TextChoices):
    """Why a mail can't be queued again although nobody is sending it."""

    WIPED = "wiped", _("what it said is no longer kept")
    OVER = "over", _("the time in which it may be sent is over")


@dataclass(frozen=True, slots=True)
class Reach:
    """What queueing a mail again would mean to its recipients."""

    mail: Email
    status: MailStatus
    goes_to: list[str]
    """Everyone to whom it would be sent."""
    stays_with: list[str]
    """Those who have it and would not get it again."""
    obstacle: Obstacle | None = None
    """Why it would go to nobody."""

    @property
    def is_there(self) -> bool:
        """Those it goes to have it already."""
        return self.status.state in ARRIVED

    @property
    def may_be_there(self) -> bool:
        """Those it goes to may have it already: nobody knows."""
        return self.status.state in PERHAPS_ARRIVED


def reaches_of(email_ids: Sequence[int], *, using: str) -> list[Reach]:
    """Tell of each mail whom it would reach, newest mail first; what is gone is left out."""
    mails = load_rows(email_ids, using=using)
    statuses = states_of(mails.values())
    with connections[using].cursor() as cursor:
        histories = read_histories(cursor, mails)
    obstacles = obstacles_of(mails, using=using)
    reaches = []
    for pk in sorted(mails.keys() & statuses.keys(), reverse=True):
        recipients = recipients_of(mails[pk])
        goes_to = histories.get(pk, History()).pending(recipients)
        stays_with = [address for address in recipients if address not in goes_to]
        reaches.append(Reach(mails[pk], statuses[pk], goes_to, stays_with, obstacles.get(pk)))
    return reaches


def obstacles_of(email_ids: Iterable[int], *, using: str) -> dict[int, Obstacle]:
    """Return which of these mails can't be queued again, by anybody, and why."""
    mails = Email.objects.using(using).filter(pk__in=list(email_ids))
    wiped = Q(mailqueue_options__wiped_at__isnull=False)
    found = mails.filter(wiped | Q(expires_at__lte=Now())).values_list("pk", "mailqueue_options__wiped_at")
    return {pk: Obstacle.OVER if wiped_at is None else Obstacle.WIPED for pk, wiped_at in found}
