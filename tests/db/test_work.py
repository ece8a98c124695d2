"""How a sender works on its connection: on a session of its own, or on one that a pooler lends."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connection

from mailqueue.queue.work import FIRST_PLANS, PLANS_LAST, Direct, Statements, glance, own, settle_in, work
from tests.support.statements import as_a_pooler
from tests.support.tcp_proxy import TcpProxy, target_of

pytestmark = pytest.mark.django_db(transaction=True)

COUNT_PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%1 AS said_often'"


@pytest.fixture(autouse=True)
def own_session(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is set for a session ends with it."""
    monkeypatch.setattr(own, "direct", None)
    connection.close()
    yield
    connection.close()


@pytest.fixture
def is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings say what one sets behind a pooler."""
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)


def value(cursor: Any, sql: str) -> Any:
    cursor.execute(sql)
    return cursor.fetchone()[0]


def value_afterwards(sql: str) -> Any:
    with connection.cursor() as cursor:
        return value(cursor, sql)


def say_often() -> None:
    for _ in range(7):
        with work("default") as cursor:
            cursor.execute("SELECT 1 AS said_often")


def test_on_a_session_of_its_own_a_sender_has_each_statement_prepared_once() -> None:
    is_direct = settle_in("default")
    say_often()

    assert (True, 1) == (is_direct, value_afterwards(COUNT_PREPARED))


def test_on_a_session_of_its_own_the_time_outs_are_set_once() -> None:
    settle_in("default")

    assert "500ms" == value_afterwards("SHOW lock_timeout")


def test_what_django_says_by_itself_is_not_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**connection.settings_dict["OPTIONS"], "server_side_binding": True}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    settle_in("default")
    for _ in range(7):
        value_afterwards("SELECT 1 AS said_often")

    assert 0 == value_afterwards(COUNT_PREPARED)


def test_where_the_settings_speak_of_a_pooler_nothing_is_prepared(is_lent: None) -> None:
    is_direct = settle_in("default")
    say_often()

    assert (False, 0) == (is_direct, value_afterwards(COUNT_PREPARED))


def test_where_the_settings_speak_of_a_pooler_nothing_is_set_for_longer_than_a_transaction(is_lent: None) -> None:
    settle_in("default")
    with work("default") as cursor:
        within = value(cursor, "SHOW lock_timeout")

    assert ("500ms", "0") == (within, value_afterwards("SHOW lock_timeout"))


def test_a_pooler_of_which_the_settings_do_not_speak_is_found_out(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**connection.settings_dict["OPTIONS"], "sslmode": "disable"}
    with TcpProxy(target_of(database_url), answered=lambda: as_a_pooler) as pooler:
        for name, setting in {"HOST": "127.0.0.1", "PORT": pooler.port, "OPTIONS": options}.items():
            monkeypatch.setitem(connection.settings_dict, name, setting)
        is_direct = settle_in("default")
        found = value_afterwards("SHOW lock_timeout")
        connection.close()

    assert (False, "0") == (is_direct, found)


def test_a_wait_that_is_wanted_longer_lasts_no_longer_than_its_transaction() -> None:
    settle_in("default")
    with work("default", lock_timeout="5s") as cursor:
        within = value(cursor, "SHOW lock_timeout")

    assert ("5s", "500ms") == (within, value_afterwards("SHOW lock_timeout"))


def test_a_glance_on_a_session_of_its_own_opens_no_transaction() -> None:
    settle_in("default")
    with glance("default") as cursor:
        started = [value(cursor, "SELECT pg_current_xact_id()::text") for _ in range(2)]

    assert 2 == len(set(started))


def test_after_a_glance_that_lost_its_connection_there_is_another() -> None:
    settle_in("default")
    with pytest.raises(OperationalError), glance("default") as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with glance("default") as cursor:
        assert 1 == value(cursor, "SELECT 1")


def test_after_a_session_of_its_own_was_lost_the_next_one_is_worked_on_in_the_same_way() -> None:
    settle_in("default")
    with pytest.raises(OperationalError), work("default") as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with work("default") as cursor:
        assert (True, "500ms") == (isinstance(cursor, Statements), value(cursor, "SHOW lock_timeout"))


def test_a_glance_on_a_session_that_is_lent_is_a_transaction(is_lent: None) -> None:
    settle_in("default")
    with glance("default") as cursor:
        started = [value(cursor, "SELECT pg_current_xact_id()::text") for _ in range(2)]
        lock_timeout = value(cursor, "SHOW lock_timeout")

    assert (1, "500ms") == (len(set(started)), lock_timeout)


def test_a_statement_that_says_how_many_rows_it_changed_says_so_when_it_is_prepared() -> None:
    settle_in("default")
    with work("default") as cursor:
        cursor.execute(
            "INSERT INTO mailqueue_refusedfrom (backend, from_email, reply, refused_at) "
            "VALUES ('a', 'b@example.com', '', now()), ('a', 'c@example.com', '', now())"
        )

        assert 2 == cursor.rowcount


def test_an_error_undoes_the_whole_of_what_was_done_and_leaves_the_session_as_it_was() -> None:
    settle_in("default")
    with pytest.raises(ProgrammingError, match="no_such_table"), work("default") as cursor:
        cursor.execute("INSERT INTO mailqueue_refusedfrom VALUES (DEFAULT, 'a', 'b@example.com', '', now())")
        cursor.execute("SELECT * FROM no_such_table")

    with work("default") as cursor:
        assert (Statements, 0) == (type(cursor), value(cursor, "SELECT count(*) FROM mailqueue_refusedfrom"))


def test_an_error_of_a_statement_that_is_prepared_is_djangos() -> None:
    settle_in("default")
    with pytest.raises(ProgrammingError), glance("default") as cursor:
        cursor.execute("SELECT * FROM no_such_table")


def test_statements_are_planned_anew_early_and_then_now_and_then() -> None:
    counted = [n for n in range(1, 2 * PLANS_LAST + 1) if Direct("default", None, n).is_to_plan_anew]

    assert [*FIRST_PLANS, PLANS_LAST, 2 * PLANS_LAST] == counted


def planned_rows() -> int:
    """Return how many rows the plan expects that the server keeps for the statement below."""
    name = value_afterwards("SELECT name FROM pg_prepared_statements WHERE statement = 'SELECT n FROM growing'")
    plan = value_afterwards(f"EXPLAIN (FORMAT json) EXECUTE {name}")
    return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"]


def test_a_plan_that_was_made_for_an_empty_table_is_not_kept_for_a_full_one() -> None:
    settle_in("default")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE growing (n int)")
    with work("default") as cursor:
        cursor.execute("SELECT n FROM growing")
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO growing SELECT generate_series(1, 50000)")
    before = planned_rows()
    for _ in range(FIRST_PLANS[0] - 1):
        with work("default"):
            pass

    assert before < 10_000 < planned_rows()
