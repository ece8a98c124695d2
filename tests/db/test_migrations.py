"""Adoption: the migrations on a database that already holds post_office's rows, back again, and with routers."""

import uuid
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import OperationalError, connection

from tests.support.processes import MANAGE, run

lane_index = import_module("mailqueue.migrations.0004_lane_index")

INSERT = """
INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status, priority, created,
    last_updated, scheduled_time, backend_alias)
VALUES ('a@x', 'b@x', '', '', %s, '', '', %s, 1, now() - %s * interval '1 hour', now(), %s, '')
"""
INDEX_IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('mailqueue_lane')"


@pytest.fixture
def make_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Make empty databases beside the one of the test run, and drop them in the end."""
    names: list[str] = []

    def make() -> str:
        names.append(f"migrations_{uuid.uuid4().hex[:12]}")
        with psycopg.connect(postgres_url, autocommit=True) as session:
            session.execute(f"CREATE DATABASE {names[-1]}")
        return urlsplit(postgres_url)._replace(path=f"/{names[-1]}").geturl()

    yield make
    with psycopg.connect(postgres_url, autocommit=True) as session:
        for name in names:
            session.execute(f"DROP DATABASE {name} WITH (FORCE)")


def manage(*arguments: str, **env: str) -> str:
    done = run(*MANAGE, *arguments, env={"DJANGO_SETTINGS_MODULE": "tests.settings", **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


def fetch(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as session:
        return session.execute(statement).fetchall()


def test_old_mail_is_held_at_adoption_and_everything_can_be_undone(make_database: Callable[[], str]) -> None:
    url = make_database()
    manage("migrate", "post_office", DATABASE_URL=url)
    with psycopg.connect(url) as session:
        for row in [
            ("old", 2, 49, None),
            ("fresh", 2, 47, None),
            ("later", 2, 49, "2999-01-01"),
            ("sent", 0, 99, None),
        ]:
            session.execute(INSERT, row)
    said = manage("migrate", DATABASE_URL=url)
    statuses = dict(fetch(url, "SELECT subject, status FROM post_office_email"))
    reasons = fetch(url, "SELECT reason, note <> '' FROM mailqueue_mailstate")

    assert "Held, not sent: 1 mail, queued for more than 48 hours" in said
    assert {"old": 1, "fresh": 2, "later": 2, "sent": 0} == statuses
    assert ([("held", True)], [(True,)]) == (reasons, fetch(url, INDEX_IS_VALID))

    manage("migrate", "mailqueue", "0002", DATABASE_URL=url)
    manage("migrate", "mailqueue", DATABASE_URL=url)
    assert {"old": 1, "fresh": 2, "later": 2, "sent": 0} == dict(
        fetch(url, "SELECT subject, status FROM post_office_email")
    )

    manage("migrate", "mailqueue", "zero", DATABASE_URL=url)
    tables = fetch(url, "SELECT count(*) FROM pg_class WHERE relname LIKE 'mailqueue%'")
    assert {"old": 2, "fresh": 2, "later": 2, "sent": 0} == dict(
        fetch(url, "SELECT subject, status FROM post_office_email")
    )
    assert [(0,)] == tables

    manage("migrate", DATABASE_URL=url)
    assert [(True,)] == fetch(url, INDEX_IS_VALID)


def test_with_a_database_of_its_own_the_mail_and_our_tables_stand_together(make_database: Callable[[], str]) -> None:
    default, mail = make_database(), make_database()
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.support.routed_settings",
        "DATABASE_URL": default,
        "MAIL_DATABASE_URL": mail,
    }
    for alias in ("default", "mail"):
        manage("migrate", "--database", alias, **env)
    ours = (
        "SELECT count(*) FROM pg_class WHERE relname IN ('mailqueue_attempt', 'mailqueue_lane', 'post_office_email')"
    )

    assert ([(0,)], [(3,)]) == (fetch(default, ours), fetch(mail, ours))
    manage("check", "--database", "mail", **env)

    script = (
        "import warnings; from django.db import transaction; from mailqueue import EmailBackend;"
        "from django.core.mail import EmailMessage;"
        "warnings.simplefilter('error');"
        "write = lambda: EmailBackend().send_messages([EmailMessage('s', 'b', 'a@x.example', ['b@x.example'])]);"
        "write();"
        "transaction.set_autocommit(True);"
        "t = transaction.atomic(); t.__enter__();\n"
        "try: write()\nexcept RuntimeWarning as warning: print(type(warning).__name__)\n"
        "t.__exit__(None, None, None)"
    )
    assert "OtherDatabaseWarning" in manage("shell", "-c", script, **env)
    assert [(1,)] == fetch(mail, "SELECT count(*) FROM post_office_email")


def test_a_router_that_tears_our_tables_from_the_mail_is_an_error(make_database: Callable[[], str]) -> None:
    url = make_database()
    done = run(
        *MANAGE,
        "check",
        "--database",
        "mail",
        env={
            "DJANGO_SETTINGS_MODULE": "tests.support.routed_settings",
            "DATABASE_URL": url,
            "MAIL_DATABASE_URL": url,
            "STRAY_APPS": "mailqueue",
        },
    )

    assert (1, True) == (done.returncode, "mailqueue.E006" in done.stderr)


def test_mail_that_only_our_tables_can_hold_keeps_them_from_being_dropped(make_database: Callable[[], str]) -> None:
    url = make_database()
    manage("migrate", DATABASE_URL=url)
    with psycopg.connect(url) as session:
        session.execute(INSERT, ("odd", 2, 1, None))
        session.execute(
            "INSERT INTO mailqueue_messagesource (email_id, envelope_from, recipients, message)"
            " SELECT id, 'a@x', '[]', '' FROM post_office_email"
        )
    done = run(
        *MANAGE, "migrate", "mailqueue", "zero", env={"DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": url}
    )

    assert (1, True) == (done.returncode, "would be lost. Send them first" in done.stderr)
    assert [(1,)] == fetch(url, "SELECT count(*) FROM mailqueue_messagesource")


@pytest.mark.django_db(transaction=True)
def test_an_invalid_leftover_of_the_index_is_made_anew() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('mailqueue_lane')")
        lane_index.create(None, connection.schema_editor(atomic=False))
        cursor.execute(INDEX_IS_VALID)

        assert [(True,)] == cursor.fetchall()


@pytest.mark.django_db(transaction=True)
def test_an_open_writer_that_blocks_the_index_is_named_and_the_next_try_mends_it(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    editor = connection.schema_editor(atomic=False)
    lane_index.drop(None, editor)
    try:
        with psycopg.connect(database_url) as writer, monkeypatch.context() as impatient:
            impatient.setattr(lane_index, "PATIENCE_SECONDS", 1)
            writer.execute("UPDATE post_office_email SET status = 2 WHERE false")
            with pytest.raises(OperationalError, match="a transaction has been open on this database"):
                lane_index.create(None, editor)
    finally:
        lane_index.create(None, editor)
    with connection.cursor() as cursor:
        cursor.execute(INDEX_IS_VALID)

        assert [(True,)] == cursor.fetchall()
