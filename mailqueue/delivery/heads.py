"""Keeps every header in its own lines: a name or a value with a line break in it would be read as another header.

Django refuses CR and LF in values and nothing else. Python's generators break lines at every character at which
`str.splitlines` does, so that a form feed in a subject ends the header, or all headers.
"""

import re
from email.message import Message
from typing import Any

BAD_NAME = re.compile(r"[^\x21-\x7e]|^$")
"""What no name can hold (RFC 5322, section 2.2). What follows a colon is only a value."""
BREAK = re.compile(r"(?:\r\n|\r(?!\n)|[\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029])(?![ \t])")
"""A line break that is not a fold (RFC 5322, section 2.2.3)."""


class OwnOctets:
    """Mixed into messages whose octets are not written from their headers."""


def check_heads(message: Any) -> None:
    """Refuse a message that has a header, in whichever part, that would not arrive as the one header that it is.

    A message that is attached is left alone: its headers are not ours.

    Raises:
        ValueError: the name is none that a header may have, or the value holds a line break. For a name that is not
            ASCII it is a UnicodeEncodeError, as Python's own.
    """
    if isinstance(message, OwnOctets) or not isinstance(message, Message):
        return
    for name, value in message.raw_items():
        str(name).encode("ascii")
        if BAD_NAME.search(str(name)):
            raise ValueError(f"Header names can't be empty, or contain spaces or newlines (got {name!r})")
        if BREAK.search(str(value)):
            raise ValueError(f"Header values can't contain newlines (got {value!r} for header {name!r})")
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        parts: Any = message.get_payload()
        for part in parts:
            check_heads(part)
