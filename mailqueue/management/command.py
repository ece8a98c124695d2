"""What the commands for people have in common: where the database keeps them from working, they say what to do."""

import os
import sys
from signal import SIGPIPE
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, InterfaceError, OperationalError, connections, router
from django.utils.translation import gettext as _
from post_office.models import Email

from mailqueue.queue.work import is_locked

OTHER_TABLES = ("42P01", "42703")
"""SQLSTATE undefined_table, undefined_column."""
AWAY_CLASSES = ("08", "28", "3D", "57")
"""SQLSTATE classes: connection, authorization, no such database, being stopped."""

CLOSED_PIPE = 128 + SIGPIPE
"""What a shell says of a program that was ended by a pipe without a reader."""


class QueueCommand(BaseCommand):
    """Works on the tables of mail. Where they are missing, or the database is away, it exits with 1 and says so."""

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as Django does. When nobody reads on (`| head`), end without a word, as other programs do."""
        try:
            try:
                super().run_from_argv(argv)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            # What is left to print goes nowhere, or the interpreter would complain when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(CLOSED_PIPE)

    def execute(self, *args: Any, **options: Any) -> str | None:
        using = router.db_for_write(Email)
        check_postgres(using)
        try:
            return super().execute(*args, **options)
        except Error as error:
            if told := _told(error, using=using):
                raise CommandError(told) from error
            raise


def check_postgres(using: str) -> None:
    """Refuse a database that mailqueue can't work with.

    Raises:
        CommandError: it is not PostgreSQL.
    """
    if connections[using].vendor != "postgresql":
        words = {"database": using, "kind": connections[using].display_name}
        raise CommandError(
            _(
                'The database "%(database)s", which mail is written to, is %(kind)s; mailqueue needs PostgreSQL. '
                "Set DATABASES, or route the apps post_office and mailqueue to one."
            )
            % words
        )


def _told(error: Error, *, using: str) -> str:
    """Say what is wrong and what to do; empty where it is nothing of the database's."""
    state = getattr(error.__cause__, "sqlstate", None) or ""
    words = {"database": using, "error": str(error).strip().partition("\n")[0]}
    if state in OTHER_TABLES:
        pattern = _(
            'The tables of mail in the database "%(database)s" are missing, or those of another version (%(error)s). '
            "Run: python manage.py migrate"
        )
        return pattern % words
    if is_locked(error):
        return _("Somebody else is working on the same rows. Nothing more was done; try again in a moment.")
    if state[:2] in AWAY_CLASSES or (not state and isinstance(error, OperationalError | InterfaceError)):
        pattern = _(
            'The database "%(database)s" can\'t be reached: %(error)s. '
            "Check that it runs, and DATABASE_URL (or DATABASES in the settings)."
        )
        return pattern % words
    return ""
