"""From what delivery saw, and what happened before, to what becomes of the mail. Decides; touches nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mailqueue.conf import Configuration
from mailqueue.delivery.backoff import retry_delay
from mailqueue.delivery.outcomes import Outcome, RecipientOutcome, Reply, Stage, Trouble, Verdict
from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.queue.claim import Claim
from mailqueue.queue.history import SESSION_STAGES, History
from mailqueue.queue.settle import Settlement
from mailqueue.queue.unknown import NOTE as UNKNOWN_NOTE
from mailqueue.queue.unknown import may_resend

LEASE_LOST = "LeaseLost"
DEFERRAL_SECONDS = 10
LONGEST_DEFERRAL_SECONDS = 600


def conclude(
    claim: Claim,
    outcome: Outcome,
    *,
    recipients: Sequence[str],
    history: History,
    configuration: Configuration,
    unknown_outcome: str = "",
) -> Settlement:
    """Return how to settle an attempt that had these recipients.

    `unknown_outcome` is what the mail's caller asked for, instead of what the setting says.
    """
    if outcome.verdict == Verdict.UNKNOWN:
        results = results_of(outcome, recipients=recipients) if outcome.recipients else None
        is_resent = may_resend(history, earlier=0, wish=unknown_outcome, configuration=configuration)
        retry_after = configuration.UNKNOWN_RESEND_AFTER if is_resent else None
        return _unknown(claim, outcome, results=results, retry_after=retry_after)
    if outcome.verdict == Verdict.DEFER:
        return _settlement(claim, outcome, AttemptOutcome.DEFERRED, retry_after=_deferral(outcome, history=history))
    results = results_of(outcome, recipients=recipients)
    waiting = [address for address, result in results.items() if result.verdict == Verdict.RETRY]
    if waiting and history.first_counted_ago < configuration.GIVE_UP_AFTER:
        delay = retry_delay(counted_attempts=history.counted + 1, delays=configuration.RETRY_DELAYS)
        return _settlement(claim, outcome, AttemptOutcome.RETRY, results=results, is_counted=True, retry_after=delay)
    return _final(claim, outcome, results=results, history=history)


def discreet(outcome: Outcome) -> Outcome:
    """Leave out what was said on this side of the wire: an exception may quote the mail. An SMTP server's words stay.

    Codes and the names of exceptions stay too.
    """
    results = {
        address: replace(result, reply=_without_quotes(result.reply, outcome.error))
        for address, result in outcome.recipients.items()
    }
    return replace(outcome, reply=_without_quotes(outcome.reply, outcome.error), recipients=results)


def _without_quotes(reply: Reply, error: str) -> Reply:
    if not error or (reply.code and not reply.is_exception):
        return reply
    return Reply(reply.code, f"{error} (its text is left out, for the mail is sensitive)")


def results_of(outcome: Outcome, *, recipients: Sequence[str]) -> dict[str, RecipientOutcome]:
    """Return what the server said about every recipient of the attempt."""
    alike = RecipientOutcome(outcome.verdict, outcome.reply)
    return {address: outcome.recipients.get(address, alike) for address in recipients}


def _unknown(
    claim: Claim,
    outcome: Outcome,
    *,
    results: Mapping[str, RecipientOutcome] | None,
    retry_after: float | None,
) -> Settlement:
    what: dict[str, Any] = {"stop": StopReason.UNKNOWN, "note": UNKNOWN_NOTE}
    if retry_after is not None:
        what = {"retry_after": retry_after}
    return _settlement(claim, outcome, AttemptOutcome.UNKNOWN, results=results, **what)


def _deferral(outcome: Outcome, *, history: History) -> float | None:
    """Return how long the mail steps aside; None where the breaker, or nothing at all, makes it wait."""
    if outcome.error == LEASE_LOST:
        return None
    if outcome.stage in SESSION_STAGES or outcome.trouble == Trouble.NONE:
        return float(min(DEFERRAL_SECONDS * 2**history.deferred, LONGEST_DEFERRAL_SECONDS))
    return None


def _final(claim: Claim, outcome: Outcome, *, results: Mapping[str, RecipientOutcome], history: History) -> Settlement:
    results = {address: _given_up(result) for address, result in results.items()}
    verdicts = {result.verdict for result in results.values()}
    is_everybody = verdicts <= {Verdict.SENT} and not history.refused
    if is_everybody:
        return _settlement(claim, outcome, AttemptOutcome.SENT, is_accepted=True)
    is_counted = bool(verdicts - {Verdict.SENT})
    if Verdict.SENT in verdicts or history.accepted:
        return _settlement(claim, outcome, AttemptOutcome.PARTLY_SENT, results=results, is_counted=is_counted)
    return _settlement(claim, outcome, AttemptOutcome.FAILED, results=results, is_counted=True, stop=StopReason.FAILED)


def _given_up(result: RecipientOutcome) -> RecipientOutcome:
    return replace(result, verdict=Verdict.FAIL) if result.verdict == Verdict.RETRY else result


def _settlement(
    claim: Claim,
    outcome: Outcome,
    attempt_outcome: AttemptOutcome,
    *,
    results: Mapping[str, RecipientOutcome] | None = None,
    **more: Any,
) -> Settlement:
    accepted = [address for address, result in (results or {}).items() if result.verdict == Verdict.SENT]
    more.setdefault("is_accepted", bool(accepted))
    if more.get("stop") and not more.get("note"):
        more["note"] = str(outcome.reply) or outcome.error
    return Settlement(
        attempt_id=claim.attempt_id,
        email_id=claim.email_id,
        token=claim.token,
        outcome=attempt_outcome,
        stage="" if outcome.stage == Stage.DONE else str(outcome.stage),
        reply_code=outcome.reply.code or None,
        enhanced_code=outcome.reply.enhanced[:16],
        reply=_storable(outcome.reply.text),
        error=outcome.error[:255],
        recipients=_as_json(results) if results and len(results) + len(accepted) > 1 else None,
        **{**more, "note": _storable(more.get("note", ""))},
    )


def _as_json(results: Mapping[str, RecipientOutcome]) -> dict[str, Any]:
    return {
        address: {
            "verdict": str(result.verdict),
            "code": result.reply.code or None,
            "enhanced": result.reply.enhanced,
            "reply": _storable(result.reply.text),
        }
        for address, result in results.items()
    }


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
