"""What the sentences about a mail are made of."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.formats import date_format
from django.utils.timezone import localtime

from mailqueue.models import Attempt
from mailqueue.ops.backends import Backend
from mailqueue.ops.recipients import Recipients
from mailqueue.ops.senders import Absence
from mailqueue.queue.positions import Place


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sentences are made of."""

    until: datetime | None
    note: str
    stopped_by: str
    attempt: Attempt | None
    """The attempt under way, else the last one."""
    attempt_count: int = 0
    backend: Backend | None = None
    """The backend it is for, where no mail flows through that now."""
    absence: Absence | None = None
    """No sender is alive who would send it."""
    place: Place | None = None
    """What is sent before it."""
    recipients: Recipients | None = None
    """Who has it, where some have and others have not."""


def readable_time(moment: datetime | None) -> str:
    """Return a time in the reader's time zone, to the second."""
    return date_format(localtime(moment), "Y-m-d H:i:s") if moment else ""


def answer_of(attempt: Attempt | None) -> str:
    """Return what the server said in an attempt, or the error that kept it from saying anything."""
    if attempt is None:
        return ""
    said = " ".join(str(part) for part in (attempt.reply_code, attempt.enhanced_code, attempt.reply) if part)
    return said or attempt.error
