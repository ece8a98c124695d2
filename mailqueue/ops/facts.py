"""What the sentences about a mail are made of."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.formats import date_format
from django.utils.timezone import localtime

from mailqueue.models import Attempt
from mailqueue.ops.backends import Backend
from mailqueue.ops.conditions import State
from mailqueue.ops.recipients import Recipients
from mailqueue.ops.senders import Absence
from mailqueue.queue.positions import Place


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sentences are made of."""

    state: State
    until: datetime | None
    note: str
    stopped_by: str
    attempt: Attempt | None
    """The attempt under way, else the last one."""
    attempt_count: int = 0
    arrival: Attempt | None = None
    """The last attempt by which it arrived, or may have arrived."""
    expires_at: datetime | None = None
    is_over: bool = False
    """Its time has passed."""
    is_emptied: bool = False
    """What it said is no longer kept."""
    refusal: str = ""
    """What the server said of its sender address, where it will be held for that."""
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


def zone_of(moment: datetime) -> str:
    """Return in which zone the reader is told a time, by its short name and its distance from UTC."""
    return date_format(localtime(moment), "T (O)")


def answer_of(attempt: Attempt | None) -> str:
    """Return what the server said in an attempt, or the error that kept it from saying anything."""
    if attempt is None:
        return ""
    said = " ".join(str(part) for part in (attempt.reply_code, attempt.enhanced_code, attempt.reply) if part)
    return said or attempt.error
