"""What the setting ALLOWED_RECIPIENTS may say: addresses, domains and patterns of them. Pure.

It stands below the settings, which check it, and below the sender, which holds mail to everybody else.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

EXAMPLE = '["jane@example.com", "example.com", "*@*.example.com"]'
WANTED = f"None, or a list of addresses, domains and patterns, like {EXAMPLE}"

_LOCAL = r"[^\s@,;:<>()\"\\]+"
_DOMAIN = r"[\w*?-]+(?:\.[\w*?-]+)*|\[[\w.:-]+\]"
_PATTERN = re.compile(rf"(?:(?P<local>{_LOCAL})?@)?(?P<domain>{_DOMAIN})")
_NOBODY = re.compile(r"[*?.@]*")
"""A pattern of wildcards alone. It looks like a limit, and is none."""
_WILDCARDS = {"*": "[^@]*", "?": "[^@]"}


def complaint(value: Any) -> str | None:
    """Say what the setting should hold, and what is wrong with it; None where nothing is."""
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        return WANTED
    if wrong := [pattern for pattern in value if not _is_pattern(pattern)]:
        return f"{WANTED}. It is none of these: {', '.join(map(repr, wrong))}"
    if boundless := [pattern for pattern in value if _NOBODY.fullmatch(pattern.strip())]:
        return (
            f"{WANTED}. To allow everybody, leave it out or set it to None, not to {', '.join(map(repr, boundless))}"
        )
    return None


def _is_pattern(value: Any) -> bool:
    return isinstance(value, str) and _PATTERN.fullmatch(value.strip()) is not None


def allows(patterns: Sequence[str], mailbox: str) -> bool:
    """Say whether one of the patterns means a mailbox, `local@domain`, in upper or lower case.

    A pattern without an @, or with nothing before it, means all mailboxes of that domain, and not of those below it.
    `*` stands for any characters but @, `?` for one.
    """
    return bool(mailbox) and _expression(tuple(patterns)).fullmatch(normalised(mailbox)) is not None


def normalised(mailbox: str) -> str:
    """Return a mailbox as all are written that mean the same."""
    local, _, domain = mailbox.rpartition("@")
    return f"{local.casefold()}@{normalised_domain(domain)}"


def normalised_domain(domain: str) -> str:
    """Return a domain as all are written that mean the same, in the letters of a country or as servers say it."""
    return _ascii(domain).casefold()


@lru_cache(maxsize=8)
def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(_translated(pattern.strip()) for pattern in patterns), re.DOTALL)


def _translated(pattern: str) -> str:
    local, _, domain = pattern.rpartition("@")
    before = "".join(_WILDCARDS.get(character) or re.escape(character) for character in local.casefold())
    after = "".join(_WILDCARDS.get(character) or re.escape(character) for character in normalised_domain(domain))
    return f"(?:{before or '.+'}@{after})"


def _ascii(domain: str) -> str:
    """Return a domain as mail servers say it, so that both ways of writing it are one."""
    return ".".join(label if label.isascii() else _encoded(label) for label in domain.split("."))


def _encoded(label: str) -> str:
    try:
        return label.encode("idna").decode()
    except UnicodeError:
        return label
