"""Forgetting somebody: mail that went to him alone is deleted, of all other mail his address and what it says go."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _
from post_office.models import STATUS, Email

from mailqueue.outbox.messages import ADDRESS_COLUMNS, load_rows, source_of
from mailqueue.outbox.person import Person
from mailqueue.queue.drop import drop_contents
from mailqueue.queue.orders import cancel
from mailqueue.queue.purge import ENDINGS, ROWS, delete
from mailqueue.queue.redact import redact
from mailqueue.queue.traces import mails_that_name
from mailqueue.queue.work import work

BATCH = 200

# Whoever acts on one of them at this moment has locked it: it is left to him.
LOCK = "SELECT id FROM post_office_email WHERE id = ANY(%s) ORDER BY id FOR UPDATE SKIP LOCKED"
# A proof that comes late locks the attempt before the mail: it is not waited for.
LOCK_ATTEMPTS = "SELECT id FROM mailqueue_attempt WHERE email_id = ANY(%s) ORDER BY id FOR UPDATE SKIP LOCKED"
HELD_BY_OTHERS = "SELECT email_id FROM mailqueue_attempt WHERE email_id = ANY(%s) AND NOT id = ANY(%s)"
STANDING = f"""
SELECT e.id, {" OR ".join(f"({ending})" for ending in ENDINGS.values())},
    e.status IN ({STATUS.queued}, {STATUS.requeued}),
    EXISTS (SELECT FROM mailqueue_attempt a
        WHERE a.email_id = e.id AND a.finished_at IS NULL AND a.started_at IS NOT NULL),
    e.status IS NULL AND e.last_updated > now() - interval '1 hour'
FROM {ROWS} WHERE e.id = ANY(%s)
"""


class Fate(models.TextChoices):
    """What becomes of a mail that names somebody who is to be forgotten."""

    DELETED = "deleted", _("it went to nobody else: it is deleted")
    REDACTED = "redacted", _("others have it, or are in it: it loses the address and what it says")
    UNSENT = "unsent", _("it may still be sent, to nobody else")
    SHARED = "shared", _("it may still be sent, to others too: forget again when it is done with")
    YOUNG = "young", _("post_office may be sending it by itself: forget again an hour after it was last changed")
    BUSY = "busy", _("it is being sent, or somebody works on it: forget again in a moment")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a mail stands, as its rows say."""

    is_over: bool
    is_queued: bool
    is_started: bool
    is_young: bool
    """post_office made it to send it at once: who does that holds the row in memory, and writes it at the end."""


@dataclass(slots=True)
class Forgotten:
    """What a part of the work came to."""

    deleted: int = 0
    redacted: int = 0
    left: dict[int, Fate] = field(default_factory=dict)


def survey(person: Person, *, using: str) -> dict[int, Fate]:
    """Return what would become of every mail that names him. Reads all tables of mail once, and locks nothing."""
    found: dict[int, Fate] = {}
    for email_ids in mails_that_name(person, using=using):
        new = [email_id for email_id in email_ids if email_id not in found]
        for start in range(0, len(new), BATCH):
            with work(using) as cursor:
                found |= _fates(cursor, person, new[start : start + BATCH])
    return found


def forget(
    person: Person, email_ids: Collection[int], *, with_unsent: bool, by: str, using: str, batch: int = BATCH
) -> Iterator[Forgotten]:
    """Forget him in these mails, and say what came of it, batch by batch.

    Each batch is a transaction: after a crash those before it are done, and the same call does the rest. Mail that may
    still be sent is left as it is; `with_unsent`, what goes to him alone is cancelled and deleted. What a row of a
    project keeps from being deleted loses his address and what it says.
    """
    ordered = sorted(email_ids)
    for start in range(0, len(ordered), batch):
        part = ordered[start : start + batch]
        if with_unsent:
            cancel(_alone(person, part, using=using), by=by, using=using)
        with work(using) as cursor:
            yield _forget(cursor, person, part, with_unsent=with_unsent)


def _forget(cursor: Any, person: Person, email_ids: Sequence[int], *, with_unsent: bool) -> Forgotten:
    fates = _fates(cursor, person, _lock(cursor, email_ids), with_unsent=with_unsent)
    left = dict.fromkeys(_there(cursor, set(email_ids) - fates.keys()), Fate.BUSY)
    doomed = [email_id for email_id, fate in fates.items() if fate == Fate.DELETED]
    if doomed:
        delete(cursor, doomed, drops_attachments=True)
    kept = _there(cursor, doomed)
    redacted = [email_id for email_id, fate in fates.items() if fate == Fate.REDACTED] + kept
    if redacted:
        drop_contents(cursor, redacted, keeps_subject=False)
        redact(cursor, person, redacted)
    left |= {email_id: fate for email_id, fate in fates.items() if fate not in {Fate.DELETED, Fate.REDACTED}}
    return Forgotten(len(doomed) - len(kept), len(redacted), left)


def _lock(cursor: Any, email_ids: Sequence[int]) -> list[int]:
    """Lock mails, then their attempts, and return those that are now nobody else's."""
    cursor.execute(LOCK, [list(email_ids)])
    locked = [email_id for (email_id,) in cursor.fetchall()]
    cursor.execute(LOCK_ATTEMPTS, [locked])
    cursor.execute(HELD_BY_OTHERS, [locked, [attempt_id for (attempt_id,) in cursor.fetchall()]])
    others = {email_id for (email_id,) in cursor.fetchall()}
    return [email_id for email_id in locked if email_id not in others]


def _there(cursor: Any, email_ids: Collection[int]) -> list[int]:
    mails = Email.objects.using(cursor.db.alias).filter(pk__in=email_ids)
    return list(mails.order_by("pk").values_list("pk", flat=True))


def _alone(person: Person, email_ids: Sequence[int], *, using: str) -> list[int]:
    return [email_id for email_id, mail in load_rows(email_ids, using=using).items() if _is_alone(person, mail)]


def _is_alone(person: Person, mail: Email) -> bool:
    recipients = _recipients(mail)
    return bool(recipients) and all(map(person.is_meant, recipients))


def _recipients(mail: Email) -> list[str]:
    """Return everybody whom the rows of a mail name as its recipient: people and programs may change tables."""
    source = source_of(mail)
    parts = source.parts if source and isinstance(source.parts, dict) else {}
    lists = [mail.to, mail.cc, mail.bcc, source and source.recipients, *(parts.get(name) for name in ADDRESS_COLUMNS)]
    return [str(address) for addresses in lists if isinstance(addresses, list) for address in addresses]


def _fates(cursor: Any, person: Person, email_ids: Sequence[int], *, with_unsent: bool = False) -> dict[int, Fate]:
    """Return the fate of each that names him."""
    cursor.execute(STANDING, [list(email_ids)])
    standings = {email_id: Standing(*standing) for email_id, *standing in cursor.fetchall()}
    mails = load_rows(email_ids, using=cursor.db.alias)
    named = {pk: mail for pk, mail in mails.items() if pk in standings}
    return {pk: _fate(person, mail, standings[pk], with_unsent=with_unsent) for pk, mail in named.items()}


def _fate(person: Person, mail: Email, standing: Standing, *, with_unsent: bool) -> Fate:
    if standing.is_started or standing.is_young:
        return Fate.BUSY if standing.is_started else Fate.YOUNG
    is_alone = _is_alone(person, mail)
    if standing.is_over or (is_alone and with_unsent and not standing.is_queued):
        return Fate.DELETED if is_alone else Fate.REDACTED
    return Fate.UNSENT if is_alone else Fate.SHARED
