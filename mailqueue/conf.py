"""What settings.MAILQUEUE says, read once and validated: the only place that knows its keys."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from mailqueue import recipient_patterns, reply_rules

HOUR = 3600
MOST_SECONDS = 1_000_000_000
MOST_DAYS = 36_500


class SettingError(ValueError):
    """A key of MAILQUEUE that is unknown or holds a value it must not hold."""

    def __init__(self, key: str, message: str, remedy: str) -> None:
        self.key = key
        self.name = f'MAILQUEUE["{key}"]' if key else "MAILQUEUE"
        super().__init__(f"{self.name}: {message} {remedy}")
        self.message = message
        self.remedy = remedy


def _number(least: float, *, exclusive: bool = False, most: float = MOST_SECONDS) -> Callable[[Any], str | None]:
    def complaint(value: Any) -> str | None:
        bound = f"greater than {least:g}" if exclusive else f"of at least {least:g}"
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most or (exclusive and value == least):
            return f"a number {bound} (and at most {most:,})"
        return None

    return complaint


def _whole_number(least: int) -> Callable[[Any], str | None]:
    def complaint(value: Any) -> str | None:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            return f"a whole number of at least {least}"
        return None

    return complaint


def _seconds_list(value: Any) -> str | None:
    wanted = "a list of one or more numbers of seconds, each of at least 0"
    if not isinstance(value, list | tuple) or not value:
        return wanted
    return wanted if any(_number(0)(item) for item in value) else None


def _one_of(*words: str) -> Callable[[Any], str | None]:
    def complaint(value: Any) -> str | None:
        return None if value in words else " or ".join(f'"{word}"' for word in words)

    return complaint


LIMITS: Mapping[str, Callable[[Any], str | None]] = {
    "per_second": _number(0, exclusive=True),
    "per_day": _whole_number(1),
    "connections": _whole_number(1),
}
"""What RATE_LIMITS may say of one backend: recipients per second and per day, and connections of all senders."""


def _rate_limits(value: Any) -> str | None:
    wanted = 'a dict like {"default": {"per_second": 14, "per_day": 50000, "connections": 3}}'
    if not isinstance(value, Mapping):
        return wanted
    for alias, limits in value.items():
        if not isinstance(alias, str) or not isinstance(limits, Mapping):
            return wanted
        for name, limit in limits.items():
            if name not in LIMITS:
                return f"{wanted}: {name!r} is not a limit"
            if complaint := LIMITS[name](limit):
                return f"{wanted}: {name} must be {complaint}"
    return None


RETAINED = ("sent", "failed", "cancelled")
"""What RETENTION_DAYS and BODY_RETENTION_DAYS may say something of: how a mail ended."""


def _days(value: Any) -> str | None:
    return None if value is None else _number(0, exclusive=True, most=MOST_DAYS)(value)


def _retention(value: Any) -> str | None:
    number = f"a number of days greater than 0 (and at most {MOST_DAYS:,})"
    wanted = f'None, {number}, or a dict like {{"sent": 90, "failed": 365, "cancelled": 30}}'
    if not isinstance(value, Mapping):
        return wanted if _days(value) else None
    for name, days in value.items():
        if name not in RETAINED:
            return f"{wanted}: {name!r} is none of {', '.join(RETAINED)}"
        if complaint := _days(days):
            return f"{wanted}: {name} must be None or {complaint}"
    return None


def _path(value: Any) -> str | None:
    return None if isinstance(value, str | os.PathLike) and str(value) else "a path"


def _database(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value in settings.DATABASES):
        return None
    return f"None or an alias of DATABASES ({', '.join(sorted(settings.DATABASES))})"


def default_state_folder() -> Path:
    """Return the state folder that systemd names, else the user's (XDG Base Directory Specification)."""
    named_by_systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if named_by_systemd:
        return Path(named_by_systemd)
    if user_state := os.environ.get("XDG_STATE_HOME"):
        return Path(user_state) / "mailqueue"
    try:
        return Path.home() / ".local" / "state" / "mailqueue"
    except RuntimeError:  # a system user without a home
        return Path(tempfile.gettempdir()) / f"mailqueue-{os.getuid()}"


