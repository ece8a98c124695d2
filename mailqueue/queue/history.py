"""What earlier attempts say about a mail: how often it was tried in this round, and who has it already."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailqueue.delivery.outcomes import Stage, Verdict
from mailqueue.models import FINAL_OUTCOMES, AttemptOutcome
from mailqueue.outbox.mailboxes import spelling_of

HISTORY = """
SELECT a.email_id, a.outcome, a.is_counted, a.stage, a.reply_code, a.error, a.recipients,
    extract(epoch FROM now() - a.claimed_at)::float8, coalesce(a.finished_at <= s.stopped_at, false)
FROM mailqueue_attempt a LEFT JOIN mailqueue_mailstate s ON s.email_id = a.email_id
WHERE a.email_id = ANY(%s) AND a.outcome IS NOT NULL ORDER BY a.email_id, a.id
"""

SESSION_STAGES = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.FINAL_DOT})
LATE_STAGES = SESSION_STAGES - {Stage.MAIL}
"""Where a refusal may be about this mail, though it sounds like the server's own trouble."""
_VERDICTS = tuple(Verdict)


@dataclass(slots=True)
class History:
    """One mail's past. A round begins when the mail is queued and ends when it is sent or stopped."""

    counted: int = 0
    """Attempts of this round that the message or a recipient is to blame for."""
    first_counted_ago: float = 0.0
    """Seconds since the first of them, by the database's clock."""
    deferred: int = 0
    """Attempts of this round that the backend broke off in the middle of the session."""
    turned_away: int = 0
    """Those of them in which the server said so, after it had been told the sender."""
    raised: int = 0
    """Counted attempts of this round that ended with an exception, and without a word of a server."""
    unknown: int = 0
    """Attempts of this round of which nobody knows how they ended."""
    accepted: set[str] = field(default_factory=set)
    """Recipients who have the mail, since it was last sent in full."""
    refused: set[str] = field(default_factory=set)
    """Recipients who were refused for good in this round."""
    is_damaged: bool = False
    """What an attempt says of the recipients can't be read: who has the mail is not known."""

    def add(
        self,
        *,
        outcome: str,
        is_counted: bool,
        stage: str = "",
        reply_code: int | None = None,
        error: str = "",
        recipients: Any = None,
        ago: float = 0.0,
        was_stopped: bool = False,
    ) -> None:
        """Take in the next closed attempt, in order; `was_stopped` says that the mail was stopped at or after it."""
        self._take_in({} if recipients is None else recipients)
        if is_counted:
            self.first_counted_ago = self.first_counted_ago if self.counted else ago
            self.counted += 1
            self.raised += bool(error) and reply_code is None
        if outcome == AttemptOutcome.DEFERRED and stage in SESSION_STAGES:
            self.deferred += 1
            self.turned_away += stage in LATE_STAGES and reply_code is not None
        self.unknown += outcome == AttemptOutcome.UNKNOWN
        if was_stopped or outcome in FINAL_OUTCOMES:
            self._begin_round(keep_accepted=outcome != AttemptOutcome.SENT)

    def _take_in(self, recipients: Any) -> None:
        """Take in what was said of each recipient, as the database has it: people change tables by hand."""
        if not isinstance(recipients, dict):
            self.is_damaged = True
            return
        for address, result in recipients.items():
            verdict = result.get("verdict") if isinstance(result, dict) else None
            if verdict == Verdict.SENT:
                self.accepted.add(address)
            elif verdict == Verdict.FAIL:
                self.refused.add(address)
            elif verdict not in _VERDICTS:
                self.is_damaged = True

    def _begin_round(self, *, keep_accepted: bool) -> None:
        self.counted = self.deferred = self.turned_away = self.raised = self.unknown = 0
        self.first_counted_ago = 0.0
        self.refused = set()
        if not keep_accepted:
            self.accepted = set()

    def pending(self, recipients: Sequence[str]) -> list[str]:
        """Return those recipients to whom the mail is still to be sent."""
        return _without(recipients, self.accepted | self.refused)

    def missing(self, recipients: Sequence[str]) -> list[str]:
        """Return those recipients who have not got the mail, also those who were refused."""
        return _without(recipients, self.accepted)


def _without(recipients: Sequence[str], named: Collection[str]) -> list[str]:
    """Leave out whoever is named, in whatever spelling: people change rows, and attempts keep what they sent to.

    Nobody's address is parsed but where there is somebody to be left out.
    """
    others = [entry for entry in recipients if entry not in named]
    if not (named and others):
        return others
    spellings = {spelling_of(entry) for entry in named}
    return [entry for entry in others if spelling_of(entry) not in spellings]


def read_histories(cursor: Any, email_ids: Iterable[int]) -> dict[int, History]:
    """Return the history of every mail that has one."""
    histories: dict[int, History] = {}
    ids = list(email_ids)
    if not ids:
        return histories
    cursor.execute(HISTORY, [ids])
    for email_id, outcome, is_counted, stage, reply_code, error, recipients, ago, was_stopped in cursor.fetchall():
        history = histories.setdefault(email_id, History())
        history.add(
            outcome=outcome,
            is_counted=is_counted,
            stage=stage,
            reply_code=reply_code,
            error=error,
            recipients=parsed(recipients),
            ago=ago,
            was_stopped=was_stopped,
        )
    return histories


def parsed(recipients: str | None) -> Any:
    """Return what an attempt says of its recipients, or its text where that can't be read."""
    # Django's connections leave JSON to its JSONField.
    try:
        return json.loads(recipients) if recipients else None
    except RecursionError:
        return recipients
