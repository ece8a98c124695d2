"""Why a mail is in its state, in one sentence of the active language."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from mailqueue.models import Attempt, AttemptOutcome, BackendHealth
from mailqueue.ops.conditions import State


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sentences are made of."""

    until: datetime | None
    note: str
    stopped_by: str
    attempt: Attempt | None
    """The attempt under way, else the last one."""
    shut_backend: BackendHealth | None = None
    """The backend it waits for, where that is shut."""


def readable_time(moment: datetime | None) -> str:
    """Return a time in the reader's time zone, to the second."""
    return date_format(localtime(moment), "Y-m-d H:i:s") if moment else ""


def answer_of(attempt: Attempt | None) -> str:
    """Return what the server said in an attempt, or the error that kept it from saying anything."""
    if attempt is None:
        return ""
    said = " ".join(str(part) for part in (attempt.reply_code, attempt.enhanced_code, attempt.reply) if part)
    return said or attempt.error


def sentence(state: State, facts: Facts) -> str:
    return _SENTENCES[state](facts)


def _waiting(facts: Facts) -> str:
    backend = facts.shut_backend
    if backend is None:
        return _("It is due: the next free sender takes it.")
    return _(
        "It waits for the backend %(backend)s, which is shut since %(since)s (%(reason)s). Next probe: %(probe)s."
    ) % {
        "backend": backend.alias,
        "since": readable_time(backend.shut_at),
        "reason": backend.shut_reason,
        "probe": readable_time(backend.probe_at),
    }


def _sending(facts: Facts) -> str:
    if facts.attempt is None:  # it ended between the two statements
        return _("It is being sent.")
    words = {"sender": facts.attempt.sender, "time": readable_time(facts.attempt.started_at)}
    return _("It has been with the sender %(sender)s since %(time)s.") % words


def _retrying(facts: Facts) -> str:
    words = {"time": readable_time(facts.until), "answer": answer_of(facts.attempt)}
    if not words["answer"]:
        return _("It is tried again at %(time)s.") % words
    return _("It is tried again at %(time)s, because of: %(answer)s") % words


def _sent(facts: Facts) -> str:
    if facts.attempt is None or facts.attempt.outcome != AttemptOutcome.SENT:  # others may set the status
        return _("It was sent.")
    words = {"time": readable_time(facts.attempt.finished_at), "answer": answer_of(facts.attempt)}
    if not words["answer"]:
        return _("The server took it at %(time)s.") % words
    return _("The server took it at %(time)s and said: %(answer)s") % words


def _failed(facts: Facts) -> str:
    reason = facts.note or answer_of(facts.attempt)
    return _("It failed: %(reason)s") % {"reason": reason} if reason else _("It failed; no reason was recorded.")


def _unknown(facts: Facts) -> str:
    if facts.until is None:
        return _("It may have arrived: nobody knows how the last attempt ended. It waits for a person to decide.")
    words = {"time": readable_time(facts.until)}
    return _("It may have arrived: nobody knows how the last attempt ended. It is sent once more at %(time)s.") % words


def _cancelled(facts: Facts) -> str:
    return _("It was cancelled by %(person)s.") % {"person": facts.stopped_by or _("somebody")}


def _held(facts: Facts) -> str:
    words = {"person": facts.stopped_by, "reason": facts.note}
    if facts.stopped_by:
        return (_("It is held by %(person)s: %(reason)s") if facts.note else _("It is held by %(person)s.")) % words
    return (_("It is held: %(reason)s") if facts.note else _("It is held.")) % words


_SENTENCES: dict[State, Callable[[Facts], str]] = {
    State.WAITING: _waiting,
    State.SCHEDULED: lambda facts: _("It goes out at %(time)s.") % {"time": readable_time(facts.until)},
    State.SENDING: _sending,
    State.RETRYING: _retrying,
    State.SENT: _sent,
    State.PARTLY_SENT: lambda _facts: _("Some recipients have it, others were refused for good: see the attempts."),
    State.FAILED: _failed,
    State.EXPIRED: lambda _facts: _("Its time was over before it could be sent."),
    State.CANCELLED: _cancelled,
    State.UNKNOWN: _unknown,
    State.HELD: _held,
    State.INTERRUPTED: lambda _facts: _(
        "It was to be sent at once by post_office itself, which did not record an end. It is not sent from here."
    ),
}
