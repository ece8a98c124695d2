"""Recipients who have not got a mail, what was said of each, and how they get it at another address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import connections, transaction
from post_office.models import Email

from mailqueue.delivery.outcomes import Stage, Verdict
from mailqueue.models import Attempt, AttemptOutcome
from mailqueue.ops.conditions import State
from mailqueue.ops.discretion import discreet_timeline
from mailqueue.ops.states import state_of
from mailqueue.ops.timeline import Entry, timeline_of
from mailqueue.outbox.allowed import not_allowed
from mailqueue.outbox.corrections import Place, bare, places_of, replace_recipients
from mailqueue.outbox.mailboxes import mailbox_of
from mailqueue.outbox.messages import load_rows
from mailqueue.queue.history import History, read_histories
from mailqueue.queue.orders import Agreement, lock, requeue
from mailqueue.recipient_patterns import normalised

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
        history = read_histories(cursor, [mail.pk]).get(mail.pk, History())
    try:
        places = places_of(mail)
    except ValueError:
        return [], []
    timeline = discreet_timeline(timeline_of(mail))
    without = set(history.missing([place.entry for place in places]))
    missing = [Missing(place, _answer(place, timeline)) for place in places if place.entry in without]
    return missing, [place for place in places if place.entry not in without]


def could_help(mail: Email, missing: Sequence[Missing]) -> bool:
    """Say whether another address could be what a held mail needs: one was refused last, or is not allowed."""
    if not_allowed(each.place.entry for each in missing):
        return True
    last = Attempt.objects.using(mail._state.db).filter(email=mail.pk).closed().order_by("-id").first()
    if last is None:
        return False
    results = last.recipients.values() if isinstance(last.recipients, dict) else ()
    if any(isinstance(result, dict) and result.get("verdict") == Verdict.FAIL for result in results):
        return True
    return last.outcome == AttemptOutcome.FAILED and last.stage == Stage.RCPT


def address_key(entry: str) -> str:
    """Return what two entries have in common that lead to one mailbox, upper and lower case being the same."""
    return normalised(mailbox_of(entry) or bare(entry))


def correct(email_id: int, new: Mapping[str, str], *, expected: Sequence[str], agreed: Agreement, using: str) -> bool:
    """Change recipients who have not got a mail and queue it again; return whether it could be queued.

    `expected` are the entries of those recipients as somebody saw them. Both is done or neither, also after a crash.
    What `requeue` leaves out is left as it is. Those who have the mail do not get it again.

    Raises:
        OutdatedError: they are not the same any more, the mail is in another state than it was, or a new address is
            another recipient's by now. The caller's transaction, if there is one, goes on.
    """
    with transaction.atomic(using=using):
        # From here on nobody starts to send it, and what is read does not change.
        lock([email_id], using=using)
        mail = load_rows([email_id], using=using).get(email_id)
        if mail is None:
            return False
        state = state_of(mail).state
        # Of one that is being sent, as of others that can't be queued, `requeue` says no.
        if state != State.SENDING and state not in CORRECTABLE:
            raise OutdatedError
        if not requeue([email_id], agreed=agreed, using=using):
            return False
        missing, has_it = missing_of(mail)
        if list(expected) != [each.place.entry for each in missing] or _is_taken(new, missing, has_it):
            raise OutdatedError
        replace_recipients(mail, new, using=using)
    return True


def _is_taken(new: Mapping[str, str], missing: Sequence[Missing], has_it: Sequence[Place]) -> bool:
    """Whether somebody would become a recipient twice."""
    entries = [*(each.place.entry for each in missing), *(place.entry for place in has_it)]
    staying = [address_key(entry) for entry in entries if entry not in new]
    given = [address_key(entry) for entry in new.values()]
    return len(set(given)) < len(given) or not set(given).isdisjoint(staying)


def _answer(place: Place, timeline: Sequence[Entry]) -> str:
    for entry in reversed(timeline):
        said = {result.address: result.answer for result in entry.recipients}
        if not said and entry.answer:
            return entry.answer
        if place.entry in said:
            return said[place.entry]
    return ""
