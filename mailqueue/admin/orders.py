"""What people order for mail, in words, and how it is carried out on any number of mails."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from mailqueue.admin.record import record
from mailqueue.ops.forecast import Order, Reason, batches, why_left
from mailqueue.queue.orders import Agreement, cancel, hold, requeue, requeue_held


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """By whom an order is given, and with what."""

    user_id: int
    by: str
    note: str = ""
    agreed: Agreement = field(default_factory=Agreement)
    """Mails that may come a second time: somebody was asked about each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One order: its permission, its words, and what does it. Texts are lazy."""

    order: Order
    permission: str
    question: Any
    """The title of the page that asks."""
    will: Any
    """What will happen to `count` mails."""
    submit: Any
    done: Any
    """What happened to `count` mails."""
    entry: Any
    """What the admin's log says."""
    carry_out: Callable[[Sequence[int], Given, str], list[int]]
    """Do it to mails, by a database alias, and return the ids of those to which it was done."""
    takes_note: bool = False


ACTS = {
    act.order: act
    for act in (
        Act(
            order=Order.REQUEUE,
            permission="mailqueue.requeue_mail",
            question=_("Send again?"),
            will=ngettext_lazy(
                "%(count)d mail will be queued again and sent as soon as a sender is free.",
                "%(count)d mails will be queued again and sent as soon as a sender is free.",
                "count",
            ),
            submit=_("Yes, send again"),
            done=ngettext_lazy("%(count)d mail was queued again.", "%(count)d mails were queued again.", "count"),
            entry=_("Requeued."),
            carry_out=lambda ids, given, using: requeue(ids, agreed=given.agreed, using=using),
        ),
        Act(
            order=Order.RELEASE,
            permission="mailqueue.hold_mail",
            question=_("Release?"),
            will=ngettext_lazy(
                "%(count)d held mail will be put back into the queue.",
                "%(count)d held mails will be put back into the queue.",
                "count",
            ),
            submit=_("Yes, release"),
            done=ngettext_lazy("%(count)d mail was released.", "%(count)d mails were released.", "count"),
            entry=_("Released."),
            carry_out=lambda ids, given, using: requeue_held(ids, agreed=given.agreed, using=using),
        ),
        Act(
            order=Order.CANCEL,
            permission="mailqueue.cancel_mail",
            question=_("Cancel?"),
            will=ngettext_lazy(
                "%(count)d mail will be taken out of the queue for good.",
                "%(count)d mails will be taken out of the queue for good.",
                "count",
            ),
            submit=_("Yes, cancel"),
            done=ngettext_lazy("%(count)d mail was cancelled.", "%(count)d mails were cancelled.", "count"),
            entry=_("Cancelled."),
            carry_out=lambda ids, given, using: cancel(ids, by=given.by, using=using),
        ),
        Act(
            order=Order.HOLD,
            permission="mailqueue.hold_mail",
            question=_("Hold?"),
            will=ngettext_lazy(
                "%(count)d mail will be taken out of the queue until somebody releases it.",
                "%(count)d mails will be taken out of the queue until somebody releases them.",
                "count",
            ),
            submit=_("Hold"),
            done=ngettext_lazy("%(count)d mail is held now.", "%(count)d mails are held now.", "count"),
            entry=_("Held."),
            carry_out=lambda ids, given, using: hold(ids, note=given.note, by=given.by, using=using),
            takes_note=True,
        ),
    )
}


@dataclass(slots=True)
class Result:
    """What came of an order."""

    count: int = 0
    """Mails it was carried out on."""
    left: Counter[Reason] = field(default_factory=Counter)
    """How many were left as they are, by the reason."""
    error: str = ""
    """What the database said when it refused to go on. Mails that come after the last of `count` are untouched."""


def carry_out(act: Act, email_ids: Sequence[int], given: Given, *, using: str) -> Result:
    """Carry an order out on mails, which come in order, one transaction for each batch of them.

    After a crash at any point, whole batches are done and on the record, and all others untouched; to give the order
    again does the rest.
    """
    result = Result()
    for batch in batches(email_ids):
        try:
            with transaction.atomic(using=using):
                done = act.carry_out(batch, given, using)
                record(done, _entry(act, given), user_id=given.user_id)
        except DatabaseError as error:
            if connections[using].in_atomic_block:  # of the caller: then nothing at all was done
                raise
            result.error = str(error)
            break
        result.count += len(done)
        result.left += why_left(act.order, sorted(set(batch).difference(done)), using=using)
    return result


def _entry(act: Act, given: Given) -> str:
    return f"{act.entry} {given.note}".strip()
