"""What a connection is given: an envelope and the message to put in it, and the fence it must ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from django.core.mail import EmailMessage

from mailqueue.delivery.outcomes import Outcome


class UnreadableError(Exception):
    """The message has no parts to read, and the backend wants to read them.

    Not an AttributeError: who asks for what may be missing would go on without it, and send a mail without its body.
    """


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail ready to go: the envelope (RFC 5321) and how to get at the message.

    `build` may raise anything: the message may be a template, or name a file that is gone.
    """

    envelope_from: str
    recipients: Sequence[str]
    build: Callable[[], EmailMessage]
    write: Callable[[], bytes | None] = lambda: None
    """Gives the bytes that Django would send for what `build` builds, where they are known without it; else None."""
    is_long: bool = False
    """To write it takes so long that others would be held up."""


class Fence(Protocol):
    """Says whether a delivery may still go on: asked right before the final dot."""

    def is_open(self) -> bool: ...


class Carrier(Protocol):
    """A way to deliver letters, used by one at a time. Never raises for what a letter or a server does."""

    takes_turns: bool
    """It waits for its server by `waits` only: others may run in its thread meanwhile."""

    def deliver(self, letter: Letter, fence: Fence) -> Outcome: ...

    def is_connected(self) -> bool: ...

    def expire(self) -> None:
        """End a session that is used up, too old, or has had nothing to do for too long."""
        ...

    def close(self) -> None: ...
