"""Why a mail that is due has not been sent, in one sentence of the active language."""

from datetime import datetime

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from mailqueue.ops.backends import Backend, Flow
from mailqueue.ops.facts import Facts, readable_time
from mailqueue.ops.senders import Absence
from mailqueue.queue.positions import MOST, Place


def why_waiting(facts: Facts) -> str:
    """Return why a mail that is due is not being sent."""
    if facts.is_over:
        return _("Its time is over: the next sender that looks notes it as expired, and nobody sends it.")
    if facts.is_emptied:
        return _("It is due, but what it said is no longer kept: it will fail.")
    backend, absence = facts.backend, facts.absence
    if absence is not None and (backend is None or backend.flow not in {Flow.GONE, Flow.PAUSED}):
        return _without_sender(absence)
    if backend is not None:
        return _behind(backend)
    if facts.refusal:
        words = {"reply": facts.refusal}
        return _("It is due, but the mail server refuses its sender address, and it will be held: %(reply)s") % words
    return _in_turn(facts.place)


def _without_sender(absence: Absence) -> str:
    if absence.since is None:
        return _("It is due, but no sender is alive. To start one: python manage.py send_queued_mail")
    return _("It is due, but no sender is alive since %(since)s.") % {"since": readable_time(absence.since)}


def _behind(backend: Backend) -> str:
    """Say why no mail flows through a backend."""
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
    if backend.flow == Flow.RESTING and not backend.is_asked_to_rest:
        return _rate_used_up(backend, until=backend.row.resting_until)
    if backend.flow in patterns:
        return patterns[backend.flow] % words
    return _rate_used_up(backend, until=backend.metered_until)


def _rate_used_up(backend: Backend, *, until: datetime | None) -> str:
    words = {"backend": backend.row.alias, "until": readable_time(until)}
    return _("It waits for the backend %(backend)s, whose rate is used up until %(until)s.") % words


def _in_turn(place: Place | None) -> str:
    """Say what is sent before a mail that nothing keeps waiting."""
    if place is None or not (place.higher or place.before):
        return _("It is due: the next free sender takes it.")
    words = {"higher": _counted(place.higher), "before": _counted(place.before)}
    if not place.before:
        pattern = ngettext(
            "It is due, behind %(higher)s mail of higher priority.",
            "It is due, behind %(higher)s mails of higher priority.",
            place.higher,
        )
    elif not place.higher:
        pattern = ngettext(
            "It is due, behind %(before)s mail that was there before.",
            "It is due, behind %(before)s mails that were there before.",
            place.before,
        )
    else:
        pattern = _("It is due; of higher priority: %(higher)s mails, and there before it: %(before)s.")
    return pattern % words


def _counted(count: int) -> str:
    if count > MOST:
        return _("more than %(count)s") % {"count": number_format(MOST, force_grouping=True)}
    return number_format(count, force_grouping=True)


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