def _key(default: Any, complaint: Callable[[Any], str | None]) -> Any:
    if callable(default):
        return field(default_factory=default, metadata={"complaint": complaint})
    return field(default=default, metadata={"complaint": complaint})


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Every setting of mailqueue with its default. Times are in seconds; fractions are allowed."""

    LEASE_SECONDS: float = _key(120, _number(0, exclusive=True))
    """How long a claim stays valid without a sign of life of its sender."""
    CONCURRENCY: int = _key(8, _whole_number(1))
    """Connections to mail servers per sender process."""
    POLL_SECONDS: float = _key(1, _number(0, exclusive=True))
    """How often a sender looks for mail of its own accord while LISTEN is not proven alive."""
    LISTEN_DATABASE: str | None = _key("", lambda value: None if value == "" else _database(value))
    """The database alias to LISTEN on; None: polling only; "": the database of the mail itself."""
    RETRY_DELAYS: tuple[float, ...] = _key((60, 5 * 60, 15 * 60, 30 * 60, HOUR, 2 * HOUR, 4 * HOUR), _seconds_list)
    """Pauses between counted attempts; the last one repeats."""
    GIVE_UP_AFTER: float = _key(48 * HOUR, _number(0))
    """A mail that still fails temporarily this long after its first counted attempt fails for good."""
    UNKNOWN_OUTCOME: str = _key("resend", _one_of("resend", "hold"))
    """What to do when nobody knows whether the server took a mail."""
    UNKNOWN_RESEND_AFTER: float = _key(600, _number(0))
    """With UNKNOWN_OUTCOME "resend": the pause before the one resend."""
    PROBE_DELAYS: tuple[float, ...] = _key((30, 60, 120, 300, 600), _seconds_list)
    """Pauses between probes of a backend that is shut; the last one repeats."""
    RATE_LIMITS: Mapping[str, Mapping[str, float]] = _key(dict, _rate_limits)
    """What a backend takes, by alias: recipients "per_second" and "per_day", "connections" of all senders together."""
    REPLY_RULES: Mapping[str, Sequence[Mapping[str, Any]]] = _key(dict, reply_rules.complaint)
    """A project's own rules for the replies of its mail servers, by alias or "*" for all; they go before ours."""
    KEY_RETENTION_DAYS: float = _key(30, _number(0, exclusive=True, most=MOST_DAYS))
    """How many days a key of `mailqueue.send` keeps a second mail from being queued."""
    RETENTION_DAYS: Mapping[str, float | None] | float | None = _key(None, _retention)
    """How many days a mail is kept that was "sent", "failed" or "cancelled"; None: for ever. Others always are."""
    BODY_RETENTION_DAYS: Mapping[str, float | None] | float | None = _key(None, _retention)
    """The same for what a mail says: after that its history alone is kept."""
    ALLOWED_RECIPIENTS: tuple[str, ...] | None = _key(None, recipient_patterns.complaint)
    """Whom mail may be sent to, by address, domain or pattern; mail to anybody else is held. None: to everybody."""
    MAX_MESSAGE_BYTES: int = _key(50 * 1024 * 1024, _whole_number(1))
    """A larger message, as it goes over the wire, is refused when it is queued."""
    STATE_DIR: Path = _key(default_state_folder, _path)  # noqa: RUF009 - makes a field
    """Where senders keep their acceptance journals: a local folder, one per host."""


KEYS = tuple(entry.name for entry in fields(Configuration))


def problems(given: Any) -> Iterator[SettingError]:
    """Yield everything that is wrong with a MAILQUEUE dict."""
    if not isinstance(given, Mapping):
        yield SettingError("", f"{given!r} is not a dict.", "Write MAILQUEUE = {…} in your settings, or leave it out.")
        return
    complaints = {entry.name: entry.metadata["complaint"] for entry in fields(Configuration)}
    for key, value in given.items():
        if key not in complaints:
            yield SettingError(str(key), "is not a setting of mailqueue.", f"Known keys: {', '.join(KEYS)}.")
        elif wanted := complaints[key](value):
            yield SettingError(key, f"{value!r} is not allowed.", f"Set it to {wanted}.")


@lru_cache(maxsize=1)
def configuration() -> Configuration:
    """Return the validated settings.

    Raises:
        ImproperlyConfigured: a key is unknown or a value is not allowed; the text names key, value and remedy.
    """
    given = getattr(settings, "MAILQUEUE", {})
    found = list(problems(given))
    if found:
        raise ImproperlyConfigured("\n".join(str(problem) for problem in found))
    return Configuration(**{key: _frozen(key, value) for key, value in given.items()})


def _frozen(key: str, value: Any) -> Any:
    if key == "STATE_DIR":
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "MAILQUEUE":
        configuration.cache_clear()


setting_changed.connect(_forget, dispatch_uid="mailqueue.conf")
