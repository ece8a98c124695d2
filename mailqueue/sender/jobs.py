"""What a connection works on, and the lease it works under."""

import threading
import time
from dataclasses import dataclass, field

from mailqueue.delivery.letter import Letter
from mailqueue.models import MailOptions
from mailqueue.outbox.messages import Mail
from mailqueue.queue.claim import Claim
from mailqueue.queue.history import History
from mailqueue.queue.settle import Settlement
from mailqueue.sender.clock import boot_time


class Lease:
    """How long this process may go on with a mail, by the boot-time clock. The loop extends it, connections ask it.

    It is counted from before the database was asked, and so ends no later than the database's.
    """

    def __init__(self, *, asked_at: float, seconds: float) -> None:
        self._until = asked_at + seconds
        self._is_revoked = False
        self.was_passed = False
        self._lock = threading.Lock()

    def extend(self, *, asked_at: float, seconds: float) -> None:
        self._until = asked_at + seconds

    def is_open(self) -> bool:
        """Say whether the final dot may be sent; asked right before it, once."""
        with self._lock:
            self.was_passed = not self._is_revoked and boot_time() < self._until
            return self.was_passed

    def revoke(self) -> bool:
        """End it now, and return whether that came in time: the final dot was not sent and will not be."""
        with self._lock:
            self._is_revoked = True
            return not self.was_passed


@dataclass(slots=True)
class Job:
    """One started attempt on its way."""

    claim: Claim
    email: Mail
    letter: Letter
    history: History
    lease: Lease
    started_at: float = field(default_factory=time.monotonic)
    accepted_as: Settlement | None = None
    """How to settle it, as it stands in the journal: the server took the mail."""
    accepted_at: float | None = None
    """When it did (monotonic seconds)."""
    options: MailOptions | None = field(init=False)
    """What the caller asked for; read with the mail, so that who has no database may look."""

    def __post_init__(self) -> None:
        self.options = options_of(self.email)

    @property
    def is_sensitive(self) -> bool:
        return self.options is not None and self.options.is_sensitive

    @property
    def is_wiped(self) -> bool:
        """There is nothing left to send: somebody queued again what is no longer kept."""
        return self.options is not None and self.options.wiped_at is not None


def options_of(email: Mail) -> MailOptions | None:
    """Return what the caller of a loaded mail asked for, if anything."""
    options: MailOptions | None = getattr(email, "mailqueue_options", None)
    return options
