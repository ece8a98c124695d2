"""Whom a mail would reach if it were queued again, and who has it already."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connections
from post_office.models import Email

from mailqueue.ops.states import MailStatus, State, states_of
from mailqueue.outbox.messages import load, recipients_of
from mailqueue.queue.history import History, read_histories

ARRIVED = frozenset({State.SENT})
PERHAPS_ARRIVED = frozenset({State.UNKNOWN})
COULD_COME_TWICE = ARRIVED | PERHAPS_ARRIVED


@dataclass(frozen=True, slots=True)
class Reach:
    """What queueing a mail again would mean to its recipients."""

    mail: Email
    status: MailStatus
    goes_to: list[str]
    """Everyone to whom it would be sent."""
    stays_with: list[str]
    """Those who have it and would not get it again."""

    @property
    def is_there(self) -> bool:
        """Those it goes to have it already."""
        return self.status.state in ARRIVED

    @property
    def may_be_there(self) -> bool:
        """Those it goes to may have it already: nobody knows."""
        return self.status.state in PERHAPS_ARRIVED


def reaches_of(email_ids: Sequence[int], *, using: str) -> list[Reach]:
    """Tell of each mail whom it would reach, newest mail first; what is gone is left out."""
    mails = load(email_ids, using=using)
    statuses = states_of(mails.values())
    with connections[using].cursor() as cursor:
        histories = read_histories(cursor, mails)
    reaches = []
    for pk in sorted(mails.keys() & statuses.keys(), reverse=True):
        recipients = recipients_of(mails[pk])
        goes_to = histories.get(pk, History()).pending(recipients)
        stays_with = [address for address in recipients if address not in goes_to]
        reaches.append(Reach(mails[pk], statuses[pk], goes_to, stays_with))
    return reaches
