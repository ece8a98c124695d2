"""Whom a mail would reach if it were queued again, and who has it already."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db import connections, models
from django.db.models import Case, CharField, Value, When
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.models import Attempt, AttemptOutcome
from mailqueue.ops.states import MailStatus, State, states_of
from mailqueue.outbox.allowed import not_allowed
from mailqueue.outbox.messages import load_rows, recipients_of
from mailqueue.queue.history import History, read_histories
from mailqueue.queue.orders import could_come_twice


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
    is_there: bool = False
    """Those it goes to have it already."""
    may_be_there: bool = False
    """Those it goes to may have it already: nobody knows."""
    strangers: list[str] = field(default_factory=list)
    """Those it goes to whom ALLOWED_RECIPIENTS does not allow: with one of them it goes to nobody, and is held."""

    @property
    def was_held(self) -> bool:
        return self.status.state == State.HELD


def reaches_of(email_ids: Sequence[int], *, using: str) -> list[Reach]:
    """Tell of each mail whom it would reach, newest mail first; what is gone is left out."""
    mails = load_rows(email_ids, using=using)
    statuses = states_of(mails.values())
    with connections[using].cursor() as cursor:
        histories = read_histories(cursor, mails)
    obstacles = obstacles_of(mails, using=using)
    twice = could_come_twice(mails, using=using)
    sent = set(
        Attempt.objects.using(using)
        .filter(email__in=list(twice), outcome=AttemptOutcome.SENT)
        .values_list("email", flat=True)
    )
    reaches = []
    for pk in sorted(mails.keys() & statuses.keys(), reverse=True):
        recipients = recipients_of(mails[pk])
        goes_to = histories.get(pk, History()).pending(recipients)
        stays_with = [address for address in recipients if address not in goes_to]
        is_there = pk in twice and (pk in sent or statuses[pk].state == State.SENT)
        reach = Reach(
            mails[pk],
            statuses[pk],
            goes_to,
            stays_with,
            obstacles.get(pk),
            is_there=is_there,
            may_be_there=pk in twice and not is_there,
            strangers=not_allowed(goes_to),
        )
        reaches.append(reach)
    return reaches


def obstacles_of(email_ids: Iterable[int], *, using: str) -> dict[int, Obstacle]:
    """Return which of these mails can't be queued again, by anybody, and why."""
    mails = Email.objects.using(using).filter(pk__in=list(email_ids)).annotate(obstacle=obstacle_case())
    found = mails.exclude(obstacle="").values_list("pk", "obstacle")
    return {pk: Obstacle(obstacle) for pk, obstacle in found}


def obstacle_case() -> Case:
    """Return the expression that names the obstacle of a mail; empty: there is none."""
    return Case(
        When(mailqueue_options__wiped_at__isnull=False, then=Value(Obstacle.WIPED.value)),
        When(expires_at__lte=Now(), then=Value(Obstacle.OVER.value)),
        default=Value(""),
        output_field=CharField(),
    )
