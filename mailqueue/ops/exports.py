"""Lists of mail as CSV, for spreadsheets and programs: who was written to, when, and what became of it.

Never what a mail says, and nothing at all of sensitive mail.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from io import StringIO
from typing import Any

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast
from django.utils.timezone import localtime
from post_office.models import PRIORITY, Email

from mailqueue.delivery.backends import canonical
from mailqueue.models import Attempt
from mailqueue.ops.discretion import discreet_answer
from mailqueue.ops.states import MailStatus, states_by_id
from mailqueue.ops.subjects import subject_of

BATCH = 1000
BYTE_ORDER_MARK = "\ufeff"
"""By which Excel knows that it is UTF-8."""
FORMULA = re.compile(r'(^|[;\t\r\n])(?=[\s"]*[=+@\uff1d\uff0b\uff0d\uff20-])|^(?=[\t\r\n])')
"""Where a spreadsheet may take what follows for a formula: at the beginning of a cell, and behind what ends one where
semicolons or tabs do that. A quote there opens a cell as well as nothing does; signs of full width are the same signs
to a spreadsheet that speaks Japanese."""
COLUMNS = (
    "id",
    "state",
    "created",
    "scheduled",
    "to",
    "cc",
    "bcc",
    "subject",
    "backend",
    "priority",
    "attempts",
    "last_attempt",
    "code",
    "enhanced_code",
    "reply",
    "message_id",
)


def exportable(mails: QuerySet[Email]) -> QuerySet[Email]:
    """Leave out what is sensitive."""
    return mails.exclude(mailqueue_options__is_sensitive=True)


def csv_of(email_ids: Sequence[int], *, using: str) -> Iterator[str]:
    """Give these mails as CSV, `BATCH` of them at a time, in the order given, as each is when it is read.

    Between the batches nothing is held of the database. What is gone, or sensitive, is left out.
    """
    yield BYTE_ORDER_MARK + _text([COLUMNS])
    for start in range(0, len(email_ids), BATCH):
        yield _text(_rows(email_ids[start : start + BATCH], using=using))


def harmless(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula."""
    return FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def _text(rows: Sequence[Sequence[Any]]) -> str:
    buffer = StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([harmless(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _rows(email_ids: Sequence[int], *, using: str) -> list[list[Any]]:
    mails = (
        exportable(Email.objects.using(using).filter(pk__in=list(email_ids)))
        .select_related("template")
        .defer("message", "html_message", "headers")
        .annotate(to_text=Cast("to", TextField()), cc_text=Cast("cc", TextField()), bcc_text=Cast("bcc", TextField()))
    )
    found = {mail.pk: mail for mail in mails}
    statuses = states_by_id(found, using=using)
    started = Attempt.objects.using(using).filter(email__in=list(found)).exclude(started_at=None)
    last = {attempt.email_id: attempt for attempt in started.order_by("email", "-id").distinct("email")}
    return [_row(found[pk], statuses[pk], last.get(pk)) for pk in email_ids if pk in statuses]


def _row(mail: Any, status: MailStatus, attempt: Attempt | None) -> list[Any]:
    return [
        mail.pk,
        status.state.value,
        _time(mail.created),
        _time(mail.scheduled_time),
        mail.to_text,
        mail.cc_text,
        mail.bcc_text,
        subject_of(mail),
        canonical(mail.backend_alias),
        PRIORITY._fields[mail.priority] if mail.priority in range(len(PRIORITY)) else mail.priority,
        status.attempt_count,
        *_ending(attempt),
        mail.message_id,
    ]


def _ending(attempt: Attempt | None) -> tuple[Any, ...]:
    if attempt is None:
        return "", "", "", ""
    return _time(attempt.started_at), attempt.reply_code, attempt.enhanced_code, discreet_answer(attempt)


def _time(moment: datetime | None) -> str:
    return localtime(moment).isoformat(timespec="seconds") if moment else ""
