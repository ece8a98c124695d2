"""What a mail says, for people to read. A mail that can't be built is shown all the same, with the reason; one that
is sensitive is shown to nobody, and one whose content was dropped is not shown as if it had been empty.
"""

from copy import copy
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage as Message
from email.parser import BytesParser

from django.utils.translation import gettext as _
from post_office.models import Email

from mailqueue.models import MailOptions
from mailqueue.ops.sentences import readable_time
from mailqueue.outbox.messages import letter_of
from mailqueue.outbox.person import FORGOTTEN
from mailqueue.outbox.serial import build


@dataclass(frozen=True, slots=True)
class Contents:
    """One mail, readable. HTML is as the mail holds it: never put it into a page."""

    subject: str
    text: str
    html: str
    problem: str = ""
    """Why the mail can't be built, where it can't; the texts are then what the row holds."""


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
        message = _built(email)
        return Contents(str(message.get("Subject", "")), _part(message, "plain"), _part(message, "html"))
    except Exception as error:  # noqa: BLE001  (a template, a storage or a header may raise anything)
        problem = f"{type(error).__name__}: {error}"
        return Contents(email.subject, email.message, email.html_message, problem)


def _options(email: Email) -> MailOptions | None:
    options: MailOptions | None = getattr(email, "mailqueue_options", None)
    return options


def _built(email: Email) -> Message:
    # On a copy, for post_office writes OVERRIDE_RECIPIENTS into the mail that it builds.
    built = build(letter_of(copy(email), recipients=[]).build())
    parsed: Message = BytesParser(policy=policy.default).parsebytes(built.as_bytes())
    return parsed


def _part(message: Message, subtype: str) -> str:
    part = message.get_body((subtype,))
    return "" if part is None else str(part.get_content())
