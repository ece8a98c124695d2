"""Why a mail is in its state, in one sentence of the active language."""

from collections.abc import Callable, Iterator, Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from mailqueue.models import AttemptOutcome
from mailqueue.ops.conditions import UNDER_WAY, State
from mailqueue.ops.facts import Facts, answer_of, readable_time
from mailqueue.ops.timed_sentences import STOPS, at_its_time
from mailqueue.ops.waiting_sentences import why_waiting

NAMED_RECIPIENTS = 3


def sentence(facts: Facts) -> str:
    """Say why a mail is in its state, who of its recipients has it, and whether it may have arrived before."""
    text = _SENTENCES[facts.state](facts)
    more = [*_shares(facts), *_arrival(facts)]
    return " ".join([_ended(text), *more]) if more else text


def _arrival(facts: Facts) -> Iterator[str]:
    """Say of a mail that is not in such a state by itself that somebody has it already, or may have it."""
    if facts.arrival is None or facts.state in {State.SENT, State.PARTLY_SENT, State.UNKNOWN}:
        return
    if facts.arrival.outcome == AttemptOutcome.SENT:
        yield _("It was sent before, at %(time)s.") % {"time": readable_time(facts.arrival.finished_at)}
    else:
        words = {"began": readable_time(facts.arrival.started_at)}
        yield _("It may have arrived: how the attempt at %(began)s ended is unknown.") % words


def _ended(text: str) -> str:
    """Return a text with a full stop, which the words of a server may lack."""
    return text if text.endswith(STOPS) else _("%(text)s.") % {"text": text}


def _shares(facts: Facts) -> Iterator[str]:
    """Say who has the mail, who does not, and who was refused."""
    recipients = facts.recipients
    if recipients is None:
        return
    is_under_way = facts.state in UNDER_WAY
    texts = (
        (_("These have it: %(addresses)s."), recipients.having),
        (
            _("These wait for it: %(addresses)s.") if is_under_way else _("These do not have it: %(addresses)s."),
            recipients.waiting,
        ),
        (
            _("These were refused: %(addresses)s."),
            [f"{address} ({answer})" if answer else address for address, answer in recipients.refused.items()],
        ),
    )
    yield from (text % {"addresses": _named(addresses)} for text, addresses in texts if addresses)


def _named(addresses: Sequence[str]) -> str:
    names = ", ".join(addresses[:NAMED_RECIPIENTS])
    if (more := len(addresses) - NAMED_RECIPIENTS) <= 0:
        return names
    pattern = ngettext("%(names)s and %(count)d more", "%(names)s and %(count)d more", more)
    return pattern % {"names": names, "count": more}


def _sending(facts: Facts) -> str:
    attempt = facts.attempt
    if attempt is None:  # it ended between the two statements
        return _("It is being sent.")
    words = {"sender": attempt.sender, "time": readable_time(attempt.started_at)}
    if not getattr(attempt, "is_late", False):
        return _("It has been with the sender %(sender)s since %(time)s.") % words
    words["until"] = readable_time(attempt.lease_until)
    patterns = {
        False: _(
            "It was with the sender %(sender)s from %(time)s on, whose lease ended at %(until)s. The next sender that "
            "looks takes it up. It may have arrived."
        ),
        True: _(
            "It was with the sender %(sender)s from %(time)s on, whose lease ended at %(until)s, and no sender is "
            "alive to take it up. It may have arrived."
        ),
    }
    return patterns[facts.absence is not None] % words


def _scheduled(facts: Facts) -> str:
    return at_its_time(_("It goes out at %(time)s."), facts)


def _retrying(facts: Facts) -> str:
    # What others set to be sent again has no reason in its last attempt.
    is_told = facts.attempt is not None and facts.attempt.outcome in {AttemptOutcome.RETRY, AttemptOutcome.DEFERRED}
    if not is_told or not answer_of(facts.attempt):
        return at_its_time(_("It is tried again at %(time)s."), facts)
    return at_its_time(_("Retry %(number)d at %(time)s, because of: %(answer)s"), facts)


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
    return at_its_time(again, facts)


def _expired(facts: Facts) -> str:
    if facts.arrival is not None or facts.recipients is not None:
        return _("Its time is over: it is not sent any more.")
    return _("Its time was over before it could be sent.")


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
    State.EXPIRED: _expired,
    State.CANCELLED: _cancelled,
    State.UNKNOWN: _unknown,
    State.HELD: _held,
    State.INTERRUPTED: lambda _facts: _(
        "It was to be sent at once by post_office itself, which did not record an end. It is not sent from here."
    ),
}
