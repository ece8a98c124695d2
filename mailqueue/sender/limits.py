"""What this sender may do with each backend now: how many mails at once, and when the next.

Made of what all senders share (see `queue.health` and `queue.rate`) and of what this one has seen. It begins with one
connection to each backend and opens more with each answer, and one each second while nothing goes wrong, so that a
server that turns people away is asked by few, one that has just come back is not run over, and one slow mail holds up
no other.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

from mailqueue.conf import Configuration
from mailqueue.delivery.backends import canonical
from mailqueue.delivery.outcomes import Outcome, Stage, Trouble
from mailqueue.queue.health import Health
from mailqueue.queue.presence import Presence, share_of
from mailqueue.queue.rate import LONG_WAIT_SECONDS
from mailqueue.queue.rate import Limits as RateLimits
from mailqueue.sender.options import Options

SESSION_BEGAN = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.FINAL_DOT, Stage.DONE})
SILENT = frozenset({Trouble.CONNECT, Trouble.CROWDED, Trouble.BUSY, Trouble.SHUT})
"""Troubles of a server that turns away more than the mail at hand."""
WELL = Health()
OPENING_SECONDS = 1.0
"""While nothing goes wrong, one more connection is allowed each such time, answers or not."""
LONG_REST_SECONDS = LONG_WAIT_SECONDS
"""What rests for longer gives back the mail that is claimed for it, and is not waited for by `--until-empty`."""


def is_answering(outcome: Outcome) -> bool:
    """Whether the server dealt with the mail, however it liked it."""
    return outcome.trouble not in SILENT and outcome.stage in SESSION_BEGAN


class Window:
    """How many connections a backend bears; it opens by itself while nothing goes wrong."""

    def __init__(self, size: int = 1) -> None:
        self._size = size
        self._since = time.monotonic()

    @property
    def size(self) -> int:
        return self._size + int((time.monotonic() - self._since) / OPENING_SECONDS)

    def next_at(self) -> float:
        """When it opens by one more (monotonic seconds)."""
        return self._since + (self.size - self._size + 1) * OPENING_SECONDS


class Limits:
    """Keeps what was last read of the backends, and a window of connections for each."""

    def __init__(self, *, options: Options, configuration: Configuration) -> None:
        self.health: dict[str, Health] = {}
        self.presence: Sequence[Presence] = ()
        self._options = options
        self._configured = {canonical(alias): limits for alias, limits in configuration.RATE_LIMITS.items()}
        self._windows: dict[str, Window] = {}
        self._rest_until: dict[str, float] = {}
        self._wait_until: dict[str, float] = {}

    def learn(self, health: Mapping[str, Health]) -> None:
        """Take in what was read of the backends."""
        for backend, known in health.items():
            self.correct(backend, known)
            self._rest_until[backend] = time.monotonic() + known.rest_seconds if known.rest_seconds else 0.0

    def correct(self, backend: str, known: Health) -> None:
        """Take in what a turn found out about a backend; its rests are left to the database."""
        self.health[backend] = known
        if known.is_shut:
            self._windows[backend] = Window()

    def of(self, backend: str) -> Health:
        return self.health.get(backend, WELL)

    def note(self, backend: str, outcome: Outcome) -> None:
        """Open the window a little after an answer; halve it when the server turned us away."""
        window = self._windows.setdefault(backend, Window())
        if outcome.trouble in SILENT:
            self._windows[backend] = Window(max(window.size // 2, 1))
        elif is_answering(outcome):
            self._windows[backend] = Window(min(window.size + 1, self._options.concurrency))

    def connections(self, backend: str) -> int:
        """How many mails may be under way at once. For a backend that is shut that is the probe."""
        if self.of(backend).is_shut:
            return 1
        window = min(self._windows.setdefault(backend, Window()).size, self._options.concurrency)
        most = self.most_connections(backend)
        if most is None:
            return window
        mine = share_of(most, name=self._options.sender, backend=backend, presence=self.presence)
        return min(window, mine)

    def startable_at(self, backend: str) -> float:
        """When mail that must wait now may be started (monotonic seconds), unless something changes before."""
        if self.is_resting(backend):
            return self.rested_at(backend)
        return self._windows.setdefault(backend, Window()).next_at()

    def most_connections(self, backend: str) -> int | None:
        """Connections of all senders together; None: as many as they like."""
        known = [
            limit
            for limit in (self.of(backend).connection_limit, self.allowed_connections(backend))
            if limit is not None
        ]
        return min(known) if known else None

    def allowed_connections(self, backend: str) -> int | None:
        """What a person allows, or the settings do."""
        wanted = self.of(backend).max_connections
        configured = self._configured.get(backend, {}).get("connections")
        return wanted if wanted is not None or configured is None else int(configured)

    def total_connections(self, backend: str) -> int:
        """Connections that all living senders could open."""
        serving = [sender.connection_count for sender in self.presence if sender.serves(backend)]
        return sum(serving) or self._options.concurrency

    def sender_count(self, backend: str) -> int:
        return max(sum(sender.serves(backend) for sender in self.presence), 1)

    def rate(self, backend: str) -> RateLimits:
        """The most that the backend takes; empty where nobody has named a limit."""
        health, configured = self.of(backend), self._configured.get(backend, {})
        per_second = health.max_per_second if health.max_per_second is not None else configured.get("per_second")
        per_day = health.max_per_day if health.max_per_day is not None else configured.get("per_day")
        return RateLimits(per_second, None if per_day is None else int(per_day))

    def is_metered(self, backend: str) -> bool:
        """Whether each start must be allowed by the database first."""
        limits = self.rate(backend)
        return self.of(backend).was_throttled or limits.per_second is not None or limits.per_day is not None

    def wait(self, backend: str, *, seconds: float) -> None:
        """Start nothing for so long. A long rest is the database's too, and ends when it says so."""
        kept = self._rest_until if seconds > LONG_WAIT_SECONDS else self._wait_until
        kept[backend] = time.monotonic() + seconds

    def rested_at(self, backend: str) -> float:
        """When the next mail may start (monotonic seconds)."""
        return max(self._rest_until.get(backend, 0.0), self._wait_until.get(backend, 0.0))

    def is_resting(self, backend: str) -> bool:
        return self.rested_at(backend) > time.monotonic()

    def is_resting_long(self, backend: str) -> bool:
        """Whether all senders rest for so long; a wait of this one alone is never long."""
        return self._rest_until.get(backend, 0.0) > time.monotonic() + LONG_REST_SECONDS

    def is_out(self, backend: str) -> bool:
        """Whether mail that is claimed for it is better given back: nothing of it starts soon."""
        health = self.of(backend)
        return health.is_shut or health.is_paused or self.is_resting_long(backend) or self.connections(backend) == 0

    def outs(self, backends: Iterable[str]) -> set[str]:
        return {backend for backend in backends if self.is_out(backend)}
