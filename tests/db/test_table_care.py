"""The tables under load: storage parameters, updates in place, and what the checks say of snapshots and bloat."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import psycopg
import pytest
from django.core.checks import WARNING, CheckMessage
from django.db import OperationalError, connection, connections, router, transaction

from mailqueue import table_checks
from mailqueue.models import Attempt
from mailqueue.queue import tables
from mailqueue.queue.start import start
from mailqueue.queue.tables import HeldSnapshot, Holder, LaneSize, estimate_count, read_held_snapshots, read_lane_size
from mailqueue.table_checks import check_tables
from tests.support.mails import SENDER, claimed, make_mail, turn
from tests.support.postgres import private_postgres

table_care = import_module("mailqueue.migrations.0009_table_care")

EMAIL, ATTEMPT = "post_office_email", "mailqueue_attempt"
CARE = {
    "autovacuum_vacuum_scale_factor=0",
    "autovacuum_vacuum_threshold=5000",
    "autovacuum_analyze_scale_factor=0.05",
    "autovacuum_vacuum_cost_limit=1000",
}


def execute(statement: str, parameters: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def options_of(table: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT unnest(reloptions) FROM pg_class WHERE oid = to_regclass(%s)", [table])
        return {option for (option,) in cursor.fetchall()}


def migrate() -> None:
    with transaction.atomic():
        table_care.set_parameters(None, connection.schema_editor())


def migrate_back() -> None:
    with transaction.atomic():
        table_care.reset_parameters(None, connection.schema_editor())


def warnings() -> dict[str, CheckMessage]:
    return {message.id: message for message in check_tables(None, databases=["default"])}


def fill(count: int, *, status: int = 0) -> None:
    execute(
        """INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status,
               priority, created, last_updated, backend_alias)
           SELECT 'a@x', 'b@x', '', '', 's', '', '', %s, 1, now(), now(), '' FROM generate_series(1, %s)""",
        [status, count],
    )


# storage parameters


@pytest.mark.django_db
def test_the_hot_tables_have_their_parameters() -> None:
    assert (CARE, {*CARE, "fillfactor=60"}) == (options_of(EMAIL), options_of(ATTEMPT))


@pytest.mark.django_db
def test_the_parameters_go_again_and_come_back() -> None:
    migrate_back()
    assert (set(), set()) == (options_of(EMAIL), options_of(ATTEMPT))

    migrate()
    migrate()
    assert (CARE, {*CARE, "fillfactor=60"}) == (options_of(EMAIL), options_of(ATTEMPT))


@pytest.mark.django_db
def test_what_somebody_has_set_stays_with_what_belongs_to_it_and_outlives_ours() -> None:
    migrate_back()
    theirs = {"autovacuum_vacuum_scale_factor=0.01", "autovacuum_vacuum_cost_limit=300", "toast_tuple_target=4000"}
    execute(f"ALTER TABLE {EMAIL} SET ({', '.join(theirs)})")
    migrate()
    assert {*theirs, "autovacuum_analyze_scale_factor=0.05"} == options_of(EMAIL)

    migrate_back()
    assert theirs == options_of(EMAIL)


@pytest.mark.django_db
def test_a_server_whose_vacuum_is_faster_is_not_slowed_down() -> None:
    migrate_back()
    execute("SET LOCAL vacuum_cost_limit = 2000")
    migrate()

    assert "autovacuum_vacuum_cost_limit=1000" not in options_of(EMAIL)


@pytest.mark.django_db
@pytest.mark.parametrize("run", [migrate, migrate_back])
def test_a_database_that_is_not_the_mails_is_left_alone(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = options_of(EMAIL)
    monkeypatch.setattr(router, "allow_migrate", lambda *_, **__: False)
    run()

    assert before == options_of(EMAIL)


@pytest.mark.django_db(transaction=True)
def test_a_vacuum_that_takes_long_is_named_and_nothing_is_changed(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(table_care, "PATIENCE_SECONDS", 1)
    with psycopg.connect(database_url) as other:
        other.execute(f"LOCK {EMAIL} IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(OperationalError, match="has been cleaning or changing that table"):
            migrate_back()

    assert options_of(EMAIL) == CARE


def updates_of_attempts() -> tuple[int, int]:
    """How many attempts were updated until now, and how many of them in place."""
    execute("SELECT pg_stat_force_next_flush()")
    with connection.cursor() as cursor:
        cursor.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'mailqueue_attempt'")
        row: tuple[int, int] = cursor.fetchone()
        return row


def updates_of_starts() -> tuple[int, int]:
    """The same of 320 attempts that start in the way of a sender: claimed at once, started by the connection."""
    fill(320, status=2)
    with turn() as cursor:
        claims = claimed(cursor, limit=320)
    before = updates_of_attempts()
    for begin in range(0, len(claims), 16):
        with turn() as cursor:
            start(cursor, claims[begin : begin + 16], sender=SENDER, lease_seconds=60)
    after = updates_of_attempts()
    return after[0] - before[0], after[1] - before[1]


@pytest.mark.django_db(transaction=True)
def test_attempts_are_started_in_place_by_the_room_that_is_left_for_it() -> None:
    total, in_place = updates_of_starts()

    assert (320, True) == (total, in_place >= 300)


@pytest.mark.django_db(transaction=True)
def test_without_that_room_many_starts_write_to_the_indexes_too() -> None:
    execute("ALTER TABLE mailqueue_attempt SET (fillfactor = 100)")
    try:
        total, in_place = updates_of_starts()
    finally:
        execute("ALTER TABLE mailqueue_attempt SET (fillfactor = 60)")

    assert (320, True) == (total, in_place < 280)


# checks


@pytest.fixture
def in_use(transactional_db: None) -> None:
    """A queue whose last claim is a moment old, in tables without what other tests have rolled back."""
    execute(f"TRUNCATE {EMAIL} CASCADE")
    make_mail()
    with turn() as cursor:
        claimed(cursor)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a snapshot of this very moment be held for long."""
    monkeypatch.setattr(table_checks, "HELD_SECONDS", 0)


