"""What a turn of the loop is to do, and what it did."""

from dataclasses import dataclass, field

from mailqueue.delivery.outcomes import Outcome
from mailqueue.queue.claim import Claim
from mailqueue.queue.health import Health
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
    claim_limit: int = 0

    @property
    def is_empty(self) -> bool:
        return not (
            self.results or self.starting or self.returning or self.renewing or self.renewing_stock or self.claim_limit
        )

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
class Effects:
    """What a turn did, true once it is committed."""

    asked_at: float
    settlements: list[tuple[Job, Settlement]] = field(default_factory=list)
    lost: list[Job] = field(default_factory=list)
    started: list[Job] = field(default_factory=list)
    renewed: set[int] = field(default_factory=set)
    found: Look = field(default_factory=Look)
    shut: dict[str, str] = field(default_factory=dict)
    """Backends that were shut just now, with the reason."""
    opened: set[str] = field(default_factory=set)
    health: dict[str, Health] = field(default_factory=dict)
    """What the turn learned of backends."""
