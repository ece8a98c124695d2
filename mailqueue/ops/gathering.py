"""Gathering what there is to say about mails, for any number of them in a fixed number of statements."""

from collections.abc import Sequence
from typing import Any

from django.db.models import BooleanField, Case, Count, Exists, OuterRef, Q, Subquery, TextField, Value, When
from django.db.models.functions import Coalesce, Now
from post_office.models import STATUS, Email

from mailqueue.delivery.backends import canonical
from mailqueue.models import Attempt, AttemptOutcome
from mailqueue.ops.circumstances import Circumstances, circumstances_of
from mailqueue.ops.conditions import UNDER_WAY, State, state_case, with_facts
from mailqueue.ops.facts import Facts
from mailqueue.ops.recipients import Recipients, recipients_by_mail

QUEUED = (STATUS.queued, STATUS.requeued)
TIMED = frozenset({State.SCHEDULED, State.RETRYING, State.UNKNOWN})
ARRIVED = (AttemptOutcome.SENT, AttemptOutcome.UNKNOWN)
AT_WORK = frozenset({State.WAITING, State.SENDING})

Row = dict[str, Any]


def gather(ids: Sequence[int], *, using: str) -> dict[int, Facts]:
    """Return the facts of mails as the database knows them now; what is gone is left out."""
    speaking = Attempt.objects.using(using).filter(email__in=ids).exclude(started_at=None, finished_at=None)
    attempts = _last(speaking.annotate(is_late=_yes(Q(lease_until__lt=Now()))))
    rows = _rows(ids, using=using)
    around = _circumstances(rows, using=using)
    recipients = _recipients(rows, using=using)
    arrivals = _arrivals(rows, using=using)
    return {
        row["pk"]: _facts(
            row,
            attempts.get(row["pk"]),
            arrival=arrivals.get(row["pk"]),
            around=around,
            recipients=recipients.get(row["pk"]),
        )
        for row in rows
    }


def _rows(ids: Sequence[int], *, using: str) -> list[Row]:
    attempts = Attempt.objects.filter(email=OuterRef("pk")).order_by()
    started = attempts.exclude(started_at=None).values("email").annotate(count=Count("pk")).values("count")
    rows = with_facts(Email.objects.using(using).filter(pk__in=ids)).values(
        "pk",
        "status",
        "scheduled_time",
        "expires_at",
        "backend_alias",
        "from_email",
        state=state_case(),
        attempt_count=Coalesce(Subquery(started), Value(0)),
        has_results=Exists(attempts.filter(recipients__isnull=False)),
        has_arrived=Exists(attempts.filter(outcome__in=ARRIVED)),
        is_over=_yes(Q(expires_at__lte=Now())),
        is_emptied=_yes(Q(mailqueue_options__wiped_at__isnull=False)),
        note=Coalesce("mailqueue_state__note", Value(""), output_field=TextField()),
        stopped_by=Coalesce("mailqueue_state__stopped_by", Value("")),
    )
    return list(rows)


def _yes(condition: Q) -> Case:
    return Case(When(condition, then=True), default=False, output_field=BooleanField())


def _last(attempts: Any) -> dict[int, Attempt]:
    """Give the last of these attempts of each mail; the one under way is always the last."""
    return {attempt.email_id: attempt for attempt in attempts.order_by("email", "-id").distinct("email")}


def _arrivals(rows: Sequence[Row], *, using: str) -> dict[int, Attempt]:
    ids = [row["pk"] for row in rows if row["has_arrived"] and row["state"] != State.SENT]
    return _last(Attempt.objects.using(using).filter(email__in=ids, outcome__in=ARRIVED)) if ids else {}


def _circumstances(rows: Sequence[Row], *, using: str) -> Circumstances:
    unsent = {row["pk"]: row["backend_alias"] for row in rows if row["state"] in AT_WORK or _is_timed(row)}
    waiting = [row["pk"] for row in rows if row["state"] == State.WAITING]
    return circumstances_of(unsent, waiting=waiting, using=using)


def _recipients(rows: Sequence[Row], *, using: str) -> dict[int, Recipients]:
    """Tell who has those mails that were not sent to all at once."""
    ids = [row["pk"] for row in rows if row["has_results"] and row["state"] != State.SENT]
    under_way = {row["pk"] for row in rows if row["state"] in UNDER_WAY}
    return recipients_by_mail(ids, under_way=under_way, using=using)


def _is_timed(row: Row) -> bool:
    return row["state"] in TIMED and row["status"] in QUEUED


def _facts(
    row: Row, attempt: Attempt | None, *, arrival: Attempt | None, around: Circumstances, recipients: Recipients | None
) -> Facts:
    backend = canonical(row["backend_alias"])
    return Facts(
        state=State(row["state"]),
        until=row["scheduled_time"] if _is_timed(row) else None,
        note=row["note"],
        stopped_by=row["stopped_by"],
        attempt=attempt,
        attempt_count=row["attempt_count"],
        arrival=arrival,
        expires_at=row["expires_at"],
        is_over=row["is_over"],
        is_emptied=row["is_emptied"],
        refusal=around.refusals.get((backend, row["from_email"]), ""),
        backend=around.backends.get(backend),
        absence=around.absences.get(backend),
        place=around.places.get(row["pk"]),
        recipients=recipients,
    )
