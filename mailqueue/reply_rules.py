"""What the setting REPLY_RULES may say: rules by which a project judges the replies of its own mail servers. Pure.

It stands below the settings, which check it, and below delivery, which carries it out.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

ALL_BACKENDS = "*"

STAGES = ("greeting", "ehlo", "tls", "auth", "mail", "rcpt", "data", "final_dot")
"""Where a reply can come. An HTTP service answers at "data"."""

ACTIONS = (
    "fail",
    "fail_recipient",
    "policy",
    "retry",
    "retry_recipient",
    "mailbox_full",
    "too_many_recipients",
    "throttle",
    "busy",
    "too_many_connections",
    "unavailable",
    "shut",
    "hold_sender",
)
"""What a rule may say under "then"."""

EXAMPLE = '{"default": [{"name": "greylisting", "stages": ["rcpt"], "codes": [550], "then": "retry_recipient"}]}'

_ENHANCED = re.compile(r"[245]\.(\d{1,3}\.(\d{1,3})?)?")


def complaint(value: Any) -> str | None:
    """Say what the setting should hold, and what is wrong with it; None where nothing is."""
    wanted = f'a dict of lists of rules, by alias or "{ALL_BACKENDS}" for all backends, like {EXAMPLE}'
    if not isinstance(value, Mapping):
        return wanted
    for alias, rules in value.items():
        if not isinstance(alias, str) or not isinstance(rules, list | tuple):
            return wanted
        for position, rule in enumerate(rules, start=1):
            if wrong := _wrong_in(rule):
                return f"{wanted}: in rule {position} of {alias!r}, {wrong}"
    return None


def _wrong_in(rule: Any) -> str | None:
    if not isinstance(rule, Mapping):
        return f"{rule!r} is not a dict"
    for key, value in rule.items():
        if key not in _KEYS:
            return f"{key!r} is not a key of a rule ({', '.join(_KEYS)})"
        if wanted := _KEYS[key](value):
            return f'"{key}" is {value!r} and must be {wanted}'
    if "then" not in rule:
        return f'"then" is missing: one of {_either(ACTIONS)}'
    if not rule.keys() & _CONDITIONS:
        return f"there is no condition: give at least one of {_either(_CONDITIONS)}"
    return None


def _name(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "a text that is not empty"


def _stages(value: Any) -> str | None:
    is_good = _is_list(value) and all(item in STAGES for item in value)
    return None if is_good else f"a list of {_either(STAGES)}"


def _codes(value: Any) -> str | None:
    is_good = _is_list(value) and all(type(item) is int and 400 <= item <= 599 for item in value)
    return None if is_good else "a list of reply codes from 400 to 599"


def _enhanced(value: Any) -> str | None:
    is_good = _is_list(value) and all(isinstance(item, str) and _ENHANCED.fullmatch(item) for item in value)
    return None if is_good else 'a list of enhanced codes like "5.7.1", or of their beginnings like "5.7."'


def _text(value: Any) -> str | None:
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        return f"a regular expression ({error})"
    return None if isinstance(value, str) and value else "a regular expression"


def _then(value: Any) -> str | None:
    return None if value in ACTIONS else f"one of {_either(ACTIONS)}"


_KEYS: Mapping[str, Callable[[Any], str | None]] = {
    "name": _name,
    "stages": _stages,
    "codes": _codes,
    "enhanced": _enhanced,
    "text": _text,
    "then": _then,
}
_CONDITIONS = ("stages", "codes", "enhanced", "text")


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value)


def _either(words: tuple[str, ...]) -> str:
    return ", ".join(f'"{word}"' for word in words)
