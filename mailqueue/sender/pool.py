"""The connections: each delivers one mail after the other, and none touches the database."""

import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from django.db import connections as databases

from mailqueue import waits
from mailqueue.delivery.backends import BackendError, carrier_for
from mailqueue.delivery.letter import Carrier
from mailqueue.delivery.outcomes import Blame, Outcome, Pace, Reply, Stage, Trouble, Verdict
from mailqueue.sender.hub import Hub, Task
from mailqueue.sender.jobs import Job
from mailqueue.sender.log import tell_fault

T = TypeVar("T")
IDLE_SECONDS = 8
"""A session with a server that has had nothing to do for so long is ended."""
PAUSE_SECONDS = 2
"""How long a pool that is stopped waits for a connection to come to its next wait."""
ASIDE_SECONDS = (1, 2, 5, 10, 30)
"""Pauses between tries to settle a result whose row can't be worked on; the last one repeats."""


@dataclass(frozen=True, slots=True)
class Aside:
    """How often a result was put aside, and until when."""

    count: int
    until: float


class HangUp:
    """What a connection is told, in place of a mail."""


HANG_UP = HangUp()


class Connection:
    """A task with at most one session per backend."""

    def __init__(self, hub: Hub, *, number: int, done: Callable[["Connection", Job, Outcome], None]) -> None:
        self.last_backend = ""
        self._task: Task[Job | HangUp | None] = hub.enter(self._run, name=f"connection-{number}")
        self._done = done
        self._carriers: dict[str, Carrier] = {}

    def give(self, job: Job) -> None:
        self.last_backend = job.claim.backend
        self._task.put(job)

    def hang_up(self) -> None:
        """End the sessions with mail servers, unless a mail has come meanwhile."""
        self._task.put(HANG_UP)

    def stop(self) -> None:
        """End it when it has done what it was given."""
        self._task.put(None)

    def join(self, timeout: float) -> None:
        """Wait until it has ended, at most so long (seconds)."""
        self._task.join(timeout)

    def _run(self) -> None:
        while True:
            try:
                job = self._task.next_order(seconds=IDLE_SECONDS if self._carriers else math.inf)
            except queue.Empty:
                self._hang_up()
                continue
            if isinstance(job, Job):
                self._done(self, job, self._deliver(job))
                continue
            self._hang_up()
            if job is None:
                return

    def _deliver(self, job: Job) -> Outcome:
        try:
            carrier = self._carrier(job.claim.backend)
            return _through(carrier, partial(carrier.deliver, job.letter, job.lease))
        except BackendError as error:
            return Outcome(
                Verdict.DEFER,
                Stage.CONNECT,
                blame=Blame.BACKEND,
                trouble=Trouble.CONNECT,
                reply=Reply(0, str(error)),
                error=type(error).__name__,
            )
        except BaseException as error:  # noqa: BLE001 - a connection that dies of a mail would keep it for ever
            self._carriers.pop(job.claim.backend, None)
            return _surprise(job, error)

    def _carrier(self, backend: str) -> Carrier:
        for alias, other in self._carriers.items():
            if alias != backend:
                _through(other, other.expire)
        if backend not in self._carriers:
            self._carriers[backend] = waits.blocking(partial(carrier_for, backend))
        return self._carriers[backend]

    def _hang_up(self) -> None:
        for carrier in self._carriers.values():
            # Given mail, a connection that died of somebody's close() would never send it.
            with suppress(BaseException):
                _through(carrier, carrier.close)
        self._carriers.clear()


def _through(carrier: Carrier, act: Callable[[], T]) -> T:
    """Call a carrier: here, or in a thread of its own, where it waits without letting others run."""
    return act() if carrier.takes_turns else waits.blocking(act)


def _surprise(job: Job, error: BaseException) -> Outcome:
    verdict, stage = (Verdict.UNKNOWN, Stage.FINAL_DOT) if job.lease.was_passed else (Verdict.RETRY, Stage.BUILD)
    text = f"{type(error).__name__} while the mail was delivered"
    return Outcome(
        verdict, stage, Blame.MESSAGE, reply=Reply(0, text), error=type(error).__name__, pace=Pace.THREE_TIMES
    )


