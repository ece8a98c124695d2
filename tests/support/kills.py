"""Many short lives of senders, each ended by SIGKILL: at a named point that it reaches, or at a random moment."""

import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from post_office.models import STATUS, Email

from mailqueue.faults import POINTS, VARIABLE
from mailqueue.models import Attempt, AttemptOutcome, StopReason
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.processes import RunningProcess
from tests.support.senders import Senders, message_ids_by_subject, missing, queue_mails, subjects_of
from tests.support.waiting import wait_until

RANDOM = "random"
LATE = "late"
"""A sender that does not reach its point in time is killed like the random ones, counted apart, and begun again."""
LATE_SECONDS = 20
"""So long from when it has started its work, and not from when its process has: imports may take longer."""
AFTER_JOURNAL = ("journaled", "settling")
"""Points that are reached when what the server took is in the journal; nothing else is in flight on one connection."""
ALONE = (*AFTER_JOURNAL, "reaping")
"""At these a sender has one connection, so that nothing but what the point is about is in flight."""
MOST_REACHED = {"claimed": 4, "journaled": 20, "settling": 20, "reaping": 1}
MAILS_OF_A_LIFE = 80
CONNECTIONS = 4
AT_ONCE = 3

logger = logging.getLogger(__name__)


@dataclass
class Life:
    """One sender process from its start to its end."""

    aim: str
    """Where it is meant to be killed."""
    after: int
    """How often the point is reached, or how many mails the server takes, until the kill."""
    process: RunningProcess
    stack: ExitStack
    accepted_before: int
    started_at: float | None = None
    sender: str = ""
    code: int | None = None
    is_late: bool = False

    @property
    def point(self) -> str:
        """Where it was killed."""
        return LATE if self.is_late else self.aim

    @property
    def connections(self) -> int:
        return 1 if self.aim in ALONE else CONNECTIONS

    def is_over(self, server: SmtpServer) -> bool:
        """Say whether the process has ended; end it when its time has come."""
        if self.process.is_running():
            if not self._has_started():
                return False
            if self.aim == RANDOM and self._has_enough(server):
                self.process.send(signal.SIGKILL)
            elif self.started_at and time.monotonic() - self.started_at > LATE_SECONDS:
                self.is_late = True
                self.process.send(signal.SIGKILL)
            return False
        self.sender = self.process.wait_for(r"sender\.started sender=(\S+)")[1]
        self.code = self.process.wait()
        self.stack.close()
        return True

    def _has_started(self) -> bool:
        if self.started_at is None and "sender.started" in self.process.said():
            self.started_at = time.monotonic()
        return self.started_at is not None

    def _has_enough(self, server: SmtpServer) -> bool:
        return len(server.messages) >= self.accepted_before + self.after


def kill_senders(senders: Senders, server: SmtpServer, *, kills: int, mails: int) -> tuple[list[str], list[Life]]:
    """Queue mails while senders come and are killed, a few at a time; return the subjects and the lives.

    There are more kills and more mails than asked for when senders come too late to their point: for another took
    the mails that would have led there.
    """
    share = mails // 2 // kills
    subjects = queue_mails(mails - share * kills)
    points = [(*POINTS, RANDOM)[number % (len(POINTS) + 1)] for number in range(kills)]
    random.shuffle(points)
    lives: list[Life] = []
    running: list[Life] = []

    def somebody_died() -> bool:
        over = [life for life in running if life.is_over(server)]
        lives.extend(over)
        if len(lives) < 2 * kills:
            points.extend(life.aim for life in over if life.is_late)
        running[:] = [life for life in running if life not in over]
        return bool(over)

    with ExitStack() as stack:
        while points or running:
            while points and len(running) < AT_ONCE:
                subjects += queue_mails(share, prefix=f"life{len(lives) + len(running)}")
                running.append(_begin(senders, server, points.pop(), stack=stack))
            wait_until(somebody_died, seconds=5 * LATE_SECONDS, what="the end of a sender")
            if len(lives) % 50 == 0:
                logger.info("%d kills, %d mails accepted", len(lives), len(server.messages))
    return subjects, lives


def _begin(senders: Senders, server: SmtpServer, point: str, *, stack: ExitStack) -> Life:
    after = random.randint(1, MOST_REACHED.get(point, MAILS_OF_A_LIFE))
    faults = {} if point == RANDOM else {VARIABLE: f"{point}=kill@{after}"}
    connections = 1 if point in ALONE else CONNECTIONS
    own = stack.enter_context(ExitStack())
    process = own.enter_context(senders.start("--concurrency", str(connections), env=faults))
    return Life(point, after, process, own, len(server.messages))


def drain(senders: Senders) -> None:
    """Let one sender, which nobody kills, send what is left."""
    with senders.start() as sender:
        sender.wait_for(r"sender\.started")  # TERM ends it before as it ends any process
        queued = Email.objects.filter(status__in=[STATUS.queued, STATUS.requeued])
        wait_until(lambda: not queued.exists(), seconds=180, what="an empty queue")
        assert sender.stop() == 0


@dataclass(frozen=True)
class Damage:
    """What the kills did, from the books of the server and of the database."""

    queued: int
    accepted: int
    lost: set[str]
    held: int
    """Mails that a person has to decide about, for nobody knows whether the server took them."""
    copies_by_mail: Counter[str]
    unknown_by_mail: Counter[str]
    unknown_by_sender: Counter[str]
    most_message_ids: int
    """The largest number of Message-IDs that one mail arrived under."""

    @classmethod
    def of(cls, subjects: Collection[str], server: SmtpServer) -> "Damage":
        unknown = Attempt.objects.filter(outcome=AttemptOutcome.UNKNOWN).values_list("sender", "email__subject")
        held = Email.objects.filter(status=STATUS.failed, mailqueue_state__reason=StopReason.UNKNOWN)
        return cls(
            queued=len(subjects),
            accepted=len(server.messages),
            lost=missing(subjects, server) - set(held.values_list("subject", flat=True)),
            held=held.count(),
            copies_by_mail=subjects_of(server) - Counter(set(subjects)),
            unknown_by_mail=Counter(subject for _, subject in unknown),
            unknown_by_sender=Counter(sender for sender, _ in unknown),
            most_message_ids=max(len(ids) for ids in message_ids_by_subject(server).values()),
        )


def log_figures(lives: Sequence[Life], damage: Damage) -> None:
    """Tell what happened, for whoever runs the large size by hand."""
    kills = Counter(life.point for life in lives)
    unknown: Counter[str] = Counter()
    for life in lives:
        unknown[life.point] += damage.unknown_by_sender[life.sender]
    logger.info("%d kills: %s", kills.total(), dict(kills))
    logger.info("%d accepted, %d lost, %d held", damage.accepted, len(damage.lost), damage.held)
    logger.info("%d unknown: %s", damage.unknown_by_mail.total(), dict(unknown))
    connections = sum(life.connections for life in lives)
    logger.info("%d copies, %d connections at the kills", damage.copies_by_mail.total(), connections)
