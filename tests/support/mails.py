"""Rows for tests of the queue, and a cursor to work on them with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from post_office.models import STATUS, Email

from mailqueue.models import Attempt, AttemptOutcome
from mailqueue.queue.claim import Claim, claim
from mailqueue.queue.lanes import START
from mailqueue.queue.settle import Settlement

SENDER = "host.1.a"
OTHER = "host.2.b"


def make_mail(**fields: Any) -> Email:
    """Write one queued mail."""
    given = {"from_email": "shop@example.com", "to": ["jane@example.com"], "status": STATUS.queued, **fields}
    return Email.objects.create(**given)


@contextmanager
def turn() -> Iterator[Any]:
    """Open a transaction and give a cursor, as the sender's loop does."""
    with transaction.atomic(), connection.cursor() as cursor:
        yield cursor


def claimed(
    cursor: Any,
    *,
    limit: int = 10,
    priority: int = 1,
    sender: str = SENDER,
    lease_seconds: float = 60,
    is_alone: bool = False,
) -> list[Claim]:
    """Claim due mail of the default backend."""
    return claim(
        cursor,
        begins={"": START, "default": START},
        priority=priority,
        limit=limit,
        backend="default",
        sender=sender,
        lease_seconds=lease_seconds,
        is_alone=is_alone,
    ).claims


def settlement(claim: Claim, outcome: AttemptOutcome = AttemptOutcome.SENT, **more: Any) -> Settlement:
    more.setdefault("is_accepted", outcome == AttemptOutcome.SENT)
    return Settlement(attempt_id=claim.attempt_id, email_id=claim.email_id, token=claim.token, outcome=outcome, **more)


def end_lease(claim: Claim) -> None:
    """Let the lease of a claim have ended a second ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mailqueue_attempt SET lease_until = now() - interval '1 second' WHERE id = %s", [claim.attempt_id]
        )


def outcomes(email: Email) -> list[str | None]:
    """Return the outcomes of all attempts of a mail, in order."""
    return list(Attempt.objects.filter(email=email).values_list("outcome", flat=True))