class Pool:
    """All connections of this process. `give` starts work, `finished` takes what is done; the rest is running."""

    def __init__(self, size: int, *, accepted: Callable[[Job, Outcome], None], wake: Callable[[], None]) -> None:
        self.size = size
        self.running: dict[int, Job] = {}
        """Every job that is not settled, by attempt."""
        self._accepted = accepted
        self._wake = wake
        self._finished: dict[int, tuple[Job, Outcome]] = {}
        self._aside: dict[int, Aside] = {}
        self._busy: Counter[str] = Counter()
        # A project's own template tags or storages may open the database in a thread that builds a message.
        self._hub = Hub(name="connections", afterwards=databases.close_all)
        self._connections = [Connection(self._hub, number=n, done=self._done) for n in range(size)]
        self._idle: list[Connection] = list(self._connections)
        self._lock = threading.Lock()
        self._hub.start()

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def next_aside_at(self) -> float:
        """When a result that was put aside is to be settled again (monotonic seconds)."""
        return min((aside.until for aside in self._aside.values()), default=math.inf)

    def give(self, job: Job) -> None:
        """Hand a started mail to an idle connection, if possible to one that talks to this backend already."""
        self.running[job.claim.attempt_id] = job
        with self._lock:
            position = self._best_idle(job.claim.backend)
            connection = self._idle.pop(position)
            self._busy[job.claim.backend] += 1
        connection.give(job)

    def _best_idle(self, backend: str) -> int:
        """Find the idle connection that was last used for this backend, else one that was used for none."""
        for wanted in (backend, ""):
            for position in reversed(range(len(self._idle))):
                if self._idle[position].last_backend == wanted:
                    return position
        return 0

    def busy_count(self, backend: str) -> int:
        """How many connections are at work for a backend."""
        with self._lock:
            return self._busy[backend]

    def trim(self, backend: str, *, most: int) -> None:
        """Let idle connections hang up that are more than a backend allows this sender."""
        with self._lock:
            idle = [connection for connection in self._idle if connection.last_backend == backend]
            for connection in idle[: max(self._busy[backend] + len(idle) - most, 0)]:
                connection.last_backend = ""
                connection.hang_up()

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Take in the outcome of a mail that needs no connection."""
        self.running[job.claim.attempt_id] = job
        with self._lock:
            self._finished[job.claim.attempt_id] = (job, outcome)

    def finished(self) -> list[tuple[Job, Outcome]]:
        """Return what is done and not yet forgotten, oldest first, without what was put aside."""
        now = time.monotonic()
        with self._lock:
            results = list(self._finished.items())
        return [result for key, result in results if key not in self._aside or self._aside[key].until <= now]

    def put_aside(self, job: Job) -> None:
        """Let a result that can't be settled now rest for a while, longer each time."""
        key = job.claim.attempt_id
        count = self._aside[key].count + 1 if key in self._aside else 0
        pause = ASIDE_SECONDS[min(count, len(ASIDE_SECONDS) - 1)]
        self._aside[key] = Aside(count, time.monotonic() + pause)

    def forget(self, settled: list[tuple[Job, Outcome]]) -> None:
        """Drop results, now that the database knows them."""
        for job, _ in settled:
            with self._lock:
                self._finished.pop(job.claim.attempt_id, None)
            self._aside.pop(job.claim.attempt_id, None)
            self.running.pop(job.claim.attempt_id, None)

    def revoke(self) -> tuple[list[Job], list[Job]]:
        """Stop every delivery short of the final dot.

        Return those that are still running: what will not be sent any more, and what may have been sent.
        """
        with self._lock:
            running = [job for key, job in self.running.items() if key not in self._finished]
        stopped = {job.claim.attempt_id for job in running if job.lease.revoke()}
        return (
            [job for job in running if job.claim.attempt_id in stopped],
            [job for job in running if job.claim.attempt_id not in stopped],
        )

    def stop(self, *, timeout: float) -> None:
        """End the connections; those that still wait for a server after the timeout are not waited for any longer."""
        until = time.monotonic() + timeout
        for connection in self._connections:
            connection.stop()
        for connection in self._connections:
            connection.join(max(until - time.monotonic(), 0))
        self._hub.end(timeout=PAUSE_SECONDS)

    def _done(self, connection: Connection, job: Job, outcome: Outcome) -> None:
        try:
            self._accepted(job, outcome)
        except Exception as error:  # noqa: BLE001 - the connection lives, and the loop learns of the result all the same
            tell_fault(error)
        finally:
            with self._lock:
                self._finished[job.claim.attempt_id] = (job, outcome)
                self._idle.append(connection)
                self._busy[job.claim.backend] -= 1
            self._wake()
