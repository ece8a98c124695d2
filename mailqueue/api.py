"""What a program may order and ask about mail that is queued: cancel, hold, requeue, state. Decides nothing itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, overload

from django.db import router
from django.db.models import Manager, Model, QuerySet
from post_office.models import Email

from mailqueue.models import MailOptions
from mailqueue.ops.states import MailStatus, states_by_id
from mailqueue.outbox.refs import ref_text
from mailqueue.queue import orders

NAME_LIMIT = 255


def cancel(mails: Email | Iterable[Email] | None = None, *, ref: Any = None, by: str = "") -> list[int]:
    """Take mail out of the queue for good, held mail too, in the caller's transaction: it will not be sent.

    Give the mails, or the `ref` that they were sent with. Return the primary keys of those that were in the queue or
    held, in ascending order. Left out are all others (sent, failed, cancelled …), and those that are being sent right
    now. `by` says in the admin who did it.

    Raises:
        TypeError: neither or both of `mails` and `ref`, or something else than mails.
        ValueError: a mail that is not saved, mails of several databases, a `ref` or `by` that can't be stored.
    """
    chosen = _chosen(mails, ref)
    return orders.cancel(chosen.ids, by=_text("by", by, limit=NAME_LIMIT), using=chosen.using)


def hold(mails: Email | Iterable[Email] | None = None, *, ref: Any = None, by: str = "", note: str = "") -> list[int]:
    """Take mail out of the queue until somebody requeues it, in the caller's transaction.

    Arguments, result and errors are those of `cancel`; what is held already is left out. `note` says in the admin why.
    """
    chosen = _chosen(mails, ref)
    name, reason = _text("by", by, limit=NAME_LIMIT), _text("note", note)
    return orders.hold(chosen.ids, note=reason, by=name, using=chosen.using)


def requeue(mails: Email | Iterable[Email] | None = None, *, ref: Any = None) -> list[int]:
    """Queue mail again, in the caller's transaction; it is sent as soon as a sender is free.

    A mail that was sent in full goes to everybody again, one that was partly sent to those who do not have it. A mail
    that was held before its scheduled time and before any attempt keeps that time. Arguments and errors are those of
    `cancel`. Return the primary keys of those that were queued, in ascending order. Left out are mails that are being
    sent right now, those that are `interrupted`, those whose `expires_at` has passed, and those whose content
    is no longer kept.
    """
    chosen = _chosen(mails, ref)
    return orders.requeue(chosen.ids, using=chosen.using)


@overload
def state(mails: Iterable[Email]) -> dict[int, MailStatus]: ...
@overload
def state(mails: Email) -> MailStatus: ...
@overload
def state(*, ref: Any) -> dict[int, MailStatus]: ...
def state(mails: Email | Iterable[Email] | None = None, *, ref: Any = None) -> MailStatus | dict[int, MailStatus]:
    """Describe mail as the database knows it now: one mail, or several by primary key, without those that are gone.

    Raises:
        Email.DoesNotExist: the one mail is no longer in the database.
        TypeError, ValueError: as `cancel`.
    """
    chosen = _chosen(mails, ref)
    described = states_by_id(chosen.ids, using=chosen.using)
    if not isinstance(mails, Email):
        return described
    if mails.pk not in described:
        raise Email.DoesNotExist(f"Mail {mails.pk} is not in the database {chosen.using!r}.")
    return described[mails.pk]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which mails are meant, and where they are."""

    ids: list[int]
    using: str


def _chosen(mails: Any, ref: Any) -> _Chosen:
    if (mails is None) == (ref is None):
        raise TypeError("Give mails or ref, one of them: an Email, a QuerySet of Email, or ref=order.")
    if ref is not None:
        return _of_ref(ref)
    if isinstance(mails, Email):
        return _of_mails([mails])
    if isinstance(mails, QuerySet):
        return _of_queryset(mails)
    if isinstance(mails, Iterable) and not isinstance(mails, str | bytes):
        return _of_mails(list(mails))
    raise _wrong(mails)


def _of_ref(ref: Any) -> _Chosen:
    using = router.db_for_write(Email)
    options = MailOptions.objects.using(using).filter(ref=ref_text(ref)).order_by("pk")
    return _Chosen(list(options.values_list("pk", flat=True)), using)


def _of_queryset(mails: "QuerySet[Any]") -> _Chosen:
    if not issubclass(mails.model, Email):
        raise _wrong(mails)
    # `mails.db` would be where to read it from: perhaps a replica.
    using = mails._db or router.db_for_write(Email, **mails._hints)  # type: ignore[attr-defined]
    return _Chosen(list(mails.using(using).values_list("pk", flat=True)), using)


def _of_mails(mails: list[Any]) -> _Chosen:
    for mail in mails:
        if not isinstance(mail, Email):
            raise _wrong(mail)
    ids = [_pk(mail) for mail in mails]
    aliases = sorted({router.db_for_write(Email, instance=mail) for mail in mails})
    if len(aliases) > 1:
        raise ValueError(f"These mails are in several databases ({', '.join(aliases)}): call once for each.")
    return _Chosen(ids, aliases[0] if aliases else router.db_for_write(Email))


def _pk(mail: Email) -> int:
    if mail.pk is None:
        raise ValueError("This mail is not saved: it has no primary key yet.")
    pk: int = mail.pk
    return pk


def _wrong(value: Any) -> TypeError:
    remedy = "give an Email, a QuerySet of Email or an iterable of Emails"
    if isinstance(value, int):
        remedy = f"give a QuerySet, Email.objects.filter(pk={value})"
    elif isinstance(value, Manager):
        remedy = "give a QuerySet, by .all()"
    elif isinstance(value, Model):
        remedy = "for the mail about a business object give it as ref=…"
    return TypeError(f"{value!r} is no mail: {remedy}.")


def _text(name: str, value: Any, *, limit: int | None = None) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, not {value!r}: give {name}=str(…).")
    if limit is not None and len(value) > limit:
        raise ValueError(f"{name} must have at most {limit} characters, not {len(value)}.")
    if "\0" in value:
        raise ValueError(f"{name} {value!r} holds a NUL character, which the database can't store.")
    return value
