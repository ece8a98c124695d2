"""Recipients who have not got a mail, what was said of each, and how they get it at another address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import connections, transaction
from post_office.models import Email

from mailqueue.ops.conditions import State
from mailqueue.ops.discretion import discreet_timeline
from mailqueue.ops.timeline import Entry, timeline_of
from mailqueue.outbox.corrections import Place, places_of, replace_recipients
from mailqueue.outbox.messages import load_rows
from mailqueue.queue.history import History, read_histories
from mailqueue.queue.orders import Agreement, requeue

CORRECTABLE = frozenset({State.FAILED, State.PARTLY_SENT, State.HELD})


class OutdatedError(Exception):
    """The mail has other recipients, or others have got it, than when somebody looked."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A recipient who has not got the mail."""

    place: Place
    answer: str
    """What was said of it last."""


def missing_of(mail: Email) -> tuple[list[Missing], list[Place]]:
    """Return who has not got a loaded mail, and who has; neither where what is kept beside the row is damaged."""
    using = mail._state.db
    with connections[using].cursor() as cursor:
        accepted = read_histories(cursor, [mail.pk]).get(mail.pk, History()).accepted
    try:
        places = places_of(mail)
    except ValueError:
        return [], []
    timeline = discreet_timeline(timeline_of(mail))
    missing = [Missing(place, _answer(place, timeline)) for place in places if place.entry not in accepted]
    return missing, [place for place in places if place.entry in accepted]


def correct(email_id: int, new: Mapping[str, str], *, expected: Sequence[str], agreed: Agreement, using: str) -> bool:
    """Change recipients who have not got a mail and queue it again; return whether it could be queued.

    `expected` are the entries of those recipients as somebody saw them. Both is done or neither, also after a crash.
    What `requeue` leaves out is left as it is. Those who have the mail do not get it again.

    Raises:
        OutdatedError: they are not the same any more. The caller's transaction, if there is one, goes on.
    """
    with transaction.atomic(using=using):
        # From here on the row is locked: nobody starts to send it, and what is read does not change.
        if not requeue([email_id], agreed=agreed, using=using):
            return False
        mail = load_rows([email_id], using=using)[email_id]
        missing, _ = missing_of(mail)
        if list(expected) != [each.place.entry for each in missing]:
            raise OutdatedError
        replace_recipients(mail, new, using=using)
    return True


def _answer(place: Place, timeline: Sequence[Entry]) -> str:
    for entry in reversed(timeline):
        said = {result.address: result.answer for result in entry.recipients}
        if not said and entry.answer:
            return entry.answer
        if place.entry in said:
            return said[place.entry]
    return ""
