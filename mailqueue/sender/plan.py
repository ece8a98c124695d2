"""What a turn of the loop is to do, and what it did."""

from dataclasses import dataclass, field

from mailqueue.delivery.outcomes import Outcome
from mailqueue.queue.claim import Claim
from mailqueue.queue.health import Health
from mailqueue.queue.presence import Presence
from mailqueue.queue.settle import Settlement
from mailqueue.sender.jobs import Job
from mailqueue.sender.look import Look

Result = tuple[Job, Outcome]


@dataclass(slots=True)
class Plan:
    """What a turn is to do."""

    results: list[Result] = field(default_factory=list)
    starting: list[Claim] = field(default_factory=list)
    returning: list[Claim] = field(default_factory=list)
    renewing: list[Job] = field(default_factory=list)
    renewing_stock: list[Claim] = field(default_factory=list)
    rooms: dict[str, int] | None = None
    """How much to claim for each backend; None: look for nothing."""
    above: dict[str, int] = field(default_factory=dict)
    """Backends of which there is enough in stock: only what is more urgent than this priority is claimed."""
    is_showing_up: bool = False
    """It is time to say that this sender lives."""

    @property
    def is_look(self) -> bool:
        """No mail that this sender has is touched."""
        return not (self.results or self.starting or self.returning or self.renewing or self.renewing_stock)

    @property
    def is_empty(self) -> bool:
        return self.is_look and self.rooms is None and not self.is_showing_up

    def parts(self) -> list["Plan"]:
        """Return plans of one mail each that come to the same. Looking for more is left out."""
        return [
            *(Plan(results=[result]) for result in self.results),
            *(Plan(returning=[claim]) for claim in self.returning),
            *(Plan(starting=[claim]) for claim in self.starting),
        ]

    def fields(self) -> dict[str, int]:
        """Return what to say of a plan of one mail in a log."""
        (claim,) = [job.claim for job, _ in self.results] + self.returning + self.starting
        return {"email": claim.email_id, "attempt": claim.number}


@dataclass(slots=True)
class Event:
    """What to tell of in the log, once it is committed."""

    name: str
    level: int
    fields: dict[str, object]


@dataclass(slots=True)
class Effects:
    """What a turn did, true once it is committed."""

    asked_at: float
    settlements: list[tuple[Job, Settlement]] = field(default_factory=list)
    lost: list[Job] = field(default_factory=list)
    started: list[Job] = field(default_factory=list)
    postponed: list[Claim] = field(default_factory=list)
    """Claims that the rate does not let start yet."""
    waits: dict[str, float] = field(default_factory=dict)
    """Backends that may start nothing more for so many seconds."""
    renewed: set[int] = field(default_factory=set)
    found: Look = field(default_factory=Look)
    showed_up: bool = False
    """This sender said that it lives."""
    presence: list[Presence] | None = None
    """The senders that are alive, where they were read."""
    shut: dict[str, str] = field(default_factory=dict)
    """Backends that were shut just now, with the reason."""
    events: list[Event] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    health: dict[str, Health] = field(default_factory=dict)
    """What the turn learned of backends."""
