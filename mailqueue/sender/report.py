"""Tells in the log what a turn did, once it is committed: one line a mail."""

import logging
import time

from mailqueue.models import AttemptOutcome
from mailqueue.sender.log import gathering, instrument, without_addresses
from mailqueue.sender.plan import Effects

LEVELS = {
    AttemptOutcome.FAILED: logging.WARNING,
    AttemptOutcome.UNKNOWN: logging.WARNING,
}


def report(effects: Effects) -> None:
    """Log what a committed turn did: one line a mail."""
    with gathering():
        _report(effects)


def _report(effects: Effects) -> None:
    for job, settlement in effects.settlements:
        name = "attempt.unknown" if settlement.outcome == AttemptOutcome.UNKNOWN else f"mail.{settlement.outcome}"
        fields = {"stage": settlement.stage, "code": settlement.reply_code, "error": settlement.error}
        instrument(
            name,
            level=LEVELS.get(settlement.outcome, logging.INFO),
            email=job.claim.email_id,
            attempt=job.claim.number,
            backend=job.claim.backend,
            seconds=round(time.monotonic() - job.started_at, 3),
            **{key: value for key, value in fields.items() if value},
        )
    for job in effects.lost:
        instrument("attempt.lost", level=logging.WARNING, email=job.claim.email_id, attempt=job.claim.number)
    for backend, reason in effects.shut.items():
        instrument("backend.shut", level=logging.ERROR, backend=backend, reason=without_addresses(reason))
    for backend in effects.opened:
        instrument("backend.opened", backend=backend)
    for event in effects.events:
        instrument(event.name, level=event.level, **event.fields)
