"""How long a mail waits, and when there was enough waiting. Decides; touches nothing."""

from collections.abc import Mapping
from dataclasses import replace

from mailqueue.conf import Configuration
from mailqueue.delivery.backoff import hinted_delay, retry_delay
from mailqueue.delivery.outcomes import Outcome, Pace, RecipientOutcome, Trouble, Verdict
from mailqueue.queue.history import LATE_STAGES, SESSION_STAGES, History
from mailqueue.queue.rate import LONGEST_HINT_SECONDS

LEASE_LOST = "LeaseLost"
DEFERRAL_SECONDS = 10
LONGEST_DEFERRAL_SECONDS = 600
THROTTLED_SECONDS = 5
"""A mail that met the rate limit steps aside so shortly for the first time: the rate makes it wait."""
MOST_TURNED_AWAY = 3
"""So often a server may turn a mail away, while others pass, before it is the mail's own fault."""
MAILBOX_DELAYS = (4 * 3600.0,)
MAILBOX_PATIENCE_SECONDS = 24 * 3600
MOST_UNFORESEEN = 3
"""How often a mail is tried that fails in a way nobody foresaw."""


def deferral(outcome: Outcome, *, history: History) -> float | None:
    """Return how long the mail steps aside; None where the breaker, or nothing at all, makes it wait."""
    if outcome.error == LEASE_LOST or (outcome.stage not in SESSION_STAGES and outcome.trouble != Trouble.NONE):
        return None
    if outcome.reply.retry_after is not None:
        return hinted_delay(min(outcome.reply.retry_after, LONGEST_HINT_SECONDS))
    first = THROTTLED_SECONDS if outcome.trouble == Trouble.THROTTLED else DEFERRAL_SECONDS
    return float(min(first * 2**history.deferred, LONGEST_DEFERRAL_SECONDS))


def is_own_fault(outcome: Outcome, *, history: History) -> bool:
    """Whether a mail is turned away so often that it is about this mail, where others pass meanwhile."""
    is_late = outcome.trouble in (Trouble.BUSY, Trouble.THROTTLED) and outcome.stage in LATE_STAGES
    return is_late and history.turned_away + 1 >= MOST_TURNED_AWAY


def in_turn(results: Mapping[str, RecipientOutcome]) -> Mapping[str, RecipientOutcome]:
    """Let nobody come at once where nobody was accepted just now: it would go on like this for ever."""
    if any(result.verdict == Verdict.SENT for result in results.values()):
        return results
    return {
        address: replace(result, pace=Pace.SCHEDULE) if result.pace == Pace.AT_ONCE else result
        for address, result in results.items()
    }


def patiently(result: RecipientOutcome, *, history: History, configuration: Configuration) -> RecipientOutcome:
    """Let a recipient fail for whom there was enough waiting. Whoever was not yet offered has not waited."""
    if result.verdict != Verdict.RETRY or result.pace == Pace.AT_ONCE:
        return result
    patience = configuration.GIVE_UP_AFTER
    if result.pace == Pace.MAILBOX:
        patience = min(patience, MAILBOX_PATIENCE_SECONDS)
    is_hopeless = result.pace == Pace.THREE_TIMES and history.raised + 1 >= MOST_UNFORESEEN
    if is_hopeless or history.first_counted_ago >= patience:
        return replace(result, verdict=Verdict.FAIL)
    return result


def delay_of(result: RecipientOutcome, outcome: Outcome, *, history: History, configuration: Configuration) -> float:
    """Return how long one recipient has to wait. What the server itself said goes before the schedule."""
    hint = result.reply.retry_after
    if result.pace == Pace.AT_ONCE:
        is_throttled = outcome.trouble == Trouble.THROTTLED
        return min(hint or THROTTLED_SECONDS, LONGEST_HINT_SECONDS) if is_throttled else 0.0
    if result.pace == Pace.MAILBOX:
        return retry_delay(counted_attempts=1, delays=MAILBOX_DELAYS)
    if hint is not None:
        return hinted_delay(hint)
    return retry_delay(counted_attempts=history.counted + 1, delays=configuration.RETRY_DELAYS)
