"""Mails in every situation, written straight into the tables."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone
from post_office.models import PRIORITY, STATUS, Email

from mailqueue.models import Attempt, AttemptOutcome, MailState, SenderProcess, StopReason
from mailqueue.ops.states import State

SENDER = "host-a/4711"
LATER = timedelta(hours=1)


def make_mail(*, to: str = "ann@example.com", status: int | None = STATUS.queued, **fields: Any) -> Email:
    values = {"from_email": "shop@example.com", "subject": "Your order", "message": "Thank you.", **fields}
    return Email.objects.create(to=[to], status=status, priority=PRIORITY.medium, **values)


def make_attempt(mail: Email, outcome: AttemptOutcome | None = None, **fields: Any) -> Attempt:
    """Write an attempt that was started; without an outcome it is under way."""
    now = timezone.now()
    values: dict[str, Any] = {
        "number": Attempt.objects.filter(email=mail).count() + 1,
        "token": uuid.uuid4(),
        "sender": SENDER,
        "backend": "default",
        "claimed_at": now - timedelta(seconds=3),
        "started_at": now - timedelta(seconds=2),
        "finished_at": now if outcome else None,
        "lease_until": now + LATER,
        "outcome": outcome,
        **fields,
    }
    return Attempt.objects.create(email=mail, **values)


def make_sender(name: str = SENDER, **fields: Any) -> SenderProcess:
    """Write a sender that is alive."""
    now = timezone.now()
    values = {"host": "host-a", "version": "1", "backends": [], "connection_count": 8, "started_at": now}
    return SenderProcess.objects.create(name=name, **{**values, "seen_at": now, **fields})


def stop_mail(mail: Email, reason: StopReason, **fields: Any) -> None:
    MailState.objects.create(email=mail, reason=reason, stopped_at=timezone.now(), **fields)


def _waiting() -> Email:
    return make_mail()


def _claimed() -> Email:
    mail = make_mail()
    make_attempt(mail, started_at=None)
    return mail


def _due_again() -> Email:
    mail = make_mail(status=STATUS.requeued, scheduled_time=timezone.now() - LATER)
    make_attempt(mail, AttemptOutcome.RETRY)
    return mail


def _was_scheduled() -> Email:
    return make_mail(scheduled_time=timezone.now() - LATER)


def _scheduled() -> Email:
    return make_mail(scheduled_time=timezone.now() + LATER)


def _sending() -> Email:
    mail = make_mail()
    make_attempt(mail)
    return mail


def _sending_again() -> Email:
    mail = make_mail(status=STATUS.requeued, scheduled_time=timezone.now() - LATER)
    make_attempt(mail, AttemptOutcome.UNKNOWN)
    make_attempt(mail)
    return mail


def _retrying() -> Email:
    mail = make_mail(status=STATUS.requeued, scheduled_time=timezone.now() + LATER)
    make_attempt(mail, AttemptOutcome.UNKNOWN)
    make_attempt(mail, AttemptOutcome.RETRY, stage="rcpt", reply_code=451, enhanced_code="4.7.1", reply="greylisted")
    return mail


def _requeued_by_hand() -> Email:
    return make_mail(status=STATUS.requeued, scheduled_time=timezone.now() + LATER)


def _sent() -> Email:
    mail = make_mail(status=STATUS.sent)
    make_attempt(mail, AttemptOutcome.PARTLY_SENT)
    make_attempt(mail, AttemptOutcome.SENT, stage="done", reply_code=250, reply="queued as 1A2B")
    return mail


def _sent_by_others() -> Email:
    return make_mail(status=STATUS.sent)


def _partly_sent() -> Email:
    mail = make_mail(status=STATUS.sent, cc=["bob@example.com"])
    results = {
        "ann@example.com": {"verdict": "sent", "code": 250, "enhanced": "", "reply": "ok"},
        "bob@example.com": {"verdict": "fail", "code": 550, "enhanced": "5.1.1", "reply": "no such user"},
    }
    make_attempt(mail, AttemptOutcome.PARTLY_SENT, recipients=results)
    return mail


def _unknown_to_be_resent() -> Email:
    mail = make_mail(status=STATUS.requeued, scheduled_time=timezone.now() + LATER)
    make_attempt(mail, AttemptOutcome.UNKNOWN)
    return mail


def _stopped(reason: StopReason, **fields: Any) -> Callable[[], Email]:
    def build() -> Email:
        mail = make_mail(status=STATUS.failed)
        stop_mail(mail, reason, **fields)
        return mail

    return build


def _failed_by_others() -> Email:
    return make_mail(status=STATUS.failed)


def _requeued_after_a_stop() -> Email:
    mail = make_mail()
    make_attempt(mail, AttemptOutcome.UNKNOWN)
    stop_mail(mail, StopReason.UNKNOWN)
    return mail


def _interrupted() -> Email:
    return make_mail(status=None)


SITUATIONS: dict[str, tuple[Callable[[], Email], State]] = {
    "queued": (_waiting, State.WAITING),
    "claimed, not started": (_claimed, State.WAITING),
    "due for a retry": (_due_again, State.WAITING),
    "scheduled for a time that has passed": (_was_scheduled, State.WAITING),
    "queued again after a stop": (_requeued_after_a_stop, State.WAITING),
    "scheduled": (_scheduled, State.SCHEDULED),
    "being sent": (_sending, State.SENDING),
    "being sent again": (_sending_again, State.SENDING),
    "to be retried": (_retrying, State.RETRYING),
    "requeued for later by hand": (_requeued_by_hand, State.RETRYING),
    "sent": (_sent, State.SENT),
    "sent by others": (_sent_by_others, State.SENT),
    "partly sent": (_partly_sent, State.PARTLY_SENT),
    "unknown, to be sent again": (_unknown_to_be_resent, State.UNKNOWN),
    "unknown, left to a person": (_stopped(StopReason.UNKNOWN), State.UNKNOWN),
    "failed": (_stopped(StopReason.FAILED, note="550 5.1.1 no such user"), State.FAILED),
    "failed by others": (_failed_by_others, State.FAILED),
    "expired": (_stopped(StopReason.EXPIRED), State.EXPIRED),
    "cancelled": (_stopped(StopReason.CANCELLED, stopped_by="grace"), State.CANCELLED),
    "held": (_stopped(StopReason.HELD, note="The backend is not configured."), State.HELD),
    "interrupted": (_interrupted, State.INTERRUPTED),
}
"""For each situation how to make it, and the state in which a mail then is."""
