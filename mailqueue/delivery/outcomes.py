"""The words in which delivery tells what became of a mail: stage, blame, verdict, outcome. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """How far a delivery had come when its outcome was decided (RFC 5321, section 3)."""

    BUILD = "build"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    FINAL_DOT = "final_dot"
    DONE = "done"


class Blame(StrEnum):
    """Whose fault a failure is. Only the message and the recipient cost an attempt."""

    NONE = "none"
    BACKEND = "backend"
    MESSAGE = "message"
    RECIPIENT = "recipient"


class Verdict(StrEnum):
    """What is to be done with a mail, or with one recipient, after one try."""

    SENT = "sent"
    RETRY = "retry"
    FAIL = "fail"
    DEFER = "defer"
    HOLD = "hold"
    UNKNOWN = "unknown"


class Trouble(StrEnum):
    """What a failure says about the backend itself."""

    NONE = "none"
    CONNECT = "connect"
    """Counts one on the breaker."""
    CROWDED = "crowded"
    """Counts one on the breaker, and halves the connections."""
    BUSY = "busy"
    """Halves the connections."""
    THROTTLED = "throttled"
    """Cuts the rate."""
    SENDER = "sender"
    """Refuses this From, and perhaps no other."""
    POLICY = "policy"
    """Refuses what the mail says, as spam for example: told to a person when it becomes many, never shut for it."""
    SHUT = "shut"
    """Opens the breaker at once: credentials, quota, certificates."""


class Pace(StrEnum):
    """When a retry is due."""

    SCHEDULE = "schedule"
    """After the next of the retry delays."""
    MAILBOX = "mailbox"
    """Every four hours, for a day: somebody has to empty a mailbox."""
    AT_ONCE = "at_once"
    """In the next transaction; costs no attempt."""
    THREE_TIMES = "three_times"
    """As SCHEDULE, but no more than three times: nobody knows what is wrong."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply: basic code, enhanced status code (RFC 3463, "" when there is none) and text."""

    code: int
    text: str = ""
    enhanced: str = ""
    is_exception: bool = False
    """The code is an HTTP status and the text is an exception's own, not an SMTP server's words."""
    retry_after: float | None = None
    """The server's hint when to try again (seconds)."""

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code or ""), self.enhanced, self.text) if part)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of classifying one failure: who is to blame, what to do, what it means for the backend."""

    verdict: Verdict
    blame: Blame
    trouble: Trouble = Trouble.NONE
    close: bool = False
    """The connection must not be used again."""
    pace: Pace = Pace.SCHEDULE


@dataclass(frozen=True, slots=True)
class RecipientOutcome:
    """What the server said about one recipient."""

    verdict: Verdict
    reply: Reply
    pace: Pace = Pace.SCHEDULE


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mail in one attempt.

    `recipients` holds a result for every recipient of this attempt, and only when they are not all alike; otherwise
    `verdict` speaks for each of them.
    """

    verdict: Verdict
    stage: Stage
    blame: Blame = Blame.NONE
    trouble: Trouble = Trouble.NONE
    reply: Reply = Reply(0)
    error: str = ""
    """The name of the exception type, where one was raised."""
    recipients: Mapping[str, RecipientOutcome] = field(default_factory=dict)
    pace: Pace = Pace.SCHEDULE
    queue_id: str = ""
    """Under which the server, or the mail service, knows the mail that it took."""
