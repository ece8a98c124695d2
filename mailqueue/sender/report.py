"""Tells in the log what a turn did, once it is committed: one line a mail."""

import logging
import time

from mailqueue.delivery.outcomes import Stage
from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.queue.settle import Settlement
from mailqueue.sender.held import WhyHeld, tell_held
from mailqueue.sender.jobs import Job
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
        _report_end(job, settlement)
    for job in effects.lost:
        instrument("attempt.lost", level=logging.WARNING, email=job.claim.email_id, attempt=job.claim.number)
    for backend, reason in effects.shut.items():
        instrument("backend.shut", level=logging.ERROR, backend=backend, reason=without_addresses(reason))
    for backend in effects.opened:
        instrument("backend.opened", backend=backend)
    for event in effects.events:
        instrument(event.name, level=event.level, **event.fields)


def _report_end(job: Job, settlement: Settlement) -> None:
    said = {"stage": settlement.stage, "code": settlement.reply_code, "error": settlement.error}
    fields = {
        "seconds": round(time.monotonic() - job.started_at, 3),
        **{key: value for key, value in said.items() if value},
    }
    if settlement.stop == StopReason.HELD:
        # A server refuses a From; what is held before a server is asked, is so for its recipients.
        was_asked = settlement.stage != Stage.BUILD
        tell_held(job.claim, WhyHeld.REFUSED_FROM if was_asked else WhyHeld.ALLOWED_RECIPIENTS, **fields)
        return
    name = "attempt.unknown" if settlement.outcome == AttemptOutcome.UNKNOWN else f"mail.{settlement.outcome}"
    instrument(
        name,
        level=LEVELS.get(settlement.outcome, logging.INFO),
        email=job.claim.email_id,
        attempt=job.claim.number,
        backend=job.claim.backend,
        **fields,
    )
    if settlement.stop == StopReason.UNKNOWN:
        tell_held(job.claim, WhyHeld.UNKNOWN)
