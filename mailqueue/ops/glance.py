"""What the page of the queue says, in words of the active language; where it leads to is the page's to know."""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from mailqueue.models import SenderProcess
from mailqueue.ops.backend_sentences import health_sentence, look_of, readable_number
from mailqueue.ops.backends import Backend, Flow
from mailqueue.ops.conditions import State
from mailqueue.ops.facts import readable_time
from mailqueue.ops.overview import Count, Overview
from mailqueue.ops.overview_text import readable_count, readable_span
from mailqueue.ops.senders import Life, absence_from, life_of

DOMAINS = 15
"""So many domains are listed."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the page, and the mails that it counts."""

    state: str
    query: str
    """What narrows the list of mails to these."""
    label: str
    number: str
    is_none: bool


@dataclass(frozen=True, slots=True)
class BackendLine:
    """One backend."""

    backend: Backend
    look: str
    """What names its colour."""
    health: str
    waiting: str
    rate: str
    connections: str
    trouble: str
    """Why its mail does not leave although nothing is wrong with it; mostly empty."""

    @property
    def is_paused(self) -> bool:
        return self.backend.row.paused_at is not None

    @property
    def has_row(self) -> bool:
        """It has a page: a backend has a row from the start of the first sender on."""
        return not self.backend.row._state.adding

    @property
    def is_pausable(self) -> bool:
        return self.has_row and self.backend.flow not in {Flow.PAUSED, Flow.GONE}


@dataclass(frozen=True, slots=True)
class SenderLine:
    """One sender."""

    sender: SenderProcess
    life: Life
    seen: str
    backends: str


def tiles(found: Overview) -> list[Tile]:
    """Return the numbers that one looks at first."""
    labels = {
        State.WAITING: _("waiting"),
        State.SENDING: _("sending"),
        State.RETRYING: _("retrying"),
        State.SCHEDULED: _("scheduled"),
        State.FAILED: _("failed in the last 24 hours"),
        State.PARTLY_SENT: _("partly sent in the last 24 hours"),
        State.UNKNOWN: _("outcome unknown"),
        State.HELD: _("held"),
    }
    return [_tile(state, label, found.counts[state]) for state, label in labels.items()]


def oldest(found: Overview) -> str:
    """Say how long the mail has been due that waits longest; empty: none waits."""
    return "" if found.oldest_seconds is None else readable_span(found.oldest_seconds)


def alarm(found: Overview) -> str:
    """Say that mail is due and nobody sends it; empty: that is not so."""
    if found.oldest_seconds is None or _alive(found):
        return ""
    words = {"span": readable_span(found.oldest_seconds)}
    if not found.senders:
        return (
            _("Mail has been due for %(span)s, and no sender is alive. Start one: manage.py send_queued_mail") % words
        )
    words |= {"since": readable_time(max(sender.seen_at for sender in found.senders))}
    pattern = _(
        "Mail has been due for %(span)s, and no sender is alive since %(since)s. Start one: manage.py send_queued_mail"
    )
    return pattern % words


def backend_lines(found: Overview) -> list[BackendLine]:
    return [_backend_line(found, backend) for backend in found.backends]


def sender_lines(found: Overview) -> list[SenderLine]:
    """Return the senders: those first that are alive, then those that are gone."""
    lives = list(Life)
    return [
        SenderLine(
            sender,
            life=life_of(sender),
            seen=_("%(span)s ago") % {"span": readable_span((found.now - sender.seen_at).total_seconds())},
            backends=", ".join(sender.backends) or _("all backends"),
        )
        for sender in sorted(found.senders, key=lambda sender: lives.index(life_of(sender)))
    ]


def _backend_line(found: Overview, backend: Backend) -> BackendLine:
    absence = absence_from(found.senders, backend.row.alias)
    return BackendLine(
        backend,
        look=look_of(backend, absence=absence),
        health=health_sentence(backend, absence=absence),
        waiting=readable_count(_waiting(found, backend)),
        rate=readable_number(backend.rate_now),
        connections=readable_number(backend.connections_now),
        trouble=_trouble(found, backend),
    )


def _tile(state: State, label: str, count: Count) -> Tile:
    query = f"state={state.value}"
    if state in {State.FAILED, State.PARTLY_SENT}:
        query += "&changed=day"
    return Tile(state.value, query, label, readable_count(count), is_none=not count.number)


def _waiting(found: Overview, backend: Backend) -> Count:
    return found.waiting.get(backend.row.alias, Count())


def _trouble(found: Overview, backend: Backend) -> str:
    if not _alive(found) or not _waiting(found, backend).number:
        return ""
    if absence_from(found.senders, backend.row.alias) is None:
        return ""
    return _("Mail waits for it, and none of the senders that are alive sends it.")


def _alive(found: Overview) -> list[SenderProcess]:
    return [sender for sender in found.senders if life_of(sender) == Life.ALIVE]
