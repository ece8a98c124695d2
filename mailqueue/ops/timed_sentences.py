"""When something happens to a mail, and what will keep it from happening then."""

from django.utils.translation import gettext as _

from mailqueue.ops.backends import Flow
from mailqueue.ops.facts import Facts, answer_of, readable_time
from mailqueue.ops.waiting_sentences import why_paused

STOPS = (".", "。")
"""What a sentence ends with, in the languages there are."""


def at_its_time(pattern: str, facts: Facts) -> str:
    """Fill in a pattern that says when something happens, and add what is in its way."""
    words = {
        "time": readable_time(facts.until),
        "answer": answer_of(facts.attempt),
        "number": facts.attempt_count,
        "began": readable_time(facts.attempt.started_at) if facts.attempt else "",
    }
    text = pattern % words
    if facts.until is None:
        return text
    obstacle = _obstacle(facts)
    return obstacle % (_words(facts) | {"text": text.rstrip("".join(STOPS))}) if obstacle else text


def _words(facts: Facts) -> dict[str, str]:
    words = {"expires": readable_time(facts.expires_at)}
    if facts.absence is not None:
        words["seen"] = readable_time(facts.absence.since)
    if facts.backend is not None:
        row = facts.backend.row
        words |= {
            "backend": row.alias,
            "paused": why_paused(facts.backend),
            "since": readable_time(row.shut_at),
            "reason": row.shut_reason,
            "probe": readable_time(row.probe_at),
            "rest": readable_time(row.resting_until),
        }
    return words


def _obstacle(facts: Facts) -> str:
    """Return the pattern of what is in the way, or nothing; of several, what has to be mended first."""
    if facts.until and facts.expires_at and facts.expires_at <= facts.until:
        return _("%(text)s. But its time is over by then: it expires at %(expires)s.")
    flow = facts.backend.flow if facts.backend else Flow.OPEN
    if flow == Flow.GONE:
        return _("%(text)s. But its backend %(backend)s is not configured any more: the next sender holds it then.")
    if flow == Flow.PAUSED:
        return _("%(text)s. But not before somebody resumes the backend %(backend)s, which is %(paused)s.")
    return _absence(facts) or _delay(facts)


def _absence(facts: Facts) -> str:
    if facts.absence is None:
        return ""
    if facts.absence.since is None:
        return _("%(text)s. But no sender is alive.")
    return _("%(text)s. But no sender is alive since %(seen)s.")


def _delay(facts: Facts) -> str:
    row = facts.backend.row if facts.backend else None
    if row is not None and row.shut_at is not None:
        return _("%(text)s. But its backend %(backend)s is shut since %(since)s (%(reason)s). Next probe: %(probe)s.")
    if row is not None and row.resting_until is not None and facts.until and row.resting_until > facts.until:
        return _("%(text)s. But its backend %(backend)s starts nothing until %(rest)s.")
    return ""
