"""The readable state of a mail, for a page of mails at once, and lists filtered by it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import router
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext
from post_office.models import STATUS, Email

from mailqueue.delivery.backends import canonical
from mailqueue.models import Attempt
from mailqueue.ops.circumstances import Circumstances, circumstances_of
from mailqueue.ops.conditions import State, conditions, narrowed, state_case, with_facts
from mailqueue.ops.facts import Facts, readable_time
from mailqueue.ops.recipients import Recipients, recipients_by_mail
from mailqueue.ops.sentences import UNDER_WAY, sentence

__all__ = ["MailStatus", "State", "filter_by_state", "state_of", "states_by_id", "states_of"]

BATCH = 2000
QUEUED = (STATUS.queued, STATUS.requeued)
TIMED = frozenset({State.SCHEDULED, State.RETRYING, State.UNKNOWN})


@dataclass(frozen=True, slots=True)
class MailStatus:
    """The state of one mail; texts are in the language that was active when it was made."""

    state: State
    detail: str
    """Why, in one sentence."""
    until: datetime | None
    """When something is due to happen: the scheduled time, or the next try."""
    attempt_count: int
    """Attempts that were started, one under way included."""

    @property
    def text(self) -> str:
        """The state in a few words, with its time."""
        if self.until is None:
            return str(self.state.label)
        patterns = {
            State.SCHEDULED: gettext("scheduled for %(time)s"),
            State.RETRYING: gettext("retrying at %(time)s"),
            State.UNKNOWN: gettext("unknown, sent again at %(time)s"),
        }
        return patterns[self.state] % {"time": readable_time(self.until)}

    @property
    def is_final(self) -> bool:
        """Nothing more happens to the mail unless a person acts."""
        return self.state not in UNDER_WAY and self.until is None


def states_of(emails: Iterable[Email]) -> dict[int, MailStatus]:
    """Describe mails as the database knows them now, by primary key; what is gone is left out.

    All of them must come from the same database. The number of statements does not depend on how many they are.
    """
    mails = list(emails)
    return _described_batch([mail.pk for mail in mails], using=mails[0]._state.db) if mails else {}


def states_by_id(email_ids: Iterable[int], *, using: str) -> dict[int, MailStatus]:
    """Describe any number of mails of one database, in the order given; what is gone is left out."""
    ids = list(dict.fromkeys(email_ids))
    described: dict[int, MailStatus] = {}
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        found = _described_batch(batch, using=using)
        described |= {pk: found[pk] for pk in batch if pk in found}
    return described


def _described_batch(ids: Sequence[int], *, using: str | None) -> dict[int, MailStatus]:
    using = using or router.db_for_read(Email)
    attempts = _speaking_attempts(ids, using=using)
    rows = with_facts(Email.objects.using(using).filter(pk__in=ids)).values(
        "pk",
        "status",
        "scheduled_time",
        "backend_alias",
        state=state_case(),
        attempt_count=_attempt_count(),
        has_results=Exists(Attempt.objects.filter(email=OuterRef("pk"), recipients__isnull=False)),
        note=Coalesce("mailqueue_state__note", Value(""), output_field=TextField()),
        stopped_by=Coalesce("mailqueue_state__stopped_by", Value("")),
    )
    found = list(rows)
    around = _circumstances(found, using=using)
    recipients = _recipients(found, using=using)
    return {
        row["pk"]: _described(row, attempts.get(row["pk"]), around=around, recipients=recipients.get(row["pk"]))
        for row in found
    }


def state_of(email: Email) -> MailStatus:
    """Describe one mail.

    Raises:
        Email.DoesNotExist: the mail is no longer in the database.
    """
    described = states_of([email])
    if email.pk not in described:
        raise Email.DoesNotExist(f"Mail {email.pk} is not in the database.")
    return described[email.pk]


def filter_by_state(queryset: QuerySet[Email], state: State | str) -> QuerySet[Email]:
    """Keep the mails that `states_of` describes with this state."""
    return with_facts(narrowed(queryset, State(state))).filter(conditions()[State(state)])


def _attempt_count() -> Coalesce:
    started = Attempt.objects.filter(email=OuterRef("pk")).exclude(started_at=None).order_by()
    return Coalesce(Subquery(started.values("email").annotate(count=Count("pk")).values("count")), Value(0))


def _speaking_attempts(ids: Sequence[int], *, using: str | None) -> dict[int, Attempt]:
    """Give the attempt that speaks for each mail: the one under way, else the last that was closed."""
    speaking = Attempt.objects.using(using).filter(email__in=ids).exclude(started_at=None, finished_at=None)
    last = speaking.order_by("email", "-id").distinct("email")
    return {attempt.email_id: attempt for attempt in last}


def _circumstances(rows: Sequence[dict[str, Any]], *, using: str) -> Circumstances:
    unsent = {row["pk"]: row["backend_alias"] for row in rows if row["state"] == State.WAITING or _is_timed(row)}
    waiting = [row["pk"] for row in rows if row["state"] == State.WAITING]
    return circumstances_of(unsent, waiting=waiting, using=using)


def _recipients(rows: Sequence[dict[str, Any]], *, using: str) -> dict[int, Recipients]:
    """Tell who has those mails that were not sent to all at once."""
    ids = [row["pk"] for row in rows if row["has_results"] and row["state"] != State.SENT]
    under_way = {row["pk"] for row in rows if row["state"] in UNDER_WAY}
    return recipients_by_mail(ids, under_way=under_way, using=using)


def _is_timed(row: dict[str, Any]) -> bool:
    return row["state"] in TIMED and row["status"] in QUEUED


def _described(
    row: dict[str, Any], attempt: Attempt | None, *, around: Circumstances, recipients: Recipients | None
) -> MailStatus:
    state = State(row["state"])
    backend = canonical(row["backend_alias"])
    facts = Facts(
        until=row["scheduled_time"] if _is_timed(row) else None,
        note=row["note"],
        stopped_by=row["stopped_by"],
        attempt=attempt,
        attempt_count=row["attempt_count"],
        backend=around.backends.get(backend),
        absence=around.absences.get(backend),
        place=around.places.get(row["pk"]),
        recipients=recipients,
    )
    return MailStatus(state, sentence(state, facts), facts.until, row["attempt_count"])
