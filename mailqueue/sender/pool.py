"""The connections: threads that deliver one mail after the other and never touch the database."""

import queue
import threading
from collections import deque
from collections.abc import Callable

from django.db import connections as databases

from mailqueue.delivery.backends import BackendError, carrier_for
from mailqueue.delivery.letter import Carrier
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.sender.jobs import Job

IDLE_SECONDS = 8
"""A session with a server that has had nothing to do for so long is ended."""


class Connection(threading.Thread):
    """One thread with at most one session per backend."""

    def __init__(self, *, number: int, done: Callable[["Connection", Job, Outcome], None]) -> None:
        super().__init__(name=f"connection-{number}", daemon=True)
        self.last_backend = ""
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done = done
        self._carriers: dict[str, Carrier] = {}

    def give(self, job: Job) -> None:
        self.last_backend = job.claim.backend
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread when it has done what it was given."""
        self._jobs.put(None)

    def run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_SECONDS if self._carriers else None)
            except queue.Empty:
                self._hang_up()
                continue
            if job is None:
                self._hang_up()
                return
            self._done(self, job, self._deliver(job))

    def _deliver(self, job: Job) -> Outcome:
        try:
            return self._carrier(job.claim.backend).deliver(job.letter, job.lease)
        except BackendError as error:
            return Outcome(
                Verdict.DEFER,
                Stage.CONNECT,
                blame=Blame.BACKEND,
                trouble=Trouble.CONNECT,
                reply=Reply(0, str(error)),
                error=type(error).__name__,
            )
        except Exception as error:  # noqa: BLE001 - the sender does not die of a mail, whatever a project's backend raises
            return Outcome(
                Verdict.RETRY,
                Stage.BUILD,
                blame=Blame.MESSAGE,
                reply=Reply(0, f"{type(error).__name__} while the mail was delivered"),
                error=type(error).__name__,
            )
        finally:
            # What a project's own template tags or storages opened in this thread.
            databases.close_all()

    def _carrier(self, backend: str) -> Carrier:
        for alias, other in self._carriers.items():
            if alias != backend:
                other.expire()
        if backend not in self._carriers:
            self._carriers[backend] = carrier_for(backend)
        return self._carriers[backend]

    def _hang_up(self) -> None:
        for carrier in self._carriers.values():
            carrier.close()
        self._carriers.clear()


class Pool:
    """All connections of this process. `give` starts work, `finished` takes what is done; the rest is running."""

    def __init__(self, size: int, *, accepted: Callable[[Job, Outcome], None], wake: Callable[[], None]) -> None:
        self.running: dict[int, Job] = {}
        self._accepted = accepted
        self._wake = wake
        self._finished: deque[tuple[Job, Outcome]] = deque()
        self._connections = [Connection(number=n, done=self._done) for n in range(size)]
        self._idle: list[Connection] = list(self._connections)
        self._lock = threading.Lock()
        for connection in self._connections:
            connection.start()

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def has_finished(self) -> bool:
        return bool(self._finished)

    def give(self, job: Job) -> None:
        """Hand a started mail to an idle connection, if possible to one that talks to this backend already."""
        self.running[job.claim.attempt_id] = job
        with self._lock:
            position = next(
                (n for n in reversed(range(len(self._idle))) if self._idle[n].last_backend == job.claim.backend), -1
            )
            connection = self._idle.pop(position)
        connection.give(job)

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Take in the outcome of a mail that needs no connection."""
        self.running[job.claim.attempt_id] = job
        self._finished.append((job, outcome))

    def finished(self) -> list[tuple[Job, Outcome]]:
        """Return what is done and not yet forgotten, oldest first."""
        return list(self._finished)

    def forget(self, settled: list[tuple[Job, Outcome]]) -> None:
        """Drop what `finished` returned, now that the database knows it."""
        for job, _ in settled:
            self._finished.popleft()
            self.running.pop(job.claim.attempt_id, None)

    def revoke(self) -> tuple[list[Job], list[Job]]:
        """Stop every delivery short of the final dot.

        Return those that are still running: what will not be sent any more, and what may have been sent.
        """
        finished = {job.claim.attempt_id for job, _ in self._finished}
        running = [job for job in list(self.running.values()) if job.claim.attempt_id not in finished]
        stopped = {job.claim.attempt_id for job in running if job.lease.revoke()}
        return (
            [job for job in running if job.claim.attempt_id in stopped],
            [job for job in running if job.claim.attempt_id not in stopped],
        )

    def stop(self, *, timeout: float) -> None:
        """End the threads; those that still talk to a server after the timeout are left to the end of the process."""
        for connection in self._connections:
            connection.stop()
        for connection in self._connections:
            connection.join(timeout)

    def _done(self, connection: Connection, job: Job, outcome: Outcome) -> None:
        self._accepted(job, outcome)
        with self._lock:
            self._idle.append(connection)
        self._finished.append((job, outcome))
        self._wake()
