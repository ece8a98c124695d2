"""Letters and fences to try a carrier with."""

from collections.abc import Callable, Sequence
from typing import Any

from django.core.mail import EmailMessage

from mailqueue.delivery.letter import Letter

SENDER = "shop@example.com"
RECIPIENT = "ann@example.net"


class OpenFence:
    def is_open(self) -> bool:
        return True


class ClosedFence:
    def is_open(self) -> bool:
        return False


class ScriptedFence:
    """Does something in the moment in which it is asked, and answers."""

    def __init__(self, act: Callable[[], Any], *, is_open: bool = True) -> None:
        self._act = act
        self._is_open = is_open

    def is_open(self) -> bool:
        self._act()
        return self._is_open


OPEN = OpenFence()
CLOSED = ClosedFence()


def message(**changes: Any) -> EmailMessage:
    """An ordinary message, with whatever arguments of EmailMessage a test is about."""
    given: dict[str, Any] = {
        "subject": "Your order",
        "body": "Thank you.\n",
        "from_email": SENDER,
        "to": [RECIPIENT],
        "headers": {"Message-ID": "<order-1@example.com>", "Date": "Sat, 21 Nov 2026 09:30:00 -0000"},
    }
    return EmailMessage(**given | changes)


def letter(*, recipients: Sequence[str] = (RECIPIENT,), envelope_from: str = SENDER, **changes: Any) -> Letter:
    """A letter around an ordinary message to these recipients."""
    return Letter(envelope_from, recipients, lambda: message(**{"to": list(recipients)} | changes))


def broken_letter(error: BaseException) -> Letter:
    """A letter whose message cannot be built."""

    def build() -> EmailMessage:
        raise error

    return Letter(SENDER, [RECIPIENT], build)
