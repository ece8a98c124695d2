"""Looking for mail: which lanes hold any, which backends may be used, and how much to claim."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mailqueue.conf import Configuration
from mailqueue.delivery.backends import canonical, configured_aliases, spellings
from mailqueue.models import AttemptOutcome, StopReason
from mailqueue.queue.claim import Claim, claim
from mailqueue.queue.health import Health, read_health, take_probe
from mailqueue.queue.lanes import Lane, read_lanes
from mailqueue.queue.release import release
from mailqueue.queue.settle import Settlement, settle
from mailqueue.sender.limits import LONG_REST_SECONDS
from mailqueue.sender.log import instrument
from mailqueue.sender.options import Options

LOWER_SHARE = 10
"""One slot in so many is kept for lanes of lower priority."""


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


def look(
    cursor: Any,
    *,
    rooms: Mapping[str, int],
    avoiding: Mapping[str, str],
    options: Options,
    configuration: Configuration,
) -> Look:
    """Claim as many mails for each backend as there is room, highest lane first, with a share kept for the lower ones.

    `avoiding` names backends that were shut in this very transaction, with the reason.
    """
    found = Look()
    lanes = [lane for lane in read_lanes(cursor) if options.serves(lane.alias)]
    if not lanes:
        return found
    found.health = read_health(cursor)
    known, orphaned = _sort_out(lanes)
    wanted = dict(rooms)
    for position, (backend, priority) in enumerate(known):
        health = found.health.get(backend, Health())
        if reason := avoiding.get(backend) or _reason_to_leave(health):
            found.shut[backend] = reason
        elif health.is_shut:
            _probe(cursor, backend, priority=priority, found=found, options=options, configuration=configuration)
        elif health.rest_seconds > 0:
            found.is_resting = True
        elif backend not in rooms:
            found.shut[backend] = "other senders have all the connections that it allows"
        elif wanted[backend] > 0:
            has_lower = any(other == backend for other, _ in known[position + 1 :])
            limit = wanted[backend] - (wanted[backend] // LOWER_SHARE if has_lower else 0)
            claims = _claim(cursor, backend, priority, limit, options=options, configuration=configuration)
            found.is_more_likely |= len(claims) == limit
            found.claims += claims
            wanted[backend] -= len(claims)
    for alias, priority in orphaned:
        found.held_count += _hold(cursor, alias, priority=priority, options=options, configuration=configuration)
    return found


def _reason_to_leave(health: Health) -> str:
    """Why nothing of a backend is to be claimed, for longer than one waits."""
    if health.is_paused:
        return "paused by a person"
    if health.rest_seconds > LONG_REST_SECONDS:
        return f"it takes nothing more for {health.rest_seconds:.0f} seconds"
    return ""


def _sort_out(lanes: list[Lane]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return the lanes by backend and priority, and those whose backend is not configured any more."""
    configured = set(configured_aliases())
    known = dict.fromkeys((canonical(lane.alias), lane.priority) for lane in lanes)
    return (
        [lane for lane in known if lane[0] in configured],
        [lane for lane in known if lane[0] not in configured],
    )


def _claim(
    cursor: Any,
    backend: str,
    priority: int,
    limit: int,
    *,
    options: Options,
    configuration: Configuration,
    is_probe: bool = False,
) -> list[Claim]:
    return claim(
        cursor,
        spellings=spellings(backend),
        priority=priority,
        limit=limit,
        backend=backend,
        sender=options.sender,
        lease_seconds=configuration.LEASE_SECONDS,
        is_probe=is_probe,
    )


def _probe(
    cursor: Any, backend: str, *, priority: int, found: Look, options: Options, configuration: Configuration
) -> None:
    """Claim one mail of a backend that is shut, if a probe is due and nobody else makes it."""
    health = found.health[backend]
    found.shut[backend] = health.reason
    if not health.is_probe_due:
        return
    claims = _claim(cursor, backend, priority, 1, options=options, configuration=configuration, is_probe=True)
    if claims and take_probe(cursor, backend, delays=configuration.PROBE_DELAYS):
        instrument("backend.probed", backend=backend)
        found.health[backend] = replace(health, is_probe_due=False)
        found.claims += claims
    else:
        release(cursor, [claim.attempt_id for claim in claims], sender=options.sender)


def _hold(cursor: Any, alias: str, *, priority: int, options: Options, configuration: Configuration) -> int:
    """Hold due mail whose backend is not configured any more, and return how many."""
    note = f'The backend "{alias}" is not configured (any more).'
    claims = _claim(cursor, alias, priority, 100, options=options, configuration=configuration)
    if not claims:
        return 0
    settle(cursor, [_held(claim, note=note) for claim in claims])
    instrument("backend.missing", level=logging.ERROR, backend=alias, held=len(claims))
    return len(claims)


def _held(claim: Claim, *, note: str) -> Settlement:
    return Settlement(
        attempt_id=claim.attempt_id,
        email_id=claim.email_id,
        token=claim.token,
        outcome=AttemptOutcome.DEFERRED,
        stop=StopReason.HELD,
        note=note,
    )