@pytest.fixture
def report(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session that holds a snapshot, as a report does."""
    with psycopg.connect(database_url, application_name="report") as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.execute("SELECT 1")
        yield session


def test_a_queue_at_work_has_nothing_to_complain_of(in_use: None) -> None:
    assert {} == warnings()


def test_a_held_snapshot_is_a_warning_that_names_the_session(
    in_use: None, impatient: None, report: psycopg.Connection[Any]
) -> None:
    message = warnings()["mailqueue.W009"]
    pid = report.info.backend_pid

    assert (WARNING, f"Let it end, or end it: SELECT pg_terminate_backend({pid}).") == (message.level, message.hint)
    assert f"The session with the pid {pid} (report) has been holding a snapshot for more than 0 minutes, since " in (
        message.msg
    )


def test_a_snapshot_that_ended_or_is_young_is_none(
    in_use: None, report: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {} == warnings()

    report.rollback()
    with connection.cursor() as cursor:
        held = read_held_snapshots(cursor, seconds=0, transactions=0)
    assert [] == [snapshot for snapshot in held if snapshot.name == str(report.info.backend_pid)]


def test_a_queue_that_is_not_in_use_minds_no_snapshot(
    in_use: None, impatient: None, report: psycopg.Connection[Any]
) -> None:
    Attempt.objects.all().delete()

    assert {} == warnings()


def test_a_plain_user_learns_of_the_sessions_of_others_by_their_age_in_transactions(
    in_use: None, report: psycopg.Connection[Any]
) -> None:
    for _ in range(3):
        make_mail()
    with transaction.atomic():
        execute("CREATE ROLE plain")
        execute("GRANT SELECT ON mailqueue_attempt TO plain")
        execute("SET LOCAL ROLE plain")
        with connection.cursor() as cursor:
            held = read_held_snapshots(cursor, transactions=2)
        found = warnings()
        transaction.set_rollback(True)

    assert {} == found
    (snapshot,) = [snapshot for snapshot in held if snapshot.application == "report"]
    assert (Holder.SESSION, None, True) == (snapshot.holder, snapshot.since, snapshot.transaction_count > 2)


def test_a_prepared_transaction_and_a_slot_hold_too() -> None:
    with (
        private_postgres(max_prepared_transactions="2") as postgres,
        psycopg.connect(postgres.url("postgres"), autocommit=True) as session,
        session.cursor() as cursor,
    ):
        for statement in ("BEGIN", "CREATE TABLE left_over ()", "PREPARE TRANSACTION 'left over'"):
            cursor.execute(statement)
        cursor.execute("SELECT pg_create_physical_replication_slot('standby')")  # holds nothing yet
        held = read_held_snapshots(cursor, seconds=0)
        cursor.execute("ROLLBACK PREPARED 'left over'")

        assert [(Holder.PREPARED, "left over")] == [(snapshot.holder, snapshot.name) for snapshot in held]


@pytest.mark.parametrize(
    ("holder", "remedy"), [(Holder.PREPARED, "ROLLBACK PREPARED 'a'"), (Holder.SLOT, "pg_drop_replication_slot('a')")]
)
def test_whatever_holds_has_a_remedy(holder: Holder, remedy: str) -> None:
    message = table_checks._held(HeldSnapshot(holder, "a", "", None, 200_000))

    assert ("for 200000 transactions" in message.msg, remedy in (message.hint or "")) == (True, True)


@pytest.mark.django_db
def test_a_lane_index_full_of_dead_entries_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOATED_BYTES", 500_000)
    execute("REINDEX INDEX mailqueue_lane")  # tests that were rolled back have left their entries
    fill(20_000, status=2)
    execute("ANALYZE post_office_email")
    assert {} == warnings()

    execute("UPDATE post_office_email SET status = 0")
    execute("ANALYZE post_office_email")
    message = warnings()["mailqueue.W010"]
    assert "needs about 0 MB" in message.msg
    assert "REINDEX INDEX CONCURRENTLY mailqueue_lane" in (message.hint or "")

    execute("REINDEX INDEX mailqueue_lane")
    assert {} == warnings()


@pytest.mark.django_db
def test_a_fresh_backlog_is_no_bloat_before_the_statistics_know_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOATED_BYTES", 500_000)
    execute("REINDEX INDEX mailqueue_lane")  # tests that were rolled back have left their entries
    execute("ANALYZE post_office_email")
    fill(20_000, status=2)

    assert {} == warnings()


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [(16 << 20, 0, True), ((16 << 20) - 1, 0, False), (64 << 20, 262_144, False), ((64 << 20) + 1, 262_144, True)],
)
def test_bloated_is_what_is_large_and_several_times_as_large_as_it_needs(
    size: int, count: int, expected: bool
) -> None:
    assert expected == LaneSize(size, count).is_bloated


@pytest.mark.django_db
def test_an_index_that_is_not_there_or_that_nobody_has_looked_at_has_no_size() -> None:
    execute("UPDATE pg_class SET reltuples = -1 WHERE relname = 'mailqueue_lane'")
    with connection.cursor() as cursor:
        assert read_lane_size(cursor) is None
        cursor.execute("DROP INDEX mailqueue_lane")
        assert read_lane_size(cursor) is None


@pytest.mark.django_db
@pytest.mark.parametrize("table", [EMAIL, ATTEMPT])
def test_autovacuum_switched_off_for_a_table_is_a_warning_with_the_command_to_type(table: str) -> None:
    execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    message = warnings()["mailqueue.W011"]

    assert (WARNING, f"Run `ALTER TABLE {table} RESET (autovacuum_enabled)`.") == (message.level, message.hint)


@pytest.mark.django_db
def test_autovacuum_switched_off_for_the_server_is_a_warning() -> None:
    execute("SET LOCAL track_counts = off")

    assert "on the whole server" in warnings()["mailqueue.W011"].msg


@pytest.mark.django_db
def test_without_the_tables_there_is_nothing_to_say() -> None:
    execute("ALTER TABLE mailqueue_attempt RENAME TO elsewhere")
    execute("SET LOCAL track_counts = off")

    assert {} == warnings()


def test_a_database_that_is_not_asked_for_or_not_postgres_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [] == check_tables(None)
    monkeypatch.setattr(connections["default"], "vendor", "sqlite")

    assert {} == warnings()


@pytest.mark.django_db
def test_a_database_that_refuses_is_nobodys_fault_and_the_transaction_stays_usable() -> None:
    execute("CREATE ROLE plain")
    execute("SET LOCAL ROLE plain")  # may not read the attempts
    found = warnings()
    execute("RESET ROLE")

    assert {} == found


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    connections["default"].close()
    monkeypatch.setitem(connections["default"].settings_dict, "HOST", "/nowhere")
    found = warnings()
    connections["default"].close()

    assert {} == found


# counts


@pytest.mark.django_db
def test_the_rows_of_a_table_are_estimated_without_reading_it() -> None:
    fill(12_000)
    execute("ANALYZE post_office_email")
    with connection.cursor() as cursor:
        assert (12_000, 0) == (estimate_count(cursor, table=EMAIL), estimate_count(cursor, table="nowhere"))
