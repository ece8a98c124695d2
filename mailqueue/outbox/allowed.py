"""Whom mail may be sent to from here: on a copy of the site that must not write to its customers, not to everybody."""

from collections.abc import Iterable, Sequence

from post_office.settings import get_override_recipients

from mailqueue.conf import configuration
from mailqueue.outbox.mailboxes import mailbox_of
from mailqueue.recipient_patterns import allows

NAMED = 3


def not_allowed(recipients: Iterable[str]) -> list[str]:
    """Return those envelope recipients that ALLOWED_RECIPIENTS does not allow. What is no address is not allowed."""
    patterns = configuration().ALLOWED_RECIPIENTS
    if patterns is None:
        return []
    return [address for address in recipients if not allows(patterns, mailbox_of(str(address)))]


def would_be_held(address: str) -> bool:
    """Say whether mail to this address alone is held, with what OVERRIDE_RECIPIENTS of post_office makes of it."""
    return bool(not_allowed(get_override_recipients() or [address]))


def why_held(strangers: Sequence[str]) -> str:
    """Say in a sentence why a mail is held that would go to these."""
    named = ", ".join(strangers[:NAMED])
    more = f" and {len(strangers) - NAMED} more" if len(strangers) > NAMED else ""
    return (
        f'MAILQUEUE["ALLOWED_RECIPIENTS"] did not allow {named}{more} when it was due. '
        "Until it does, whoever queues this mail again has it held again."
    )
