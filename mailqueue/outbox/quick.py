"""The usual mail of `mailqueue.send`, a few texts to a few addresses, made at a glance.

What it makes, the composer would make as well, in twice the time.
"""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from post_office.models import PRIORITY
from post_office.settings import get_message_id_fqdn

from mailqueue.outbox.drafts import Draft, is_watched
from mailqueue.outbox.request import Request, priority_of
from mailqueue.outbox.simple import simple_row
from mailqueue.outbox.size import is_surely_small

ARGUMENTS = frozenset(
    {"recipients", "sender", "subject", "message", "html_message", "headers", "priority", "cc", "bcc"}
)
LANES = PRIORITY._asdict()
TEXTS = frozenset({str, SafeString})


class Defaults:
    """What the settings say of a mail that does not say it itself, each read when it is first wanted."""

    @cached_property
    def sender(self) -> str:
        return str(settings.DEFAULT_FROM_EMAIL)

    @cached_property
    def priority(self) -> int:
        return priority_of(Request())

    @cached_property
    def domain(self) -> str:
        """Of the Message-ID."""
        return str(get_message_id_fqdn())

    def read(self) -> None:
        """Read all of them now: a setting may be lazy, and ask the database."""
        _ = self.sender, self.priority, self.domain


def quick_draft(given: Any, defaults: Defaults) -> Draft | None:
    """Make the draft of a mail from the arguments of `send`; None where that takes a closer look."""
    if type(given) is not dict or not given.keys() <= ARGUMENTS or is_watched():
        return None
    get = given.get
    texts = get("subject", ""), get("message", ""), get("html_message", "")
    to, cc, bcc = _listed(get("recipients")), _listed(get("cc")), _listed(get("bcc"))
    headers, sender = get("headers"), get("sender")
    priority = _lane(get("priority"), defaults)
    if to is None or cc is None or bcc is None or priority is None or not (to or cc or bcc):
        return None
    if not (_are_texts(texts) and (sender is None or type(sender) in TEXTS)):
        return None
    if not (headers is None or type(headers) is dict):
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
        priority=priority,
    )
    return made if made and is_surely_small(made.email) else None


def _listed(given: Any) -> Sequence[str] | None:
    """Return addresses as a list; None for anything but one text or a list of texts."""
    if given is None:
        return ()
    if type(given) in TEXTS:
        return [given]
    return given if type(given) in (list, tuple) and _are_texts(given) else None


def _are_texts(values: Sequence[Any]) -> bool:
    """Whether all are texts that str() leaves as they are."""
    return TEXTS.issuperset(map(type, values))


def _lane(priority: Any, defaults: Defaults) -> int | None:
    """Return a priority that is given by its name, or that of the settings; None where it is anything else."""
    if priority is not None:
        return LANES.get(priority) if type(priority) is str else None
    try:
        return defaults.priority
    except ValueError:
        return None
