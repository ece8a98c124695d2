"""Under which id a server, or a mail service, knows the mail that it took: read from its last reply. Pure."""

import re

from mailqueue.delivery.outcomes import Reply

LENGTH = 255

_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bqueued as:? <?([^\s<>;,]+)",  # Postfix, Mailjet, Halon
        r"\[InternalId=(\w+)",  # Exchange, before the next, which it says too
        r"^<([^\s<>]+)>.* Queued mail for delivery",  # Exchange
        r"\bid=<?([^\s<>;,\]]+)",  # Exim, Amavis
        r"\bqueued \(([^\s()]+)\)",  # Haraka
        r"^ok:? (?:\d{9,11} )?(\S+) - gsmtp",  # Gmail
        r"^(\S+) Message accepted for delivery",  # sendmail, OpenSMTPD
        r"\bMessage (\S*\d\S*) accepted",  # IronPort
        r"\bqp (\d+)",  # qmail
        r"^<[^\s<>]+> (\S+) Saved",  # LMTP of Dovecot
        r"^ok:? ((?=\S*\d)\S{6,})$",  # Amazon SES, SparkPost
    )
)


def queue_id(reply: Reply) -> str:
    """Return the id in the reply to a final dot, "" where it names none."""
    for pattern in _PATTERNS:
        if match := pattern.search(reply.text):
            return storable_id(match[1].rstrip(".,;"))
    return ""


def storable_id(text: str) -> str:
    """Make what a service calls its id fit for the database."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:LENGTH]
