"""The arguments of one `mailqueue.send`, and the checks of those that are plain values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.safestring import SafeString
from post_office.models import PRIORITY
from post_office.settings import get_backend_aliases
from post_office.utils import parse_priority

from mailqueue.models import MailOptions, UnknownOutcome
from mailqueue.outbox.refs import ref_text


@dataclass(slots=True)
class Request:
    """What somebody asks to be queued. The names are those of `mailqueue.send`, which says what they mean."""

    recipients: Any = None
    sender: Any = None
    template: Any = None
    context: Any = None
    subject: Any = ""
    message: Any = ""
    html_message: Any = ""
    scheduled_time: Any = None
    expires_at: Any = None
    headers: Any = None
    priority: Any = None
    attachments: Any = None
    render_on_delivery: bool = False
    log_level: Any = None
    cc: Any = None
    bcc: Any = None
    language: str = ""
    backend: str = ""
    key: str | None = None
    ref: Any = None
    sensitive: bool = False
    expires_in: Any = None
    unknown_outcome: str | None = None


MAY_ASK = frozenset({"template", "context", "attachments", "key", "expires_in"})
PLAIN = frozenset({type(None), str, SafeString, int, float, bool, datetime})


def asks_nobody(given: Any) -> bool:
    """Whether it runs none of the caller's code, and asks no database, to make a mail of these arguments.

    A lazy text, a queryset of recipients or a template may do both.
    """
    return (
        type(given) is dict
        and MAY_ASK.isdisjoint(given)
        and all(type(value) in PLAIN or _holds_texts(value) for value in given.values())
    )


def _holds_texts(value: Any) -> bool:
    if type(value) is dict:
        return _holds_texts([*value, *value.values()])
    return type(value) in (list, tuple) and all(type(item) is str for item in value)


def digest_of(request: Request) -> str | None:
    """Return the hash under which the key of a request is kept.

    Raises:
        TypeError, ValueError: the key is not a text, or is empty.
    """
    key = request.key
    if key is None:
        return None
    if not isinstance(key, str):
        raise TypeError(f"key must be a text, not {type(key).__name__}.")
    if not key:
        raise ValueError("key must not be empty: leave it out for a mail without one.")
    return sha256(key.encode(errors="surrogatepass")).hexdigest()


def options_of(request: Request) -> MailOptions | None:
    """Return the row that keeps what post_office's `Email` has no column for; None where nothing was asked for.

    Raises:
        TypeError, ValueError: one of the values is of the wrong type, or not one of those allowed.
    """
    if not isinstance(request.sensitive, bool):
        raise TypeError(f"sensitive must be True or False, not {request.sensitive!r}.")
    unknown_outcome = request.unknown_outcome or ""
    if unknown_outcome and unknown_outcome not in UnknownOutcome.values:
        raise ValueError(f'unknown_outcome must be "resend" or "hold", not {request.unknown_outcome!r}.')
    ref = "" if request.ref is None else ref_text(request.ref)
    if not (ref or request.sensitive or unknown_outcome):
        return None
    return MailOptions(ref=ref, is_sensitive=request.sensitive, unknown_outcome=unknown_outcome)


def priority_of(request: Request) -> int:
    """Return the lane, for which "now" is only the highest.

    Raises:
        ValueError: there is no such priority.
    """
    priority = parse_priority(request.priority)
    if isinstance(priority, bool) or priority not in PRIORITY:
        raise ValueError(f"priority must be one of {', '.join(PRIORITY._fields)}, not {request.priority!r}.")
    return int(priority)


def backend_of(request: Request) -> str:
    """Return the alias of the backend that is to deliver; "" means the default one.

    Raises:
        ValueError: it is not configured.
    """
    alias = request.backend or ""
    if alias and alias not in (known := get_backend_aliases()):
        raise ValueError(f"backend {alias!r} is not configured; there are: {', '.join(map(repr, known))}.")
    return alias


def check_times(request: Request) -> None:
    """Check the times as they were given.

    Raises:
        TypeError, ValueError: not a time, a naive one where USE_TZ is set, or both `expires_at` and `expires_in`.
    """
    for name in ("scheduled_time", "expires_at"):
        moment = getattr(request, name)
        if moment is None:
            continue
        if not isinstance(moment, datetime):
            raise TypeError(f"{name} must be a datetime, not {type(moment).__name__}.")
        if settings.USE_TZ and timezone.is_naive(moment):
            raise ValueError(f"{name} {moment.isoformat()} has no time zone: use django.utils.timezone.")
    if request.expires_in is not None and request.expires_at is not None:
        raise ValueError("Give expires_at or expires_in, not both.")


def lifetime_of(request: Request) -> timedelta | None:
    """Return `expires_in` as a time span.

    Raises:
        TypeError, ValueError: it is neither a number of seconds nor a timedelta, or is not positive.
    """
    given = request.expires_in
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | timedelta):
        raise TypeError(f"expires_in must be a number of seconds or a timedelta, not {type(given).__name__}.")
    try:
        span = given if isinstance(given, timedelta) else timedelta(seconds=given)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expires_in {given!r} is not a number of seconds that can be counted.") from error
    if span <= timedelta(0):
        raise ValueError(f"expires_in must be greater than 0, not {given!r}.")
    return span


def check_order(scheduled_time: datetime | None, expires_at: datetime | None) -> None:
    """Check that a mail does not expire before it is due.

    Raises:
        ValidationError: it does, as in post_office.
    """
    if scheduled_time and expires_at and scheduled_time > expires_at:
        raise ValidationError(
            f"scheduled_time {scheduled_time.isoformat()} must not be later than {expires_at.isoformat()}, "
            "when the mail expires."
        )
