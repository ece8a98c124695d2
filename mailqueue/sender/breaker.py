"""What the outcomes of a turn say about a backend, written to the breaker that all senders share."""

import logging
from collections.abc import Sequence
from typing import Any

from mailqueue.delivery.outcomes import Outcome, Stage, Trouble
from mailqueue.queue.health import Health, probe_again, record_success, record_trouble
from mailqueue.sender.log import instrument, without_addresses
from mailqueue.sender.plan import Effects

SESSION_BEGAN = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.FINAL_DOT, Stage.DONE})
WELL = Health()


def judge_backend(
    cursor: Any,
    backend: str,
    outcomes: Sequence[Outcome],
    *,
    health: Health,
    delays: Sequence[float],
    effects: Effects,
) -> None:
    """Record what went wrong with a backend, or that it answered, and note in `effects` what that changed."""
    fatal = [outcome for outcome in outcomes if outcome.trouble == Trouble.SHUT]
    is_answering = any(o.trouble == Trouble.NONE and o.stage in SESSION_BEGAN for o in outcomes)
    if is_answering and not fatal:
        if health != WELL and record_success(cursor, backend):
            effects.opened.add(backend)
        effects.health[backend] = WELL
        return
    failures = [outcome for outcome in outcomes if outcome.trouble == Trouble.CONNECT]
    if fatal or failures:
        effects.health[backend] = Health(failure_count=health.failure_count + 1, is_shut=health.is_shut)
        _record(cursor, backend, fatal=fatal, failures=failures, delays=delays, effects=effects)
    elif health.is_shut:
        # The probe never reached the server: the mail could not be built, or had nobody to go to.
        probe_again(cursor, backend)


def _record(
    cursor: Any,
    backend: str,
    *,
    fatal: Sequence[Outcome],
    failures: Sequence[Outcome],
    delays: Sequence[float],
    effects: Effects,
) -> None:
    worst = (fatal or failures)[-1]
    reason = f"{worst.stage}: {str(worst.reply) or worst.error}"
    was_shut = record_trouble(
        cursor, backend, count=len(failures) or 1, at_once=bool(fatal), reason=reason, delays=delays
    )
    if was_shut:
        effects.shut[backend] = reason
        instrument("backend.shut", level=logging.ERROR, backend=backend, reason=without_addresses(reason))
