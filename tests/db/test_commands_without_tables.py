"""Commands on a database that is away, or without the tables of mail: one sentence that says what to do."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DataError, OperationalError, connection

from mailqueue.management.command import QueueCommand
from tests.support.situations import make_mail

COMMANDS: dict[str, tuple[str, ...]] = {
    "mailqueue_status": (),
    "mailqueue_show": ("17",),
    "mailqueue_requeue": ("17",),
    "mailqueue_pause": ("--all",),
    "mailqueue_resume": ("--all",),
    "mailqueue_send_test": ("me@example.com",),
    "mailqueue_forget": ("me@example.com", "--yes"),
    "cleanup_mail": (),
}


def what_it_says(command: str) -> str:
    with pytest.raises(CommandError) as raised:
        call_command(command, *COMMANDS[command])
    return str(raised.value)


@pytest.fixture
def away(transactional_db: None) -> Iterator[None]:
    """Let nobody answer where the database should be."""
    address = {name: connection.settings_dict[name] for name in ("HOST", "PORT")}
    connection.close()
    connection.settings_dict.update(HOST="127.0.0.1", PORT="1")
    yield
    connection.close()
    connection.settings_dict.update(address)


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_is_away_is_told_with_what_to_check(command: str) -> None:
    told = what_it_says(command)

    assert (True, True, 1) == (
        told.startswith('The database "default" can\'t be reached: '),
        "Check that it runs, and DATABASE_URL" in told,
        len(told.splitlines()),
    )


@pytest.mark.django_db
@pytest.mark.parametrize("command", COMMANDS)
def test_tables_that_are_missing_are_told_with_the_command_to_run(command: str) -> None:
    with connection.cursor() as cursor:
        for table in ("post_office_email", "mailqueue_backendhealth"):
            cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")
    told = what_it_says(command)

    assert (True, 1) == (told.endswith("Run: python manage.py migrate"), len(told.splitlines()))


@pytest.mark.django_db
def test_a_table_of_an_earlier_version_is_told_so_too() -> None:
    mail = make_mail()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mailqueue_mailoptions RENAME COLUMN wiped_at TO something")

    with pytest.raises(CommandError, match="those of another version"):
        call_command("mailqueue_show", mail.pk)


class Failing(QueueCommand):
    requires_system_checks: Any = []
    error: Exception

    def handle(self, *_: Any, **__: Any) -> None:
        raise self.error


def fail(error: Exception) -> None:
    command = Failing()
    command.error = error
    call_command(command)


def caused(kind: type[Exception], state: str) -> Exception:
    error, cause = kind("somebody said no"), Exception()
    cause.sqlstate = state  # type: ignore[attr-defined]
    error.__cause__ = cause
    return error


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("state", "words"),
    [("55P03", "Somebody else is working"), ("57P01", "can't be reached"), ("3D000", "can't be reached")],
)
def test_other_trouble_of_the_database_is_told_too(state: str, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        fail(caused(OperationalError, state))


@pytest.mark.django_db
def test_an_error_of_the_program_is_not_laid_to_the_databases_charge() -> None:
    with pytest.raises(DataError):
        fail(caused(DataError, "22003"))
