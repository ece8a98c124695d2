"""What a person is asked before an order is carried out, and how the answer comes back with what was asked."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core import signing
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from post_office.models import Email

from mailqueue.admin.orders import Act
from mailqueue.ops.forecast import Forecast, Reason, forecast
from mailqueue.ops.reach import reaches_of
from mailqueue.ops.states import State
from mailqueue.queue.orders import Agreement

FIELD = "asked"
ANSWER_SECONDS = 3600
"""Whoever answers later looks again first: what was true then may not be so any more."""
LISTED_COUNT = 20
NOTE_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person who says yes has been told."""

    count: int
    """How many mails the order would be carried out on."""
    agreed: Agreement
    """Those of them that could come twice."""


def sealed(act: Act, request: HttpRequest, found: Forecast) -> str:
    """Return what was asked, to be posted with the answer by the same person, and soon.

    A hundred thousand mails take some hundred kilobytes.
    """
    steps = [pk - before for before, pk in zip([0, *found.twice], found.twice, strict=False)]
    return signing.dumps([found.count, found.up_to, steps], salt=_salt(act, request), compress=True)


def asked(act: Act, request: HttpRequest) -> Asked | None:
    """Return what was asked before this answer; None: nobody was, or somebody else, or more than an hour ago."""
    answer = request.POST.get(FIELD, "")
    try:
        count, up_to, steps = signing.loads(answer, salt=_salt(act, request), max_age=ANSWER_SECONDS)
    except signing.BadSignature:
        return None
    return Asked(count, Agreement(frozenset(accumulate(steps)), up_to))


def say_unanswered(request: HttpRequest) -> None:
    """Say why a question comes again, where there was an answer to it."""
    if request.POST.get(FIELD):
        text = _("That answer does not count: it came more than an hour after the question, or from somebody else.")
        messages.warning(request, text)


def _salt(act: Act, request: HttpRequest) -> str:
    return f"mailqueue.asked.{act.order}.{request.user.pk}"


def has_to_ask(act: Act, email_ids: Sequence[int], *, is_all: bool, using: str) -> bool:
    """Whether an order must not be carried out before somebody has seen what it does."""
    if is_all or act.takes_note:
        return True
    return bool(forecast(act.order, email_ids, using=using).twice)


def ids_of(mails: QuerySet[Email]) -> Sequence[int]:
    """Read the ids of all these mails, in order, into eight bytes each."""
    # A cursor that is read to its end in one transaction works behind a pooler too.
    with transaction.atomic(using=mails.db):
        return array("q", mails.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=10_000))


def question(act: Act, request: HttpRequest, email_ids: Sequence[int], *, is_all: bool, using: str) -> dict[str, Any]:
    """Return what the page says that asks whether to carry out an order on these mails."""
    found = forecast(act.order, email_ids, using=using)
    shown = _shown(act, email_ids, found, is_all=is_all)
    of_all = len(found.twice) if is_all else len(email_ids)
    is_selection = ACTION_CHECKBOX_NAME in request.POST
    selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
    return {
        "title": act.question,
        "act": act,
        "total_count": found.count,
        "will": act.will % {"count": found.count},
        "twice": _twice(found, is_one=len(email_ids) == 1) if found.twice else "",
        "left": [text for _, text in left_sentences(found.left)],
        "reaches": reaches_of(shown, using=using),
        "unlisted_count": of_all - len(shown) if act.order.is_queueing else 0,
        "field": FIELD,
        "asked": sealed(act, request, found),
        "note": request.POST.get("note", ""),
        "note_limit": NOTE_LIMIT,
        "is_selection": is_selection,
        "checkbox_name": ACTION_CHECKBOX_NAME,
        # Of a whole filter no numbers are posted: it is in the address. But Django wants to see one.
        "selected": selected[:1] if is_all else selected,
        "select_across": "1" if is_all else "0",
    }


def _shown(act: Act, email_ids: Sequence[int], found: Forecast, *, is_all: bool) -> list[int]:
    """Choose the mails that are listed one by one: those that could come twice before all others, the newest first."""
    if not act.order.is_queueing:
        return []
    shown = found.twice[: -LISTED_COUNT - 1 : -1]
    if not is_all:
        others = set(email_ids).difference(found.twice)
        shown += sorted(others, reverse=True)[: LISTED_COUNT - len(shown)]
    return shown


def _twice(found: Forecast, *, is_one: bool) -> str:
    if is_one:
        return _("It could come a second time to somebody who has it, or may have it.")
    text = ngettext(
        "%(count)d of them could come a second time to somebody who has it, or may have it.",
        "%(count)d of them could come a second time to somebody who has them, or may have them.",
        len(found.twice),
    )
    return text % {"count": len(found.twice)}


def left_sentences(left: Mapping[Reason, int]) -> Iterator[tuple[Reason, str]]:
    """Say how many mails are left as they are, for each reason; those that are being sent come first."""
    for reason, count in sorted(left.items(), key=lambda entry: _place(entry[0])):
        if reason == State.SENDING:
            text = ngettext(
                "%(count)d mail is being sent right now and is left as it is. Try again when the attempt has ended.",
                "%(count)d mails are being sent right now and are left as they are. "
                "Try again when their attempts have ended.",
                count,
            )
        elif isinstance(reason, State):
            text = ngettext(
                "%(count)d mail is left as it is, for its state does not allow it: %(reason)s.",
                "%(count)d mails are left as they are, for their state does not allow it: %(reason)s.",
                count,
            )
        else:
            text = ngettext(
                "%(count)d mail is left as it is: %(reason)s.",
                "%(count)d mails are left as they are: %(reason)s.",
                count,
            )
        yield reason, text % {"count": count, "reason": reason.label}


def _place(reason: Reason) -> tuple[bool, bool, str]:
    return reason != State.SENDING, isinstance(reason, State), reason
