"""What should be true of mails after whatever happened to them: plain Python beside the database of the tests."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from post_office.models import STATUS

from mailqueue.delivery.outcomes import Verdict
from mailqueue.models import FINAL_OUTCOMES, AttemptOutcome, StopReason

LANE = (STATUS.queued, STATUS.requeued)


@dataclass(eq=False)
class Try:
    """One attempt as the model knows it."""

    sender: str
    is_started: bool = False
    is_live: bool = True
    """Its lease has not ended."""
    outcome: str | None = None
    results: Mapping[str, Verdict] = field(default_factory=dict)
    """What the database was told of each recipient."""
    was_unknown: bool = False
    was_stopped: bool = False
    """The mail was taken out of the queue since: what counts begins anew."""
    was_given_up: bool = False
    """It had ended when a person ordered the mail to be sent, who then accepts what its process may still do."""

    @property
    def is_open(self) -> bool:
        return self.outcome is None


@dataclass(eq=False)
class Mail:
    """One mail: where it stands, its attempts, and to whom a server really gave it."""

    recipients: list[str]
    priority: int
    is_due: bool
    may_expire: bool
    status: int = STATUS.queued
    reason: str = ""
    has_expired: bool = False
    tries: list[Try] = field(default_factory=list)
    takes: dict[str, list[Try]] = field(default_factory=dict)
    """The attempts in which a server took it for each recipient, since a person last ordered it to be sent."""

    @property
    def in_lane(self) -> bool:
        return self.status in LANE

    @property
    def open(self) -> Try | None:
        return next((attempt for attempt in self.tries if attempt.is_open), None)

    @property
    def is_claimable(self) -> bool:
        return self.in_lane and self.is_due and self.open is None

    @property
    def is_being_sent(self) -> bool:
        return self.open is not None and self.open.is_started

    @property
    def unknown_count(self) -> int:
        """Attempts of this round of which nobody knows how they ended."""
        return sum(attempt.outcome == AttemptOutcome.UNKNOWN for attempt in self._round())

    def _round(self) -> list[Try]:
        attempts: list[Try] = []
        for attempt in self.tries:
            if not attempt.is_open:
                attempts = [] if attempt.was_stopped or attempt.outcome in FINAL_OUTCOMES else [*attempts, attempt]
        return attempts

    @property
    def known_takers(self) -> set[str]:
        """Recipients who have the mail as far as the database knows, since it was last sent in full."""
        known: set[str] = set()
        for attempt in self.tries:
            known |= _with(attempt.results, Verdict.SENT)
            if attempt.outcome == AttemptOutcome.SENT:
                known = set()
        return known

    @property
    def refused(self) -> set[str]:
        """Recipients who were refused for good in this round."""
        return {address for attempt in self._round() for address in _with(attempt.results, Verdict.FAIL)}

    @property
    def pending(self) -> list[str]:
        return [a for a in self.recipients if a not in self.known_takers | self.refused]

    def may_start(self, attempt: Try) -> bool:
        return attempt in self.tries and attempt.is_open and attempt.is_live and self.in_lane and not self.has_expired

    def is_too_late(self, attempt: Try) -> bool:
        return attempt in self.tries and attempt.is_open and self.in_lane and self.has_expired

    def take(self, attempt: Try, recipients: Collection[str]) -> None:
        """A server takes the mail for these recipients."""
        for address in () if attempt.was_given_up else recipients:
            self.takes.setdefault(address, []).append(attempt)

    @property
    def unexplained_copies(self) -> int:
        """How often somebody got the mail again by attempts of which none was marked as unknown."""
        return sum(max(sum(not t.was_unknown for t in takes) - 1, 0) for takes in self.takes.values())

    def drop(self, attempt: Try) -> None:
        """The claim was handed back, as if there had been none."""
        if attempt in self.tries:
            self.tries.remove(attempt)

    def settle(
        self, attempt: Try, results: Mapping[str, Verdict], *, refused: Collection[str], known: set[str]
    ) -> bool:
        """Conclude from what a server said about each recipient; return whether that counts.

        `refused` and `known` are recipients who were refused for good, and who had the mail, when the attempt began.
        """
        accepted = _with(results, Verdict.SENT)
        if attempt not in self.tries or not self._may_close(attempt, is_accepted=bool(accepted) or not results):
            return False
        if _with(results, Verdict.RETRY):
            attempt.outcome = AttemptOutcome.RETRY
            self.put_off()
        elif not _with(results, Verdict.FAIL) and not refused:
            attempt.outcome = AttemptOutcome.SENT
            self.status = STATUS.sent
        elif accepted or known:
            attempt.outcome = AttemptOutcome.PARTLY_SENT
            self.status = STATUS.sent
        else:
            attempt.outcome = AttemptOutcome.FAILED
            self.stop(StopReason.FAILED)
        attempt.results = dict(results)
        return True

    def _may_close(self, attempt: Try, *, is_accepted: bool) -> bool:
        return attempt.is_open or (attempt.outcome == AttemptOutcome.UNKNOWN and is_accepted)

    def lose(self, attempt: Try, *, is_resent: bool) -> bool:
        """The sender itself does not know how the attempt ended."""
        is_closed = self.close(attempt, AttemptOutcome.UNKNOWN)
        if is_closed:
            self.become_unknown(attempt, is_resent=is_resent)
        return is_closed

    def defer(self, attempt: Try, *, waits: bool) -> bool:
        """The backend is to blame: the mail waits a moment, or for the backend, and has not been tried."""
        is_closed = self.close(attempt, AttemptOutcome.DEFERRED)
        if is_closed and waits:
            self.put_off()
        return is_closed

    def close(self, attempt: Try, outcome: AttemptOutcome) -> bool:
        """End an attempt of which the server did not take the mail for anybody, as far as its sender knows."""
        if attempt not in self.tries or not self._may_close(attempt, is_accepted=False):
            return False
        attempt.outcome = outcome
        return True

    def become_unknown(self, attempt: Try, *, is_resent: bool) -> None:
        """Nobody knows whether the server took it: once more where that is wanted, else a person decides."""
        attempt.outcome = AttemptOutcome.UNKNOWN
        attempt.was_unknown = True
        if is_resent and self.unknown_count == 1:
            self.wait()
        else:
            self.stop(StopReason.UNKNOWN)

    def put_off(self) -> None:
        """Wait for the next try. What has expired waits for none: its next claim finds out and stops it."""
        self.wait()
        self.is_due |= self.has_expired and self.in_lane

    def wait(self) -> None:
        if self.in_lane:
            self.status, self.is_due = STATUS.requeued, False

    def stop(self, reason: StopReason) -> None:
        if not self.in_lane:
            return
        self.status, self.reason = STATUS.failed, reason
        for attempt in self.tries:
            attempt.was_stopped |= not attempt.is_open

    def withdraw(self) -> bool:
        """Take an unstarted claim away from its sender; return whether nobody is sending the mail."""
        if self.open and not self.open.is_started:
            self.drop(self.open)
        return self.open is None

    def requeue(self) -> None:
        """A person orders it to be sent at once; what was held before its time, then."""
        keeps_its_time = self.status == STATUS.failed and self.reason == StopReason.HELD and not self.tries
        self.is_due = self.is_due or not keeps_its_time
        self.set_back()

    def set_back(self) -> None:
        """A person orders it to be sent, by whatever means."""
        self.status = STATUS.queued
        self.takes = {}
        for attempt in self.tries:
            attempt.was_given_up |= not attempt.is_open


def _with(results: Mapping[str, Verdict], verdict: Verdict) -> set[str]:
    return {address for address, found in results.items() if found == verdict}
