"""The queue at a glance as lines for a terminal, in the active language."""

from collections.abc import Iterator, Sequence

from django.utils.translation import gettext as _

from mailqueue.ops.allowed import allowed_sentence
from mailqueue.ops.backend_sentences import health_sentence
from mailqueue.ops.columns import columns
from mailqueue.ops.conditions import State
from mailqueue.ops.facts import readable_time, zone_of
from mailqueue.ops.overview import Ages, Count, Overview
from mailqueue.ops.senders import Life, absence_from, life_of
from mailqueue.queue.counts import AGES

WITHIN_A_DAY = frozenset({State.PARTLY_SENT, State.FAILED, State.EXPIRED, State.CANCELLED})
MINUTE, HOUR, DAY = 60, 3600, 86400


def lines(found: Overview, *, domains: Sequence[Ages], most_domains: int) -> Iterator[str]:
    """Give the queue, the senders, the backends, and how old mails are that wait."""
    yield _("Queue at %(time)s") % {"time": f"{readable_time(found.now)} {zone_of(found.now)}"}
    if sentence := allowed_sentence():
        yield sentence
    yield from _indented(columns(list(_counts(found)), right=(1,)))
    yield ""
    yield _("Senders")
    yield from _indented(_senders(found))
    yield ""
    yield _("Backends")
    yield from _indented(_backends(found))
    for title, ages in ((_("Age of mail that waits or is retried, by lane"), found.lanes), (_("by domain"), domains)):
        if ages:
            yield ""
            yield title
            yield from _indented(_ages(ages[:most_domains]))
            if len(ages) > most_domains:
                yield "  " + _("and %(count)d more") % {"count": len(ages) - most_domains}


def nobody(found: Overview) -> str:
    """Say that no sender is alive; empty: one is."""
    is_any_alive = any(life_of(sender) == Life.ALIVE for sender in found.senders)
    return "" if is_any_alive else _("Nobody is sending. Start a sender: manage.py send_queued_mail")


def readable_count(count: Count) -> str:
    """Return a count; one that was not finished says so."""
    return f"{count.number:,}+" if count.is_at_least else f"{count.number:,}"


def readable_span(seconds: float) -> str:
    """Return a time span in its two largest units."""
    whole = max(int(seconds), 0)
    if whole < MINUTE:
        return _("%(seconds)d s") % {"seconds": whole}
    if whole < HOUR:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": whole // MINUTE, "seconds": whole % MINUTE}
    if whole < DAY:
        return _("%(hours)d h %(minutes)d min") % {"hours": whole // HOUR, "minutes": whole % HOUR // MINUTE}
    return _("%(days)d d %(hours)d h") % {"days": whole // DAY, "hours": whole % DAY // HOUR}


def _counts(found: Overview) -> Iterator[tuple[str, str, str]]:
    for state, count in found.counts.items():
        yield str(state.label), readable_count(count), _remark(found, state)


def _remark(found: Overview, state: State) -> str:
    if state in WITHIN_A_DAY:
        return _("in the last 24 hours")
    if state == State.WAITING and found.oldest_seconds is not None:
        return _("the oldest for %(span)s") % {"span": readable_span(found.oldest_seconds)}
    return ""


def _senders(found: Overview) -> list[str]:
    warning = [text] if (text := nobody(found)) else []
    rows = [
        (
            sender.name,
            str(life_of(sender).label),
            _("seen %(span)s ago") % {"span": readable_span((found.now - sender.seen_at).total_seconds())},
            _("%(count)d connections") % {"count": sender.connection_count},
            ", ".join(sender.backends) or _("all backends"),
            sender.version,
        )
        for sender in found.senders
    ]
    return [*columns(rows), *warning]


def _backends(found: Overview) -> list[str]:
    rows = [
        (
            backend.row.alias,
            str(backend.flow.label),
            _("%(count)s waiting") % {"count": readable_count(found.waiting.get(backend.row.alias, Count()))},
            health_sentence(backend, absence=absence_from(found.senders, backend.row.alias)),
        )
        for backend in found.backends
    ]
    return columns(rows)


def _ages(ages: Sequence[Ages]) -> list[str]:
    head = ("", _("total"), *age_heads())
    rows = [(entry.name, f"{entry.total:,}", *(f"{count:,}" for count in entry.counts)) for entry in ages]
    return columns([head, *rows], right=range(1, len(head)))


def age_heads() -> list[str]:
    """Name the classes of age."""
    return [*(f"<{_short(seconds)}" for seconds in AGES), f"{_short(AGES[-1])}+"]


def _short(seconds: int) -> str:
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= unit:
            return f"{seconds // unit}{letter}"
    return f"{seconds}s"


def _indented(rows: Sequence[str]) -> Iterator[str]:
    return (f"  {row}" for row in rows)
