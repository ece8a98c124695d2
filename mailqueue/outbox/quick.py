"""The usual mail of `mailqueue.send`, a few texts to a few addresses, made at a glance.

What it makes, the composer would make as well, in twice the time.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.conf import settings
from django.utils.safestring import SafeString
from post_office.settings import get_message_id_fqdn

from mailqueue.outbox.drafts import Draft
from mailqueue.outbox.request import Request, priority_of
from mailqueue.outbox.simple import simple_row
from mailqueue.outbox.size import is_surely_small

ARGUMENTS = frozenset(
    {"recipients", "sender", "subject", "message", "html_message", "headers", "priority", "cc", "bcc"}
)
TEXTS = (str, SafeString)


class Defaults(NamedTuple):
    """What the settings say of a mail that does not say it itself."""

    sender: str
    priority: int
    domain: str
    """Of the Message-ID."""


def read_defaults() -> Defaults:
    """Read the settings, of which one may be lazy, and ask the database."""
    return Defaults(
        sender=str(settings.DEFAULT_FROM_EMAIL),
        priority=priority_of(Request()),
        domain=str(get_message_id_fqdn()),
    )


def quick_draft(given: Any, defaults: Defaults) -> Draft | None:
    """Make the draft of a mail from the arguments of `send`; None where it takes a closer look.

    Raises:
        ValueError: there is no such priority.
    """
    if type(given) is not dict or not given.keys() <= ARGUMENTS:
        return None
    get = given.get
    texts = get("subject", ""), get("message", ""), get("html_message", "")
    to, cc, bcc = _listed(get("recipients")), _listed(get("cc")), _listed(get("bcc"))
    headers, sender, priority = get("headers"), get("sender"), get("priority")
    if to is None or cc is None or bcc is None or not (to or cc or bcc):
        return None
    if any(type(text) not in TEXTS for text in texts) or not (headers is None or type(headers) is dict):
        return None
    subject, body, html = texts
    made = simple_row(
        subject=subject,
        body=body,
        html=html,
        from_email=defaults.sender if sender is None else sender,
        to=to,
        cc=cc,
        bcc=bcc,
        headers=headers or {},
        domain=defaults.domain,
        priority=defaults.priority if priority is None else priority_of(Request(priority=priority)),
    )
    return made if made and is_surely_small(made.email) else None


def _listed(given: Any) -> Sequence[Any] | None:
    """Return addresses as a list; None for anything but one text or a list of what may be texts."""
    if given is None:
        return ()
    if type(given) is str:
        return [given]
    return given if type(given) in (list, tuple) else None
