"""What a scripted SMTP server says and does: answers to commands, in the order in which they are asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from mailqueue.testing.smtp_session import Session


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection; before it a reply, if there is one. At BODY the message is not taken."""

    reply: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """Never answer; the connection stays open until somebody closes it. At BODY the message is not taken."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """At BODY: take the message, and let the client never know: drop the connection, or say nothing."""

    drop: bool = True


@dataclass(frozen=True, slots=True)
class CutBody:
    """At DATA: ask for the message, and drop the connection when so many of its octets have come."""

    octets: int


@dataclass(frozen=True, slots=True)
class Command:
    """What a script that is a function is asked about."""

    session: "Session"
    verb: str
    argument: str = ""
    content: bytes = b""
    """The message, at BODY."""


Answer: TypeAlias = str | Drop | Silence | Unanswered | CutBody
Step: TypeAlias = Answer | Callable[[Command], Answer | None] | None
"""None, given or returned, stands for what a friendly server says."""

VERBS = frozenset(
    {"GREETING", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BODY", "RSET", "NOOP", "QUIT"}
)


class Script:
    """Steps by verb. One step answers always; of a sequence each step answers once, and then nothing special is said.

    The verbs are those of SMTP, GREETING for the first words, and BODY for the reply to the final dot. A reply of
    several lines has them separated by a newline.
    """

    def __init__(self, steps: Mapping[str, Step | Sequence[Step]] | None = None) -> None:
        self._steps: dict[str, Step | list[Step]] = {}
        for verb, step in (steps or {}).items():
            self.set(verb, step)

    def set(self, verb: str, step: Step | Sequence[Step]) -> None:
        """Change what is said from now on. May be called from any thread, while the server runs."""
        if verb not in VERBS:
            raise ValueError(f"no such verb: {verb!r} (there are {', '.join(sorted(VERBS))})")
        self._steps[verb] = list(step) if isinstance(step, Sequence) and not isinstance(step, str) else step

    def answer(self, command: Command) -> Answer | None:
        step = self._steps.get(command.verb)
        if isinstance(step, list):
            step = step.pop(0) if step else None
        return step(command) if callable(step) else step
