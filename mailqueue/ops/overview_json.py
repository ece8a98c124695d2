"""The queue at a glance as plain data, for programs. Its keys stay as they are, whatever the language."""

from collections.abc import Sequence
from typing import Any

from mailqueue.conf import configuration
from mailqueue.ops.backend_sentences import health_sentence
from mailqueue.ops.backends import Backend
from mailqueue.ops.figures import Figure
from mailqueue.ops.overview import Ages, Count, Overview
from mailqueue.ops.senders import absence_from
from mailqueue.queue.counts import AGES


def as_json(found: Overview, *, domains: Sequence[Ages], last_hour: Figure) -> dict[str, Any]:
    """Return what `json.dumps` takes; times are ISO 8601 with their offset, spans seconds."""
    allowed = configuration().ALLOWED_RECIPIENTS
    return {
        "now": found.now.isoformat(),
        "allowed_recipients": None if allowed is None else list(allowed),
        "mails": {state.value: _count(count) for state, count in found.counts.items()},
        "oldest_due_at": found.oldest_due_at and found.oldest_due_at.isoformat(),
        "oldest_seconds": _seconds(found.oldest_seconds),
        "last_hour": _figure(last_hour),
        "next_due_at": found.next_due_at and found.next_due_at.isoformat(),
        "senders": [_sender(sender) for sender in found.senders],
        "backends": [_backend(backend, found) for backend in found.backends],
        "age_classes_seconds": list(AGES),
        "lanes": [{"lane": ages.name, "counts": ages.counts} for ages in found.lanes],
        "domains": [{"domain": ages.name, "counts": ages.counts} for ages in domains],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "accepted": figure.sums.accepted,
        "put_off": figure.sums.put_off,
        "failed": figure.sums.failed,
        "unknown": figure.sums.unknown,
        "half_within_seconds": _seconds(figure.half),
        "95_percent_within_seconds": _seconds(figure.most),
    }


def _seconds(span: float | None) -> float | None:
    return None if span is None else round(span, 3)


def _count(count: Count) -> dict[str, Any]:
    return {"count": count.number, "is_at_least": count.is_at_least}


def _sender(sender: Any) -> dict[str, Any]:
    return {
        "name": sender.name,
        "host": sender.host,
        "version": sender.version,
        "backends": sender.backends,
        "connections": sender.connection_count,
        "started_at": sender.started_at.isoformat(),
        "seen_at": sender.seen_at.isoformat(),
        "ended_at": sender.ended_at and sender.ended_at.isoformat(),
        "is_alive": sender.is_alive,
    }


def _backend(backend: Backend, found: Overview) -> dict[str, Any]:
    row = backend.row
    return {
        "alias": row.alias,
        "flow": backend.flow.value,
        "detail": health_sentence(backend, absence=absence_from(found.senders, row.alias)),
        "waiting": _count(found.waiting.get(row.alias, Count())),
        "recipients_per_second": backend.rate_now,
        "connections": backend.connections_now,
        "paused_by": row.paused_by,
        "paused_at": row.paused_at and row.paused_at.isoformat(),
        "pause_note": row.pause_note,
        "shut_at": row.shut_at and row.shut_at.isoformat(),
        "shut_reason": row.shut_reason,
    }
