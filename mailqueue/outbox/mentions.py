"""Addresses in a text that anybody may have written: those that are told from parts of longer ones. Pure.

A local part may hold nearly every character (RFC 5322, 3.2.3; RFC 6531, 3.3): where it can't be known whether one of
them belongs to the address, it does, and the address is somebody else's.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping

SPECIAL = frozenset("!#$%&'*+-/=?^_`{|}~.")
"""What may stand in a local part beside letters and digits."""
PAIRS = {"'": "'", "`": "`'", "{": "}", "|": "|"}
"""Some of them also stand around an address, and close behind it."""
QUOTED_LOCAL = re.compile(r'"(?:[^"\\\r\n]|\\.)*"(?=@)')


class Mentions:
    """Where a text mentions one of some addresses. Capital letters make no difference."""

    def __init__(self, written: Mapping[str, str]) -> None:
        """Take for each way to write an address, in small letters, which address that is."""
        self._written = written
        either = "|".join(re.escape(way) for way in sorted(written, key=len, reverse=True))
        self._expression = re.compile(either, re.IGNORECASE)

    def in_text(self, text: str) -> list[tuple[int, int, str]]:
        """Return where each mention begins and ends, and which address it is."""
        # An expression without regard to capital letters takes a long s for an s.
        found = [match for match in self._expression.finditer(text) if match[0].lower() in self._written]
        if not found:
            return []
        quoted = [match.span() for match in QUOTED_LOCAL.finditer(text)]
        return [
            (*match.span(), self._written[match[0].lower()])
            for match in found
            if _is_whole(text, *match.span()) and not any(begin < match.start() < end for begin, end in quoted)
        ]

    def replaced(self, text: str, name: Callable[[str], str]) -> str:
        """Return a text with another name in place of each mention."""
        parts, place = [], 0
        for begin, end, address in self.in_text(text):
            parts += [text[place:begin], name(address)]
            place = end
        return "".join([*parts, text[place:]])


def begins_a_local_part(text: str, place: int) -> bool:
    """Say whether nothing stands before this place that could belong to the same local part."""
    return not _local_before(text, place)


def _is_whole(text: str, begin: int, end: int) -> bool:
    if _is_in_domain(text[end : end + 2].removeprefix(".")):
        return False
    before = _local_before(text, begin)
    if not before.strip("."):
        return not before or not text[: begin - len(before)].endswith('"')
    # As Python writes a dict of refused recipients: {'jane@example.com': …
    closing, after = PAIRS.get(before[-1], ""), text[end : end + 1]
    is_enclosed = bool(after) and after in closing and not text[end + 1 : end + 2].isalnum()
    return is_enclosed and not before[:-1].strip("{")


def _local_before(text: str, place: int) -> str:
    begin = place
    while begin and _is_in_local(text[begin - 1]):
        begin -= 1
    return text[begin:place]


def _is_in_local(character: str) -> bool:
    return character in SPECIAL or _is_letter(character) or unicodedata.category(character) == "So"


def _is_in_domain(text: str) -> bool:
    return bool(text) and (text[0] in "-_" or _is_letter(text[0]))


def _is_letter(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")
