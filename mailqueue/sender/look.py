"""Looking for mail: which lanes hold any, which backends may be used, and how much to claim."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from post_office.models import PRIORITY

from mailqueue.conf import Configuration
from mailqueue.delivery.backends import canonical, configured_aliases, spellings
from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.queue.claim import Claim, claim
from mailqueue.queue.health import Health, take_probe
from mailqueue.queue.lanes import Lane
from mailqueue.queue.release import release
from mailqueue.queue.settle import Settlement, settle
from mailqueue.sender.cursors import Cursors
from mailqueue.sender.held import WhyHeld, tell_held
from mailqueue.sender.limits import LONG_REST_SECONDS
from mailqueue.sender.log import instrument
from mailqueue.sender.options import Options
from mailqueue.sender.stock import ANY_PRIORITY

PRIORITIES = tuple(PRIORITY)
"""Of post_office; rows may have others."""


@dataclass(slots=True)
class Look:
    """What one look brought."""

    claims: list[Claim] = field(default_factory=list)
    health: dict[str, Health] = field(default_factory=dict)
    is_more_likely: bool = False
    """A lane gave as much as was asked of it."""
    held_count: int = 0
    """Mails that were held because their backend is gone."""
    shut: dict[str, str] = field(default_factory=dict)
    """Backends that have mail but are shut, paused or resting for long, with the reason."""
    is_resting: bool = False
    """Some backend has mail, and takes it in a moment."""
    cursors: Cursors = field(default_factory=Cursors)
    """Where the next look goes on."""


def look(
    cursor: Any,
    *,
    rooms: Mapping[str, int],
    avoiding: Mapping[str, str],
    options: Options,
    configuration: Configuration,
    cursors: Cursors | None = None,
    above: Mapping[str, int] | None = None,
    is_alone: bool = False,
) -> Look:
    """Claim as many mails for each backend as there is room, highest lane first, with a share kept for the lower ones.

    `avoiding` names backends that were shut in this very transaction, with the reason. Of a backend that is in `above`
    only mail of a higher priority than that is claimed. `is_alone` is as in `claim`.
    """
    found = Look(cursors=(cursors or Cursors()).copy())
    search = Search(
        cursor,
        found,
        rooms,
        avoiding=avoiding,
        above=above or {},
        options=options,
        conf=configuration,
        is_alone=is_alone,
    )
    search.run()
    if options.is_until_empty and not (found.claims or found.cursors.is_whole):
        search.run(is_whole_wanted=True)
    return found


class Search:
    """One look under way."""

    def __init__(
        self,
        cursor: Any,
        found: Look,
        rooms: Mapping[str, int],
        *,
        avoiding: Mapping[str, str],
        above: Mapping[str, int],
        options: Options,
        conf: Configuration,
        is_alone: bool,
    ) -> None:
        self._cursor = cursor
        self._found = found
        self._rooms = rooms
        self._avoiding = avoiding
        self._above = above
        self._options = options
        self._configuration = conf
        self._is_alone = is_alone

    def run(self, *, is_whole_wanted: bool = False) -> None:
        """Read the lanes, and claim what there is room for."""
        usual = [
            (alias, priority)
            for backend in configured_aliases()
            if self._options.serves(backend)
            for alias in spellings(backend)
            for priority in PRIORITIES
        ]
        lanes = self._found.cursors.read(self._cursor, usual=usual, is_whole_wanted=is_whole_wanted)
        self._found.health = lanes.health
        known, orphaned = _sort_out([lane for lane in lanes.lanes if lane.is_due and self._options.serves(lane.alias)])
        for backend, priorities in known.items():
            self._take(backend, priorities)
        for alias, priority in orphaned:
            self._hold(alias, priority=priority)

    def _take(self, backend: str, priorities: list[int]) -> None:
        """Claim mail of one backend, in these lanes, if it may be used."""
        found, health = self._found, self._found.health.get(backend, Health())
        if reason := self._avoiding.get(backend) or _reason_to_leave(health):
            found.shut[backend] = reason
        elif health.is_shut:
            self._probe(backend, priorities)
        elif health.rest_seconds > 0:
            found.is_resting = True
        elif backend not in self._rooms:
            found.shut[backend] = "other senders have all the connections that it allows"
        else:
            self._fill(backend, [p for p in priorities if p > self._above.get(backend, ANY_PRIORITY)])

    def _fill(self, backend: str, priorities: list[int]) -> None:
        """Claim what there is room for. What a lane does not need of its share goes to those below it."""
        shares = self._found.cursors.precedences[backend].share_out(self._rooms[backend], priorities)
        left = 0
        for priority in priorities:
            limit = shares[priority] + left
            claims = self._claim(backend, priority, limit) if limit else []
            self._found.is_more_likely |= 0 < limit == len(claims)
            self._found.claims += claims
            left = limit - len(claims)

    def _claim(self, backend: str, priority: int, limit: int, *, is_probe: bool = False) -> list[Claim]:
        aliases = spellings(backend)
        catch = claim(
            self._cursor,
            begins=self._found.cursors.begins(aliases, priority=priority),
            priority=priority,
            limit=limit,
            backend=backend,
            sender=self._options.sender,
            lease_seconds=self._configuration.LEASE_SECONDS,
            is_probe=is_probe,
            is_alone=self._is_alone,
        )
        self._found.cursors.move(aliases, priority=priority, to=catch.end)
        return catch.claims

    def _probe(self, backend: str, priorities: list[int]) -> None:
        """Claim one mail of a backend that is shut, if a probe is due and nobody else makes it."""
        health = self._found.health[backend]
        self._found.shut[backend] = health.reason
        for priority in priorities if health.is_probe_due else ():
            claims = self._claim(backend, priority, 1, is_probe=True)
            if claims and take_probe(self._cursor, backend, delays=self._configuration.PROBE_DELAYS):
                instrument("backend.probed", backend=backend)
                self._found.health[backend] = replace(health, is_probe_due=False)
                self._found.claims += claims
                return
            release(self._cursor, [claim.attempt_id for claim in claims], sender=self._options.sender)

    def _hold(self, alias: str, *, priority: int) -> None:
        """Hold due mail whose backend is not configured any more."""
        note = f'The backend "{alias}" is not configured (any more).'
        if claims := self._claim(alias, priority, 100):
            settle(self._cursor, [_held(claim, note=note) for claim in claims])
            instrument("backend.missing", level=logging.ERROR, backend=alias, held=len(claims))
            for claim in claims:
                tell_held(claim, WhyHeld.NO_BACKEND)
            self._found.held_count += len(claims)


def _reason_to_leave(health: Health) -> str:
    """Why nothing of a backend is to be claimed, for longer than one waits."""
    if health.is_paused:
        return "paused by a person"
    if health.rest_seconds > LONG_REST_SECONDS:
        return f"it takes nothing more for {health.rest_seconds:.0f} seconds"
    return ""


def _sort_out(lanes: list[Lane]) -> tuple[dict[str, list[int]], list[tuple[str, int]]]:
    """Return the priorities of which each backend has mail, and the lanes whose backend is not configured any more."""
    configured = set(configured_aliases())
    known: defaultdict[str, list[int]] = defaultdict(list)
    for backend, priority in dict.fromkeys((canonical(lane.alias), lane.priority) for lane in lanes):
        known[backend].append(priority)
    orphaned = [(alias, priority) for alias in known for priority in known[alias] if alias not in configured]
    return {backend: known[backend] for backend in known if backend in configured}, orphaned


def _held(claim: Claim, *, note: str) -> Settlement:
    return Settlement(
        attempt_id=claim.attempt_id,
        email_id=claim.email_id,
        token=claim.token,
        outcome=AttemptOutcome.DEFERRED,
        stop=StopReason.HELD,
        note=note,
    )
