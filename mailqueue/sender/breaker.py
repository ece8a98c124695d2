"""What the outcomes of a turn say about a backend, written where all senders share it."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mailqueue.conf import Configuration
from mailqueue.delivery.outcomes import Outcome, Pace, Trouble
from mailqueue.queue.health import probe_again, record_calm, record_crowding, record_success, record_trouble
from mailqueue.queue.rate import throttle
from mailqueue.queue.start import record_refused_from
from mailqueue.sender.jobs import Job
from mailqueue.sender.limits import SESSION_BEGAN, Limits, is_answering
from mailqueue.sender.plan import Effects, Event, Result
from mailqueue.sender.tide import Tide

OWN_FAULT_AFTER = 2
"""A mail that was put off so often already, while others pass, says nothing about the others."""
PASSING_SECONDS = 60
"""A backend that took a mail so lately lets others pass when it turns one away."""
UNREACHED = (Trouble.CONNECT, Trouble.CROWDED)
"""What counts on the breaker."""


class Breaker:
    """Judges one backend by the results of one turn."""

    def __init__(
        self, cursor: Any, backend: str, *, limits: Limits, tide: Tide, configuration: Configuration, effects: Effects
    ) -> None:
        self._cursor = cursor
        self._backend = backend
        self._limits = limits
        self._tide = tide
        self._delays = configuration.PROBE_DELAYS
        self._effects = effects

    def judge(self, results: Sequence[Result], *, busy_count: int) -> None:
        """Record what went wrong, or that the backend answered; `busy_count` connections of this sender are in use."""
        outcomes = [outcome for _, outcome in results]
        troubles = Counter(outcome.trouble for outcome in outcomes)
        if troubles[Trouble.CROWDED] or troubles[Trouble.BUSY]:
            self._crowd(busy_count + len(outcomes))
        if complaints := [outcome for job, outcome in results if self._is_complaint(job, outcome)]:
            self._throttle(complaints)
        elif self._tide.take_putting_off():
            self._throttle(())
        if troubles[Trouble.SENDER]:
            self._refuse_froms(results)
        self._tell_of_surprises(results)
        self._judge_reach(outcomes, fatal=[o for o in outcomes if o.trouble == Trouble.SHUT])

    def _judge_reach(self, outcomes: Sequence[Outcome], *, fatal: Sequence[Outcome]) -> None:
        health = self._limits.of(self._backend)
        failures = [outcome for outcome in outcomes if outcome.trouble in UNREACHED]
        if any(map(is_answering, outcomes)) and not fatal:
            self._succeed()
        elif fatal or failures:
            count = health.failure_count + len(failures)
            self._effects.health[self._backend] = replace(health, failure_count=count)
            self._count(fatal or failures, count=len(failures) or 1, at_once=bool(fatal))
        elif health.is_shut and all(_is_unreached(outcome) for outcome in outcomes):
            # The probe never reached the server: the mail could not be built, or had nobody to go to.
            probe_again(self._cursor, self._backend)

    def _succeed(self) -> None:
        health = self._limits.of(self._backend)
        if health.is_troubled and record_success(self._cursor, self._backend):
            self._effects.opened.add(self._backend)
        self._effects.health[self._backend] = replace(health, failure_count=0, is_shut=False, reason="")
        if health.connection_limit is not None:
            record_calm(self._cursor, self._backend, most=self._limits.total_connections(self._backend))

    def _count(self, failures: Sequence[Outcome], *, count: int, at_once: bool) -> None:
        worst = failures[-1]
        reason = f"{worst.stage}: {str(worst.reply) or worst.error}"
        was_shut = record_trouble(
            self._cursor, self._backend, count=count, at_once=at_once, reason=reason, delays=self._delays
        )
        if was_shut:
            # An exception's text may show what the service was asked: the admin tells it, the log does not.
            code = f"{worst.stage}: {worst.reply.code} {worst.error}"
            self._effects.shut[self._backend] = code if worst.reply.is_exception else reason

    def _crowd(self, in_use: int) -> None:
        total = in_use * self._limits.sender_count(self._backend)
        most = self._limits.allowed_connections(self._backend)
        limit = record_crowding(self._cursor, self._backend, in_use=total if most is None else min(total, most))
        if limit is not None:
            self._tell(Event("backend.crowded", logging.WARNING, {"connections": limit}))

    def _is_complaint(self, job: Job, outcome: Outcome) -> bool:
        """Whether it means us all, and not again and again one mail while others pass."""
        is_its_own = job.history.deferred >= OWN_FAULT_AFTER and self._tide.is_passing(seconds=PASSING_SECONDS)
        return outcome.trouble == Trouble.THROTTLED and not is_its_own

    def _throttle(self, outcomes: Sequence[Outcome]) -> None:
        hints = [outcome.reply.retry_after for outcome in outcomes if outcome.reply.retry_after is not None]
        rest = throttle(
            self._cursor,
            self._backend,
            measured=max(self._tide.accepted_rate(), 1.0) * self._limits.sender_count(self._backend),
            ceiling=self._limits.rate(self._backend).per_second,
            hint=max(hints, default=None),
        )
        if rest is not None:
            self._effects.waits[self._backend] = rest
            self._tell(Event("backend.throttled", logging.WARNING, {"seconds": rest}))

    def _refuse_froms(self, results: Sequence[Result]) -> None:
        for job, outcome in results:
            if outcome.trouble != Trouble.SENDER:
                continue
            email_id, reply = job.claim.email_id, str(outcome.reply)
            if record_refused_from(self._cursor, email_id=email_id, backend=self._backend, reply=reply):
                self._tell(Event("backend.refuses_from", logging.ERROR, {"email": email_id}))

    def _tell_of_surprises(self, results: Sequence[Result]) -> None:
        for job, outcome in results:
            if outcome.pace == Pace.THREE_TIMES:
                fields = {"email": job.claim.email_id, "attempt": job.claim.number, "error": outcome.error}
                self._tell(Event("mail.surprised", logging.ERROR, fields))

    def _tell(self, event: Event) -> None:
        event.fields = {"backend": self._backend, **event.fields}
        self._effects.events.append(event)


def _is_unreached(outcome: Outcome) -> bool:
    return outcome.trouble == Trouble.NONE and outcome.stage not in SESSION_BEGAN
