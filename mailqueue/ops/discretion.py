"""States and attempts for people who may not read what mail says: what an exception said may quote the mail."""

from collections.abc import Sequence
from dataclasses import replace

from mailqueue.delivery.outcomes import Stage
from mailqueue.models import Attempt
from mailqueue.ops.states import MailStatus
from mailqueue.ops.timeline import Entry

BEFORE_THE_MAIL = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.TLS, Stage.AUTH})
"""What went wrong at one of these has not looked at the mail."""


def discreet_status(status: MailStatus, attempts: Sequence[Entry]) -> MailStatus:
    """Leave out of the sentence what exceptions said in these attempts; their names stay, and so do servers' words."""
    detail = status.detail
    for entry in attempts:
        detail = _without_quotes(detail, entry.attempt)
    return replace(status, detail=detail)


def discreet_timeline(attempts: Sequence[Entry]) -> list[Entry]:
    """Leave out what exceptions said."""
    return [_discreet(entry) for entry in attempts]


def discreet_answer(attempt: Attempt) -> str:
    """Return what the server said in an attempt, or the name of the exception that kept it from saying anything."""
    return _without_quotes(attempt.reply, attempt) or attempt.error


def _discreet(entry: Entry) -> Entry:
    recipients = [
        replace(recipient, answer=_without_quotes(recipient.answer, entry.attempt)) for recipient in entry.recipients
    ]
    return replace(entry, answer=_without_quotes(entry.answer, entry.attempt), recipients=recipients)


def _without_quotes(text: str, attempt: Attempt) -> str:
    may_quote = attempt.error and not attempt.reply_code and attempt.stage not in BEFORE_THE_MAIL
    return text.replace(attempt.reply, attempt.error) if may_quote and attempt.reply else text
