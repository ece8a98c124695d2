"""System checks of what keeps vacuum from its work: the queue goes on, but its claims grow slower."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Tags, register
from django.core.checks import Warning as Caution
from django.db import Error, connections, router, transaction
from django.utils.timezone import localtime
from post_office.models import Email

from mailqueue.queue.tables import (
    HELD_SECONDS,
    HeldSnapshot,
    Holder,
    are_there,
    is_in_use,
    read_held_snapshots,
    read_lane_size,
    read_unvacuumed,
)

MEGABYTE = 1024 * 1024
WHO = {
    Holder.SESSION: "The session with the pid {name}",
    Holder.PREPARED: 'The prepared transaction "{name}"',
    Holder.SLOT: 'The replication slot "{name}"',
}
REMEDIES = {
    Holder.SESSION: "Let it end, or end it: SELECT pg_terminate_backend({name}).",
    Holder.PREPARED: "Finish it: COMMIT PREPARED or ROLLBACK PREPARED '{name}'.",
    Holder.SLOT: "Bring its standby back, or drop the slot: SELECT pg_drop_replication_slot('{name}').",
}


@register(Tags.database)
def check_tables(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """mailqueue.W009, W010, W011: a snapshot is held, the lane index is bloated, autovacuum is switched off."""
    alias = router.db_for_write(Email)
    if alias not in (databases or ()) or connections[alias].vendor != "postgresql":
        return []
    try:
        # A statement that fails must not spoil the transaction that the caller may have open.
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            return [*_of_tables(cursor)] if are_there(cursor) else []
    except Error:
        return []  # a database that is away or says no is reported by others, or nobody's fault


def _of_tables(cursor: Any) -> Iterator[CheckMessage]:
    if is_in_use(cursor):
        yield from map(_held, read_held_snapshots(cursor, seconds=HELD_SECONDS))
    yield from _bloated(cursor)
    yield from map(_unvacuumed, read_unvacuumed(cursor))


def _held(snapshot: HeldSnapshot) -> CheckMessage:
    who = WHO[snapshot.holder].format(name=snapshot.name)
    whose = f" ({snapshot.application})" if snapshot.application else ""
    since = f"{snapshot.transaction_count} transactions"
    if snapshot.since is not None:
        since = f"more than {HELD_SECONDS // 60} minutes, since {localtime(snapshot.since):%Y-%m-%d %H:%M:%S %Z}"
    return Caution(
        f"{who}{whose} has been holding a snapshot for {since}: until it ends, vacuum can't remove what was sent "
        "meanwhile, and the tables of the queue grow.",
        hint=REMEDIES[snapshot.holder].format(name=snapshot.name),
        id="mailqueue.W009",
    )


def _bloated(cursor: Any) -> Iterator[CheckMessage]:
    lane = read_lane_size(cursor)
    if lane is not None and lane.is_bloated:
        yield Caution(
            f"The lane index mailqueue_lane takes {lane.size_bytes // MEGABYTE} MB, and needs about "
            f"{-(-lane.needed_bytes // MEGABYTE)} MB for what stands in the queue.",
            hint="Run `VACUUM post_office_email`, then `REINDEX INDEX CONCURRENTLY mailqueue_lane`; the senders may "
            "run meanwhile.",
            id="mailqueue.W010",
        )


def _unvacuumed(table: str) -> CheckMessage:
    where = f"for the table {table}" if table else "on the whole server"
    remedy = f"`ALTER TABLE {table} RESET (autovacuum_enabled)`"
    return Caution(
        f"Autovacuum is switched off {where}: the tables of the queue grow with each mail, and claims grow slower.",
        hint=f"Run {remedy}." if table else "Set autovacuum and track_counts to on in postgresql.conf.",
        id="mailqueue.W011",
    )
