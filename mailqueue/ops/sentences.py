"""Why a mail is in its state, in one sentence of the active language."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from mailqueue.models import Attempt, AttemptOutcome
from mailqueue.ops.backends import Backend, Flow
from mailqueue.ops.conditions import State


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sentences are made of."""

    until: datetime | None
    note: str
    stopped_by: str
    attempt: Attempt | None
    """The attempt under way, else the last one."""
    backend: Backend | None = None
    """The backend it is for, where no mail flows through that now."""


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


def why_paused(backend: Backend) -> str:
    """Return who paused a backend, since when and why, as the end of a sentence."""
    words = {
        "person": backend.row.paused_by or _("somebody"),
        "since": readable_time(backend.row.paused_at),
        "note": backend.row.pause_note,
    }
    if not backend.row.pause_note:
        return _("paused by %(person)s since %(since)s") % words
    return _("paused by %(person)s since %(since)s (%(note)s)") % words


def _waiting(facts: Facts) -> str:
    backend = facts.backend
    if backend is None:
        return _("It is due: the next free sender takes it.")
    words = {
        "backend": backend.row.alias,
        "paused": why_paused(backend),
        "since": readable_time(backend.row.shut_at),
        "reason": backend.row.shut_reason,
        "probe": readable_time(backend.row.probe_at),
        "until": readable_time(backend.row.resting_until),
    }
    patterns = {
        Flow.PAUSED: _("It waits for the backend %(backend)s, which is %(paused)s."),
        Flow.GONE: _("It names the backend %(backend)s, which is not configured any more: the next sender holds it."),
        Flow.SHUT: _(
            "It waits for the backend %(backend)s, which is shut since %(since)s (%(reason)s). Next probe: %(probe)s."
        ),
        Flow.SPENT: _(
            "It waits for the backend %(backend)s, which takes nothing more until %(until)s: its recipients of the "
            "day are used up."
        ),
        Flow.RESTING: _(
            "It waits for the backend %(backend)s, which rests until %(until)s: the server asked to slow down."
        ),
    }
    return patterns[backend.flow] % words


def _at_its_time(pattern: str, facts: Facts) -> str:
    """Say when something happens, and that it does not as long as the backend is paused."""
    text = pattern % {"time": readable_time(facts.until), "answer": answer_of(facts.attempt)}
    if facts.backend is None or facts.backend.flow != Flow.PAUSED or facts.until is None:
        return text
    words = {"text": text.rstrip("."), "backend": facts.backend.row.alias, "paused": why_paused(facts.backend)}
    return _("%(text)s. But not before somebody resumes the backend %(backend)s, which is %(paused)s.") % words


def _sending(facts: Facts) -> str:
    if facts.attempt is None:  # it ended between the two statements
        return _("It is being sent.")
    words = {"sender": facts.attempt.sender, "time": readable_time(facts.attempt.started_at)}
    return _("It has been with the sender %(sender)s since %(time)s.") % words


def _scheduled(facts: Facts) -> str:
    return _at_its_time(_("It goes out at %(time)s."), facts)


def _retrying(facts: Facts) -> str:
    if not answer_of(facts.attempt):
        return _at_its_time(_("It is tried again at %(time)s."), facts)
    return _at_its_time(_("It is tried again at %(time)s, because of: %(answer)s"), facts)


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
    pattern = _("It may have arrived: nobody knows how the last attempt ended. It is sent once more at %(time)s.")
    return _at_its_time(pattern, facts)


def _cancelled(facts: Facts) -> str:
    return _("It was cancelled by %(person)s.") % {"person": facts.stopped_by or _("somebody")}


def _held(facts: Facts) -> str:
    words = {"person": facts.stopped_by, "reason": facts.note}
    if facts.stopped_by:
        return (_("It is held by %(person)s: %(reason)s") if facts.note else _("It is held by %(person)s.")) % words
    return (_("It is held: %(reason)s") if facts.note else _("It is held.")) % words


_SENTENCES: dict[State, Callable[[Facts], str]] = {
    State.WAITING: _waiting,
    State.SCHEDULED: _scheduled,
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
