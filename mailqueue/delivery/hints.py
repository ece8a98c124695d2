"""When to try again, as servers say it in their own words or in the header of an HTTP response. Pure."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 24 * 3600.0
"""A hint beyond these bounds is none."""

_LEAD = (
    r"(?:\b(?:retry|retries|retrying|try|again|wait|back|later|gr[ae]y-?list(?:ed|ing)?|deferred|delayed)\b[^.]{0,40}?"
    r"|\bin )\b"
)
_CLOCK = re.compile(_LEAD + r"(\d{1,2}):([0-5]\d):([0-5]\d)\b", re.IGNORECASE)
_AMOUNT = re.compile(
    _LEAD + r"(\d{1,9}(?:\.\d{1,3})?|an?|one) ?"
    r"(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:ours?|rs?)?|d(?:ays?)?)\b",
    re.IGNORECASE,
)
_BARE = re.compile(r"\bretry[ -]?after:? (\d{1,9})(?![\d.:])", re.IGNORECASE)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def retry_hint(text: str) -> float | None:
    """Return the seconds after which a server asks to be tried again ("in 300 seconds"), None where it does not."""
    if match := _CLOCK.search(text):
        hours, minutes, seconds = (int(group) for group in match.groups())
        return _within_bounds(hours * 3600 + minutes * 60 + seconds)
    if match := _AMOUNT.search(text):
        amount = float(match[1]) if match[1][0].isdigit() else 1.0
        return _within_bounds(amount * _UNITS[match[2][0].lower()])
    if match := _BARE.search(text):
        return _within_bounds(float(match[1]))
    return None


def retry_after(value: str, *, date: str = "") -> float | None:
    """Read the header Retry-After (RFC 9110, section 10.2.3): seconds, or a moment.

    The moment is compared with the `date` that the same response bears, so that no clock but the service's own
    decides; where it bears none, with ours.
    """
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return _within_bounds(float(value[:12]))
    moment = _moment(value)
    if moment is None:
        return None
    return _within_bounds((moment - (_moment(date) or datetime.now(UTC))).total_seconds())


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _within_bounds(seconds: float) -> float | None:
    return seconds if SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS else None
