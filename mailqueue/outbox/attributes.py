"""What backends for mail services read beside the message (django-anymail's attributes), as JSON and back."""

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from django.core.mail import EmailMessage
from django.utils.functional import Promise

NAMES = (
    "tags",
    "metadata",
    "merge_data",
    "merge_global_data",
    "merge_headers",
    "merge_metadata",
    "template_id",
    "track_opens",
    "track_clicks",
    "envelope_sender",
    "esp_extra",
    "send_at",
)
TIMES: dict[str, Any] = {"$datetime": datetime.fromisoformat, "$date": date.fromisoformat}
LITERAL = "$literal"
"""Marks a dict of the caller's that looks like one of our own marks."""

_MISSING = object()


def attributes_of(message: EmailMessage) -> dict[str, Any] | None:
    """Return the attributes that are set on a message, as JSON; None where there are none.

    Raises:
        TypeError: a value is of a type that JSON can't carry.
        ValueError: a value is of the right type, but can't be stored: NaN, infinity, a NUL or half a surrogate pair.
    """
    given = {name: getattr(message, name, _MISSING) for name in NAMES}
    found = {name: _encoded(value, name) for name, value in given.items() if not _is_unset(value)}
    return found or None


def set_attributes(message: EmailMessage, attributes: Mapping[str, Any]) -> None:
    """Set what `attributes_of` returned on a message that is about to be delivered."""
    for name, value in attributes.items():
        setattr(message, name, _decoded(value))


def _is_unset(value: Any) -> bool:
    """Anymail's own message class marks what was not given by a class named UNSET."""
    return value is _MISSING or (isinstance(value, type) and value.__name__ == "UNSET")


def _encoded(value: Any, path: str) -> Any:
    match value:
        case None | bool() | int() | float():
            return _number(value, path)
        case str() | Promise():
            return _text(value, path)
        case datetime():
            return {"$datetime": value.isoformat()}
        case date():
            return {"$date": value.isoformat()}
        case list() | tuple():
            return [_encoded(item, f"{path}[{position}]") for position, item in enumerate(value)]
        case Mapping():
            return _encoded_mapping(value, path)
    raise TypeError(
        f"{path} is {value!r}, and the queue can't carry a {type(value).__name__}: use text, numbers, True, False, "
        "None, dates, lists and dicts."
    )


def _number(value: float | None, path: str) -> float | None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} is {value}, which JSON can't carry: give it a finite number.")
    return value


def _encoded_mapping(value: Mapping[Any, Any], path: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str | Promise):
            raise TypeError(f"{path} has the key {key!r}: keys must be text, for JSON knows no others.")
    encoded = {_encoded(key, path): _encoded(item, f"{path}[{str(key)!r}]") for key, item in value.items()}
    is_ambiguous = len(encoded) == 1 and encoded.keys() <= {*TIMES, LITERAL}
    return {LITERAL: encoded} if is_ambiguous else encoded


def _text(value: Any, path: str) -> str:
    # Of a text that is a member of an Enum, the value.
    text = str.__str__(value) if isinstance(value, str) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{path} holds half a surrogate pair, which can't be stored: {text!r}") from None
    if "\0" in text:
        raise ValueError(f"{path} holds a NUL character, which can't be stored: {text!r}")
    return text


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((mark, content),) = value.items()
        if mark == LITERAL:
            return {key: _decoded(item) for key, item in content.items()}
        if mark in TIMES:
            return TIMES[mark](content)
    return {key: _decoded(item) for key, item in value.items()}
