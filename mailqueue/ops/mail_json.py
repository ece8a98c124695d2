"""One mail and what became of it as plain data, for programs. Its keys stay as they are, whatever the language."""

from datetime import datetime
from typing import Any

from post_office.models import Email

from mailqueue.delivery.backends import canonical
from mailqueue.ops.contents import is_hidden
from mailqueue.ops.states import MailStatus
from mailqueue.ops.timeline import Entry


def mail_as_json(mail: Email, status: MailStatus, attempts: list[Entry]) -> dict[str, Any]:
    """Return what `json.dumps` takes of a loaded mail; times are ISO 8601 with their offset."""
    options = getattr(mail, "mailqueue_options", None)
    return {
        "id": mail.pk,
        "state": status.state.value,
        "detail": status.detail,
        "until": _time(status.until),
        "attempt_count": status.attempt_count,
        "from": mail.from_email,
        "to": list(mail.to),
        "cc": list(mail.cc),
        "bcc": list(mail.bcc),
        "subject": None if is_hidden(mail) else mail.subject,
        "backend": canonical(mail.backend_alias),
        "priority": mail.priority,
        "created": _time(mail.created),
        "scheduled_time": _time(mail.scheduled_time),
        "expires_at": _time(mail.expires_at),
        "message_id": None if is_hidden(mail) else mail.message_id,
        "ref": options.ref if options else "",
        "content_dropped_at": _time(options.wiped_at) if options else None,
        "attempts": [_attempt(entry) for entry in attempts],
    }


def _attempt(entry: Entry) -> dict[str, Any]:
    attempt = entry.attempt
    return {
        "number": attempt.number,
        "sender": attempt.sender,
        "claimed_at": _time(attempt.claimed_at),
        "started_at": _time(attempt.started_at),
        "finished_at": _time(attempt.finished_at),
        "outcome": attempt.outcome,
        "stage": attempt.stage,
        "reply_code": attempt.reply_code,
        "enhanced_code": attempt.enhanced_code,
        "reply": attempt.reply,
        "error": attempt.error,
        "queue_id": attempt.queue_id,
        "recipients": attempt.recipients,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
