"""Lists of addresses as post_office's columns hold them: one text, joined by commas."""

import re
from collections.abc import Iterable

OPENING = re.compile(r'["(<]')


def join_addresses(addresses: Iterable[str]) -> str:
    return ", ".join([address.strip() for address in addresses])


def split_addresses(text: str) -> list[str]:
    """Split at the commas between addresses, not at those within quotes, comments or angle brackets (RFC 5322, 3.2).

    post_office itself splits at every comma, which makes two recipients of `"Doe, Jane" <jane@example.com>`.
    """
    if not text:
        return []
    if not OPENING.search(text):
        return [part.strip() for part in text.split(",") if part.strip()]
    parts: list[str] = []
    current: list[str] = []
    closers: list[str] = []
    is_escaped = False
    for character in text:
        if character == "," and not closers:
            parts.append("".join(current))
            current = []
            continue
        current.append(character)
        if is_escaped:
            is_escaped = False
        elif character == "\\" and closers:
            is_escaped = True
        else:
            _track(character, closers=closers)
    parts.append("".join(current))
    return [part.strip() for part in parts if part.strip()]


_PAIRS = {'"': '"', "(": ")", "<": ">"}


def _track(character: str, *, closers: list[str]) -> None:
    innermost = closers[-1] if closers else ""
    if character == innermost:
        closers.pop()
    elif innermost == '"' or (innermost == "<" and character == "<"):
        return
    elif character in _PAIRS:
        closers.append(_PAIRS[character])
