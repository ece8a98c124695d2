"""Who of a mail's recipients has it, who waits for it, and who was refused, by what its attempts say."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from post_office.settings import get_override_recipients

from mailqueue.delivery.outcomes import Verdict
from mailqueue.models import Attempt
from mailqueue.outbox.mailboxes import spelling_of
from mailqueue.outbox.messages import Mail, load_rows, recipients_of
from mailqueue.queue.history import History, read_histories


@dataclass(frozen=True, slots=True)
class Recipients:
    """The recipients of a mail that did not fare alike."""

    having: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """With what the server said."""


def answer_to(result: Mapping[str, Any]) -> str:
    """Return what a server said of a recipient, from what an attempt noted of it."""
    return " ".join(str(result[key]) for key in ("code", "enhanced", "reply") if result.get(key))


def recipients_by_mail(email_ids: Sequence[int], *, under_way: Collection[int], using: str) -> dict[int, Recipients]:
    """Tell of those mails that some recipients have, and others have not; those `under_way` are tried again."""
    with connections[using].cursor() as cursor:
        histories = read_histories(cursor, email_ids)
    ids = [pk for pk, history in histories.items() if history.accepted and not history.is_damaged]
    if not ids:
        return {}
    refusals = _last_refusals(ids, using=using)
    mails = load_rows(ids, using=using)
    return {
        pk: _told(_everybody(mail, histories[pk], refusals[pk]), histories[pk], refusals[pk], pk in under_way)
        for pk, mail in mails.items()
    }


def _everybody(mail: Mail, history: History, refusals: Mapping[str, str]) -> list[str]:
    """Return the recipients of a mail, and those of its attempts that are not among them any more."""
    own = [] if get_override_recipients() else recipients_of(mail)
    by_mailbox = {spelling_of(address): address for address in [*refusals, *sorted(history.accepted), *reversed(own)]}
    return sorted(by_mailbox.values(), key=lambda address: own.index(address) if address in own else len(own))


def _told(recipients: Sequence[str], history: History, refusals: Mapping[str, str], is_under_way: bool) -> Recipients:
    answers = {spelling_of(address): answer for address, answer in refusals.items()}
    others = history.missing(recipients)
    if is_under_way:
        waiting = history.pending(recipients)
    else:
        waiting = [address for address in others if spelling_of(address) not in answers]
    return Recipients(
        having=[address for address in recipients if address not in others],
        waiting=waiting,
        refused={address: answers.get(spelling_of(address), "") for address in others if address not in waiting},
    )


def _last_refusals(email_ids: Sequence[int], *, using: str) -> dict[int, dict[str, str]]:
    """Return what was said, by mail, of those recipients who were refused for good when they were last tried."""
    attempts = Attempt.objects.using(using).filter(email__in=email_ids, recipients__isnull=False).order_by("id")
    last: dict[int, dict[str, Any]] = {pk: {} for pk in email_ids}
    for email_id, results in attempts.values_list("email_id", "recipients"):
        last[email_id] |= results or {}
    return {
        pk: {address: answer_to(one) for address, one in results.items() if one.get("verdict") == Verdict.FAIL}
        for pk, results in last.items()
    }
