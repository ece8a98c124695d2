"""What each readable state means in SQL: one condition a state, with the database's clock as the only one."""

from typing import Any

from django.db import models
from django.db.models import Case, CharField, Exists, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext_lazy as _
from post_office.models import STATUS, Email

from mailqueue.models import Attempt, AttemptOutcome, MailState, StopReason


class State(models.TextChoices):
    """What a person is told about a mail."""

    WAITING = "waiting", _("waiting")
    SCHEDULED = "scheduled", _("scheduled")
    SENDING = "sending", _("sending")
    RETRYING = "retrying", _("retrying")
    SENT = "sent", _("sent")
    PARTLY_SENT = "partly_sent", _("partly sent")
    FAILED = "failed", _("failed")
    EXPIRED = "expired", _("expired")
    CANCELLED = "cancelled", _("cancelled")
    UNKNOWN = "unknown", _("unknown")
    HELD = "held", _("held")
    INTERRUPTED = "interrupted", _("interrupted")


UNDER_WAY = frozenset({State.WAITING, State.SCHEDULED, State.SENDING, State.RETRYING})
"""States in which a mail goes on by itself."""
RARE_REASONS = {
    State.HELD: StopReason.HELD,
    State.EXPIRED: StopReason.EXPIRED,
    State.CANCELLED: StopReason.CANCELLED,
}


def with_facts(mails: QuerySet[Any]) -> QuerySet[Any]:
    """Add what the conditions ask for, without selecting it."""
    attempts = Attempt.objects.filter(email=OuterRef("pk"))
    last = attempts.closed().order_by("-id").values("outcome")[:1]
    described: QuerySet[Any] = mails.alias(
        is_started=Exists(attempts.open().exclude(started_at=None)),
        last_outcome=Coalesce(Subquery(last), Value("")),
        stop_reason=Coalesce("mailqueue_state__reason", Value(StopReason.FAILED)),
    )
    return described


def conditions() -> dict[State, Q]:
    """Return one condition for each state; for every mail exactly one of them holds."""
    queued = Q(status=STATUS.queued, is_started=False)
    requeued = Q(status=STATUS.requeued, is_started=False)
    later = Q(scheduled_time__gt=Now())
    is_unknown = Q(last_outcome=AttemptOutcome.UNKNOWN)
    is_partly_sent = Q(last_outcome=AttemptOutcome.PARTLY_SENT)
    stopped = {reason: Q(status=STATUS.failed, stop_reason=reason) for reason in StopReason}
    return {
        State.WAITING: (queued | requeued) & (Q(scheduled_time=None) | Q(scheduled_time__lte=Now())),
        State.SCHEDULED: queued & later,
        State.SENDING: Q(status__in=[STATUS.queued, STATUS.requeued], is_started=True),
        State.RETRYING: requeued & later & ~is_unknown,
        State.SENT: Q(status=STATUS.sent) & ~is_partly_sent,
        State.PARTLY_SENT: Q(status=STATUS.sent) & is_partly_sent,
        State.FAILED: stopped[StopReason.FAILED],
        State.EXPIRED: stopped[StopReason.EXPIRED],
        State.CANCELLED: stopped[StopReason.CANCELLED],
        State.UNKNOWN: stopped[StopReason.UNKNOWN] | (requeued & later & is_unknown),
        State.HELD: stopped[StopReason.HELD],
        State.INTERRUPTED: Q(status=None) | Q(status__gt=STATUS.requeued),
    }


def narrowed(mails: QuerySet[Any], state: State) -> QuerySet[Any]:
    """Leave out, by what an index finds, mails that are not in this state: rare ones are not looked for in all."""
    if state in RARE_REASONS:
        return mails.filter(mailqueue_state__reason=RARE_REASONS[state])
    if state == State.UNKNOWN:
        stopped = MailState.objects.filter(reason=StopReason.UNKNOWN).values("email")
        return mails.filter(pk__in=stopped.union(Email.objects.filter(status=STATUS.requeued).values("pk")))
    if state == State.PARTLY_SENT:
        return mails.filter(pk__in=Attempt.objects.filter(outcome=AttemptOutcome.PARTLY_SENT).values("email"))
    return mails


def state_case() -> Case:
    """Return the expression that names the state of a mail."""
    whens = [When(condition, then=Value(state.value)) for state, condition in conditions().items()]
    return Case(*whens, output_field=CharField())
