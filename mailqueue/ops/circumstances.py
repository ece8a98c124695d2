"""What keeps mail waiting that is not its own: the backend, senders that are not there, and mail before it."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import connections
from django.db.models.functions import Now
from django.utils import timezone

from mailqueue.delivery.backends import canonical, configured_aliases
from mailqueue.models import BackendHealth, RefusedFrom
from mailqueue.ops.backends import Backend, backends_in_the_way
from mailqueue.ops.senders import Absence, absences
from mailqueue.queue.positions import Place, read_places
from mailqueue.queue.start import REFUSED_SECONDS


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What stands in the way of some mails."""

    backends: Mapping[str, Backend] = field(default_factory=dict)
    """Through which no mail flows now."""
    absences: Mapping[str, Absence] = field(default_factory=dict)
    """Backends for which no sender is alive."""
    places: Mapping[int, Place] = field(default_factory=dict)
    """By mail, what is sent before it."""
    refusals: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """What servers say of sender addresses that they refuse, by backend and address."""


def circumstances_of(unsent: Mapping[int, str], *, waiting: Collection[int], using: str) -> Circumstances:
    """Look around mails that are still to be sent, given with what their rows say of the backend.

    Those that are `waiting` are due. A statement is asked only where its answer would be told.
    """
    if not unsent:
        return Circumstances()
    wanted = {canonical(alias) for alias in unsent.values()}
    in_the_way = backends_in_the_way(using=using) | _gone(wanted)
    absent = absences(wanted, using=using)
    hindered = in_the_way.keys() | absent.keys()
    free = [pk for pk in waiting if canonical(unsent[pk]) not in hindered]
    places = _places(free, aliases=set(unsent.values()), using=using)
    return Circumstances(in_the_way, absent, places, _refusals(using=using) if waiting else {})


def _refusals(*, using: str) -> dict[tuple[str, str], str]:
    refused = RefusedFrom.objects.using(using).filter(refused_at__gt=Now() - timedelta(seconds=REFUSED_SECONDS))
    return {
        (backend, address): reply for backend, address, reply in refused.values_list("backend", "from_email", "reply")
    }


def _gone(aliases: Collection[str]) -> dict[str, Backend]:
    """Return those backends that are not configured: a sender holds their mail."""
    missing = set(aliases).difference(configured_aliases())
    return {alias: Backend(BackendHealth(alias=alias), timezone.now()) for alias in missing}


def _places(email_ids: Collection[int], *, aliases: Iterable[str], using: str) -> dict[int, Place]:
    if not email_ids:
        return {}
    backends = {alias: canonical(alias) for alias in aliases} | {"": canonical("")}
    with connections[using].cursor() as cursor:
        return read_places(cursor, list(email_ids), backends=json.dumps(backends))
