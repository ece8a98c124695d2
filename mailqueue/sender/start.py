"""Starting what was claimed: mark it, read it, and turn away what must not go out after all."""

from collections.abc import Collection, Sequence
from typing import Any

from django.db import transaction

from mailqueue.conf import Configuration
from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.outbox.identity import fix_identity
from mailqueue.outbox.messages import Mail, letter_of, load, recipients_of
from mailqueue.queue.claim import Claim
from mailqueue.queue.health import probe_again
from mailqueue.queue.history import History, read_histories
from mailqueue.queue.mails import read_plain
from mailqueue.queue.release import release
from mailqueue.queue.settle import Settlement, settle
from mailqueue.queue.start import expired, refused, start
from mailqueue.queue.usual import Turned
from mailqueue.sender.held import WhyHeld, tell_held
from mailqueue.sender.jobs import Job, Lease, options_of
from mailqueue.sender.limits import Limits
from mailqueue.sender.log import instrument
from mailqueue.sender.options import Options


class Starter:
    """Works in the transaction of a turn."""

    def __init__(self, *, options: Options, configuration: Configuration, limits: Limits) -> None:
        self._options = options
        self._lease_seconds = configuration.LEASE_SECONDS
        self._limits = limits

    def start(
        self, cursor: Any, claims: Sequence[Claim], *, asked_at: float, turned: Turned | None = None
    ) -> list[Job]:
        """Return the mails that may go out once this is committed; `turned` says that they are marked already."""
        if not claims:
            return []
        ids = [claim.email_id for claim in claims]
        plain = read_plain(cursor, ids) if turned is None else turned.plain
        emails = load(ids, using=self._options.using, plain=plain)
        if turned is None:
            # Mails are locked before their attempts, as by those who cancel: otherwise the two could deadlock.
            fix_identity(emails.values(), using=self._options.using)
            live = start(cursor, claims, sender=self._options.sender, lease_seconds=self._lease_seconds)
        else:
            live = turned.started
        if left_out := [claim for claim in claims if claim.attempt_id not in live]:
            sensitive = {pk for pk, email in emails.items() if (options := options_of(email)) and options.is_sensitive}
            with transaction.atomic(using=self._options.using, savepoint=False):
                self._turn_away(cursor, left_out, sensitive=sensitive)
        starting = [claim for claim in claims if claim.attempt_id in live and claim.email_id in emails]
        histories = read_histories(cursor, [claim.email_id for claim in starting if claim.number > 1])
        return [
            self._job(claim, emails[claim.email_id], histories.get(claim.email_id, History()), asked_at=asked_at)
            for claim in starting
        ]

    def _turn_away(self, cursor: Any, claims: list[Claim], *, sensitive: Collection[int]) -> None:
        """Settle what expired before it could start, hold what has a From that is refused, hand back the rest."""
        late = expired(cursor, claims, sender=self._options.sender)
        settle(cursor, [_expiry(claim) for claim in claims if claim.attempt_id in late], sensitive=sensitive)
        left = [claim for claim in claims if claim.attempt_id not in late]
        refusals = refused(cursor, left, sender=self._options.sender)
        settle(
            cursor,
            [_refusal(claim, refusals[claim.attempt_id]) for claim in left if claim.attempt_id in refusals],
        )
        rest = [claim.attempt_id for claim in left if claim.attempt_id not in refusals]
        release(cursor, rest, sender=self._options.sender)
        for claim in claims:
            if self._limits.of(claim.backend).is_shut:
                probe_again(cursor, claim.backend)
            if claim.attempt_id in late:
                instrument("mail.expired", email=claim.email_id, attempt=claim.number)
            if claim.attempt_id in refusals:
                tell_held(claim, WhyHeld.REFUSED_FROM)

    def _job(self, claim: Claim, email: Mail, history: History, *, asked_at: float) -> Job:
        lease = Lease(asked_at=asked_at, seconds=self._lease_seconds)
        return Job(claim, email, letter_of(email, recipients=history.pending(recipients_of(email))), history, lease)


def _expiry(claim: Claim) -> Settlement:
    return Settlement(
        attempt_id=claim.attempt_id,
        email_id=claim.email_id,
        token=claim.token,
        outcome=AttemptOutcome.EXPIRED,
        stop=StopReason.EXPIRED,
        note="Its time ran out before it could be sent.",
    )


def _refusal(claim: Claim, reply: str) -> Settlement:
    return Settlement(
        attempt_id=claim.attempt_id,
        email_id=claim.email_id,
        token=claim.token,
        outcome=AttemptOutcome.DEFERRED,
        stop=StopReason.HELD,
        note=f"The mail server has just refused mail of this From, and was not asked again. It said: {reply}",
    )
