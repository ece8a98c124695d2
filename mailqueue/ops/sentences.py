"""Why a mail is in its state, in one sentence of the active language."""

from collections.abc import Callable, Iterator, Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from mailqueue.models import AttemptOutcome
from mailqueue.ops.backends import Flow
from mailqueue.ops.conditions import State
from mailqueue.ops.facts import Facts, answer_of, readable_time
from mailqueue.ops.recipients import Recipients
from mailqueue.ops.waiting_sentences import why_paused, why_waiting

NAMED_RECIPIENTS = 3
STOPS = (".", "。")
"""What a sentence ends with, in the languages there are."""
UNDER_WAY = frozenset({State.WAITING, State.SCHEDULED, State.SENDING, State.RETRYING})


def sentence(state: State, facts: Facts) -> str:
    text = _SENTENCES[state](facts)
    if facts.recipients is None:
        return text
    return " ".join([_ended(text), *_shares(facts.recipients, is_under_way=state in UNDER_WAY)])


def _ended(text: str) -> str:
    """Return a text with a full stop, which the words of a server may lack."""
    return text if text.endswith(STOPS) else _("%(text)s.") % {"text": text}


def _shares(recipients: Recipients, *, is_under_way: bool) -> Iterator[str]:
    """Say who has the mail, who does not, and who was refused."""
    yield _("These have it: %(addresses)s.") % {"addresses": _named(recipients.having)}
    if recipients.waiting:
        text = _("These wait for it: %(addresses)s.") if is_under_way else _("These do not have it: %(addresses)s.")
        yield text % {"addresses": _named(recipients.waiting)}
    if recipients.refused:
        refused = [f"{address} ({answer})" if answer else address for address, answer in recipients.refused.items()]
        yield _("These were refused: %(addresses)s.") % {"addresses": _named(refused)}


def _named(addresses: Sequence[str]) -> str:
    names = ", ".join(addresses[:NAMED_RECIPIENTS])
    if (more := len(addresses) - NAMED_RECIPIENTS) <= 0:
        return names
    pattern = ngettext("%(names)s and %(count)d more", "%(names)s and %(count)d more", more)
    return pattern % {"names": names, "count": more}


def _at_its_time(pattern: str, facts: Facts) -> str:
    """Say when something happens, and what will keep it from happening then."""
    words = {
        "time": readable_time(facts.until),
        "answer": answer_of(facts.attempt),
        "number": facts.attempt_count,
        "began": readable_time(facts.attempt.started_at) if facts.attempt else "",
    }
    text = pattern % words
    if facts.until is None:
        return text
    words = {"text": text.rstrip("".join(STOPS))}
    if facts.backend is not None and facts.backend.flow == Flow.PAUSED:
        words |= {"backend": facts.backend.row.alias, "paused": why_paused(facts.backend)}
        return _("%(text)s. But not before somebody resumes the backend %(backend)s, which is %(paused)s.") % words
    if facts.absence is not None and facts.absence.since is not None:
        words |= {"since": readable_time(facts.absence.since)}
        return _("%(text)s. But no sender is alive since %(since)s.") % words
    if facts.absence is not None:
        return _("%(text)s. But no sender is alive.") % words
    return text


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
    return _at_its_time(_("Retry %(number)d at %(time)s, because of: %(answer)s"), facts)


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
    if facts.attempt is None:
        return _("It may have arrived: how an attempt ended is unknown. A person has to decide.")
    began = {"began": readable_time(facts.attempt.started_at)}
    if facts.until is None:
        pattern = _("It may have arrived: how the attempt at %(began)s ended is unknown. A person has to decide.")
        return pattern % began
    again = _("It may have arrived: how the attempt at %(began)s ended is unknown. It is sent once more at %(time)s.")
    return _at_its_time(again, facts)


def _cancelled(facts: Facts) -> str:
    return _("It was cancelled by %(person)s.") % {"person": facts.stopped_by or _("somebody")}


def _held(facts: Facts) -> str:
    words = {"person": facts.stopped_by, "reason": facts.note}
    if facts.stopped_by:
        return (_("It is held by %(person)s: %(reason)s") if facts.note else _("It is held by %(person)s.")) % words
    return (_("It is held: %(reason)s") if facts.note else _("It is held.")) % words


_SENTENCES: dict[State, Callable[[Facts], str]] = {
    State.WAITING: why_waiting,
    State.SCHEDULED: _scheduled,
    State.SENDING: _sending,
    State.RETRYING: _retrying,
    State.SENT: _sent,
    State.PARTLY_SENT: lambda _facts: _("Some recipients have it, others were refused for good."),
    State.FAILED: _failed,
    State.EXPIRED: lambda _facts: _("Its time was over before it could be sent."),
    State.CANCELLED: _cancelled,
    State.UNKNOWN: _unknown,
    State.HELD: _held,
    State.INTERRUPTED: lambda _facts: _(
        "It was to be sent at once by post_office itself, which did not record an end. It is not sent from here."
    ),
}
