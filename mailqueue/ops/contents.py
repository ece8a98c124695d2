"""What a mail says, for people to read. A mail that can't be built is shown all the same, with the reason, and one
that can't be decoded, as it stands; one that is sensitive is shown to nobody, and one whose content was dropped is
not shown as if it had been empty.
"""

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field

from django.utils.translation import gettext as _
from post_office.models import Email

from mailqueue.models import MailOptions
from mailqueue.ops.decoding import Image, decoded, head_of
from mailqueue.ops.facts import readable_time
from mailqueue.outbox.messages import letter_of
from mailqueue.outbox.person import FORGOTTEN
from mailqueue.outbox.serial import serialised

END_OF_HEAD = re.compile(rb"(?<=\n)\r?\n")
BLIND = re.compile(rb"^(?:resent-)?bcc[ \t]*:.*\n?(?:[ \t].*\n?)*", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Contents:
    """One mail, readable. HTML is as the mail holds it: never put it into a page."""

    subject: str
    text: str
    html: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    """In their order, decoded; without Bcc."""
    images: Mapping[str, Image] = field(default_factory=dict)
    """Those that HTML may show, by Content-ID."""
    inner_attachment_count: int = 0
    """Attachments that stand in the message; also those that have a row of their own."""
    problem: str = ""
    """Why the mail can't be built, where it can't; the texts are then what the row holds."""
    error: str = ""
    """The same without what it quotes of the mail: the name of the exception."""
    undecoded: str = ""
    """Why some of it is shown undecoded, or not at all, though the mail can be built; mostly empty."""


def is_hidden(email: Email) -> bool:
    """Whether nobody is to read what the mail says: its caller said that it is sensitive."""
    options = _options(email)
    return options is not None and options.is_sensitive


def is_dropped(email: Email) -> bool:
    """Whether nothing is left of what the mail said, but perhaps its subject."""
    options = _options(email)
    return options is not None and options.wiped_at is not None


def why_hidden(email: Email) -> str:
    """Say why what a mail says is not shown: it is sensitive, or no longer kept. Empty for all others."""
    options = _options(email)
    if options is None or not (options.is_sensitive or options.wiped_at):
        return ""
    if options.wiped_at is None:
        return _("This mail is sensitive: its subject, text, headers and attachments are shown to nobody.")
    words = {"time": readable_time(options.wiped_at)}
    if options.is_sensitive:
        return _("This mail was sensitive: its subject, text, headers and attachments were wiped at %(time)s.") % words
    if FORGOTTEN in (email.from_email, *email.to, *email.cc, *email.bcc):
        pattern = _(
            "The subject, text, headers and attachments of this mail were dropped at %(time)s: somebody whom it names "
            "was forgotten (mailqueue_forget)."
        )
        return pattern % words
    pattern = _(
        "The text, headers and attachments of this mail were dropped at %(time)s: the time for which they are kept "
        "(BODY_RETENTION_DAYS) was over, or somebody whom it named was forgotten (mailqueue_forget)."
    )
    return pattern % words


def contents_of(email: Email) -> Contents:
    """Read a loaded mail (`outbox.messages.load_rows`) as it would be sent."""
    if is_hidden(email):
        return Contents("", "", "")
    if is_dropped(email):
        return Contents(email.subject, "", "")
    try:
        content = raw_message(email)
    except Exception as error:  # noqa: BLE001  (a template, a storage or a header may raise anything)
        name = type(error).__name__
        return Contents(email.subject, email.message, email.html_message, problem=f"{name}: {error}", error=name)
    return _read(content)


def raw_message(email: Email) -> bytes:
    """Return a loaded mail as it goes over the wire, but for Bcc, which is nobody else's business.

    Where it has several parts, their boundary is named anew each time. Raises whatever building it raises.
    """
    # On a copy, for post_office writes OVERRIDE_RECIPIENTS into the mail that it builds.
    content = serialised(letter_of(copy(email), recipients=[]).build())
    end = END_OF_HEAD.search(content)
    head, rest = (content[: end.start()], content[end.start() :]) if end else (content, b"")
    return BLIND.sub(b"", head) + rest


def _options(email: Email) -> MailOptions | None:
    options: MailOptions | None = getattr(email, "mailqueue_options", None)
    return options


def _read(content: bytes) -> Contents:
    subject, headers = head_of(content)
    found = decoded(content)
    return Contents(
        subject,
        found.texts.get("plain", ""),
        found.texts.get("html", ""),
        headers=headers,
        images=found.images,
        inner_attachment_count=found.attachment_count,
        undecoded=found.problem,
    )
