"""How a backend is, and how much it may be given, in words of the active language."""

from collections.abc import Callable, Mapping

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from mailqueue.ops.backends import Backend, Flow, Limit, Source
from mailqueue.ops.facts import readable_time
from mailqueue.ops.senders import Absence
from mailqueue.ops.waiting_sentences import why_paused

FLOWING = frozenset({Flow.OPEN, Flow.SLOWED})


def health_sentence(backend: Backend, *, absence: Absence | None = None) -> str:
    """Say whether mail flows through a backend, and why where it does not.

    `absence` says that no sender is alive who serves it.
    """
    if absence is not None and backend.flow in FLOWING:
        return _unserved(absence)
    return _SENTENCES[backend.flow](backend)


def look_of(backend: Backend, *, absence: Absence | None) -> str:
    """Return under which name a backend gets its colour: its flow, unless nobody is there to let mail flow."""
    return "unserved" if absence is not None and backend.flow in FLOWING else str(backend.flow.value)


def readable_number(value: float | None) -> str:
    """Return a number as people write it: whole where it is whole, else with the digits that matter."""
    if value is None:
        return _("any number")
    shown = round(value, 1) if value >= 1 else float(f"{value:.2g}")
    return number_format(int(shown) if shown == int(shown) else shown, force_grouping=True)


def source_sentence(limit: Limit) -> str:
    """Say who allows so much."""
    words = {"number": readable_number(limit.allowed)}
    patterns = {
        Source.ADMIN: _("%(number)s, set here"),
        Source.SETTINGS: _("%(number)s, from RATE_LIMITS in the settings"),
        Source.NOBODY: _("%(number)s: nobody has set a limit"),
    }
    return patterns[limit.source] % words


def day_sentence(backend: Backend) -> str:
    """Say how many recipients the backend was given today; empty where nobody counts."""
    if backend.day_ends_at is None:
        return ""
    words = {
        "count": readable_number(backend.row.day_count),
        "since": readable_time(backend.row.day_began_at),
        "until": readable_time(backend.day_ends_at),
    }
    return _("%(count)s since %(since)s; counted anew from %(until)s") % words


def _unserved(absence: Absence) -> str:
    if absence.since is None:
        return _("Nothing stands in its way, but no sender is alive that serves it.")
    words = {"since": readable_time(absence.since)}
    return _("Nothing stands in its way, but no sender is alive that serves it, since %(since)s.") % words


def _open(_backend: Backend) -> str:
    return _("Mail flows.")


def _slowed(backend: Backend) -> str:
    words = {
        "rate": readable_number(backend.rate_now),
        "time": readable_time(backend.row.throttled_at),
        "connections": readable_number(backend.connections_now),
    }
    patterns = {
        (True, True): _(
            "Mail flows, for now at most %(rate)s recipients per second, for the server asked to slow down at "
            "%(time)s, and over at most %(connections)s connections."
        ),
        (True, False): _(
            "Mail flows, for now at most %(rate)s recipients per second, for the server asked to slow down at "
            "%(time)s."
        ),
        (False, True): _("Mail flows, for now over at most %(connections)s connections."),
    }
    return patterns[backend.is_rate_cut, backend.are_connections_cut] % words


def _resting(backend: Backend) -> str:
    words = {"until": readable_time(backend.row.resting_until)}
    return _("It rests until %(until)s: the server asked to slow down.") % words


def _spent(backend: Backend) -> str:
    words = {
        "count": readable_number(backend.row.day_count),
        "until": readable_time(backend.row.resting_until),
    }
    return _("It takes nothing more until %(until)s: %(count)s recipients of the day are used up.") % words


def _shut(backend: Backend) -> str:
    words = {
        "since": readable_time(backend.row.shut_at),
        "reason": backend.row.shut_reason,
        "probe": readable_time(backend.row.probe_at),
    }
    if backend.row.probe_at is None or backend.row.probe_at <= backend.now:
        return _("It is shut since %(since)s, because of: %(reason)s. The next mail probes it.") % words
    return _("It is shut since %(since)s, because of: %(reason)s. Next probe: %(probe)s.") % words


def _paused(backend: Backend) -> str:
    return _("It is %(paused)s. Nothing is started.") % {"paused": why_paused(backend)}


def _gone(_backend: Backend) -> str:
    return _("It is not configured any more: senders hold the mail that names it.")


_SENTENCES: Mapping[Flow, Callable[[Backend], str]] = {
    Flow.OPEN: _open,
    Flow.SLOWED: _slowed,
    Flow.RESTING: _resting,
    Flow.SPENT: _spent,
    Flow.SHUT: _shut,
    Flow.PAUSED: _paused,
    Flow.GONE: _gone,
}
