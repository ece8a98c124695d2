"""The attempts of a mail as a timeline, oldest first."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.delivery.outcomes import Verdict
from mailqueue.models import Attempt
from mailqueue.ops.facts import answer_of
from mailqueue.ops.recipients import answer_to

VERDICTS = {
    Verdict.SENT: _("sent"),
    Verdict.RETRY: _("to be retried"),
    Verdict.FAIL: _("failed"),
    Verdict.DEFER: _("deferred"),
    Verdict.HOLD: _("held"),
    Verdict.UNKNOWN: _("unknown"),
}


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """What became of one recipient in one attempt."""

    address: str
    verdict: str
    answer: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt in readable form."""

    attempt: Attempt
    outcome: str
    duration: str
    answer: str
    recipients: list[RecipientResult]


def timeline_of(email: Email) -> list[Entry]:
    """Read all attempts of a mail, oldest first, in one statement."""
    attempts = Attempt.objects.using(email._state.db).filter(email=email.pk).order_by("id")
    return [
        Entry(attempt, _outcome(attempt), _duration(attempt), answer_of(attempt), list(_recipients(attempt)))
        for attempt in attempts
    ]


def _outcome(attempt: Attempt) -> str:
    if attempt.finished_at is not None:
        return str(attempt.get_outcome_display() or "-")
    return gettext("being sent") if attempt.started_at else gettext("claimed, not started")


def _duration(attempt: Attempt) -> str:
    if attempt.started_at is None or attempt.finished_at is None:
        return ""
    seconds = (attempt.finished_at - attempt.started_at).total_seconds()
    if seconds < 1:
        return gettext("%(count)d ms") % {"count": round(seconds * 1000)}
    return gettext("%(count).1f s") % {"count": seconds}


def _recipients(attempt: Attempt) -> Iterator[RecipientResult]:
    """Give what can be read: people change tables by hand."""
    results = attempt.recipients if isinstance(attempt.recipients, dict) else {}
    for address, result in results.items():
        if isinstance(result, dict):
            verdict = result.get("verdict", "")
            known = str(VERDICTS[Verdict(verdict)]) if verdict in set(Verdict) else str(verdict)
            yield RecipientResult(address, known, answer_to(result))
