"""From what delivery saw, and what happened before, to what becomes of the mail. Decides; touches nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Outcome, Pace, RecipientOutcome, Reply, Trouble, Verdict
from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.queue.claim import Claim
from mailqueue.queue.history import History
from mailqueue.queue.settle import Settlement
from mailqueue.queue.unknown import NOTE as UNKNOWN_NOTE
from mailqueue.queue.unknown import may_resend
from mailqueue.sender.patience import deferral, delay_of, in_turn, is_own_fault, patiently

REFUSED_SENDER = "The mail server refuses this sender address. It said: "


def conclude(
    claim: Claim,
    outcome: Outcome,
    *,
    recipients: Sequence[str],
    history: History,
    configuration: Configuration,
    unknown_outcome: str = "",
    others_pass: bool = False,
) -> Settlement:
    """Return how to settle an attempt that had these recipients.

    `unknown_outcome` is what the mail's caller asked for, instead of what the setting says. `others_pass` says that
    the backend takes other mail meanwhile.
    """
    if outcome.verdict == Verdict.SENT and not (outcome.recipients or history.refused):
        return _settlement(claim, outcome, AttemptOutcome.SENT, is_accepted=True)
    if outcome.verdict == Verdict.UNKNOWN:
        results = results_of(outcome, recipients=recipients) if outcome.recipients else None
        is_resent = may_resend(history, earlier=0, wish=unknown_outcome, configuration=configuration)
        retry_after = configuration.UNKNOWN_RESEND_AFTER if is_resent else None
        return _unknown(claim, outcome, results=results, retry_after=retry_after)
    if outcome.verdict == Verdict.HOLD:
        said = str(outcome.reply) or outcome.error
        note = REFUSED_SENDER + said if outcome.trouble == Trouble.SENDER else said
        return _settlement(claim, outcome, AttemptOutcome.DEFERRED, stop=StopReason.HELD, note=note)
    if outcome.verdict == Verdict.DEFER:
        if not (others_pass and is_own_fault(outcome, history=history)):
            wait = deferral(outcome, history=history)
            return _settlement(claim, outcome, AttemptOutcome.DEFERRED, retry_after=wait)
        outcome = replace(outcome, verdict=Verdict.RETRY)
    results = {
        address: patiently(result, history=history, configuration=configuration)
        for address, result in in_turn(results_of(outcome, recipients=recipients)).items()
    }
    waiting = [result for result in results.values() if result.verdict == Verdict.RETRY]
    if not waiting:
        return _final(claim, outcome, results=results, history=history)
    return _settlement(
        claim,
        outcome,
        AttemptOutcome.RETRY,
        results=results,
        is_counted=not any(result.pace == Pace.AT_ONCE for result in waiting),
        retry_after=min(delay_of(result, outcome, history=history, configuration=configuration) for result in waiting),
    )


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
    text = f"{error} (its text is left out, for the mail is sensitive)"
    return Reply(reply.code, text, retry_after=reply.retry_after)


def results_of(outcome: Outcome, *, recipients: Sequence[str]) -> dict[str, RecipientOutcome]:
    """Return what the server said about every recipient of the attempt."""
    alike = RecipientOutcome(outcome.verdict, outcome.reply, outcome.pace)
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


def _final(claim: Claim, outcome: Outcome, *, results: Mapping[str, RecipientOutcome], history: History) -> Settlement:
    verdicts = {result.verdict for result in results.values()} or {outcome.verdict}
    is_everybody = verdicts <= {Verdict.SENT} and not history.refused
    if is_everybody:
        return _settlement(claim, outcome, AttemptOutcome.SENT, is_accepted=True)
    is_counted = bool(verdicts - {Verdict.SENT})
    if Verdict.SENT in verdicts or history.accepted:
        return _settlement(claim, outcome, AttemptOutcome.PARTLY_SENT, results=results, is_counted=is_counted)
    return _settlement(claim, outcome, AttemptOutcome.FAILED, results=results, is_counted=True, stop=StopReason.FAILED)


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
        stage="" if outcome.verdict == Verdict.SENT else str(outcome.stage),
        reply_code=outcome.reply.code or None,
        enhanced_code=outcome.reply.enhanced[:16],
        reply=_storable(outcome.reply.text),
        error=outcome.error[:255],
        recipients=_as_json(_worth_keeping(results)) if results and _differ(outcome, results) else None,
        queue_id=_storable(outcome.queue_id)[:255],
        **{**more, "note": _storable(more.get("note", ""))},
    )


def _differ(outcome: Outcome, results: Mapping[str, RecipientOutcome]) -> bool:
    """Whether the attempt's own reply does not say it all. A mail to thousands, put off as a whole, says it once."""
    verdicts = {result.verdict for result in results.values()}
    if verdicts == {Verdict.RETRY}:
        return bool(outcome.recipients)
    return len(results) > 1 or Verdict.SENT in verdicts


def _worth_keeping(results: Mapping[str, RecipientOutcome]) -> Mapping[str, RecipientOutcome]:
    """Leave out those who come next at once: who is not named is still to get the mail."""
    return {address: result for address, result in results.items() if result.pace != Pace.AT_ONCE}


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
