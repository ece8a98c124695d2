"""Tells in the log that a mail is held, and why: it stays where it is until a person acts."""

import logging
from enum import StrEnum
from typing import Any

from mailqueue.queue.claim import Claim
from mailqueue.sender.log import instrument


class WhyHeld(StrEnum):
    """Why a sender holds a mail; these words never change."""

    ALLOWED_RECIPIENTS = "allowed_recipients"
    REFUSED_FROM = "refused_from"
    NO_BACKEND = "no_backend"
    UNKNOWN = "unknown"


def tell_held(claim: Claim, reason: WhyHeld, **fields: Any) -> None:
    """Log that the mail of a claim is held; `fields` are what else there is to say of the attempt."""
    instrument(
        "mail.held",
        level=logging.WARNING,
        email=claim.email_id,
        attempt=claim.number,
        backend=claim.backend,
        reason=str(reason),
        **fields,
    )


def tell_unknown_held(email_id: int) -> None:
    """Log that a mail is held whose sender died: nobody knows whether it arrived."""
    instrument("mail.held", level=logging.WARNING, email=email_id, reason=str(WhyHeld.UNKNOWN))
