#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        if settings.configured:
            raise
        sys.exit(f"The settings can't be used. {error}")
    except OperationalError as error:
        hint = remedy_for_unreachable_database()
        if hint is None:
            raise
        sys.exit(f"{error}\n{hint}")


def remedy_for_unreachable_database() -> str | None:
    """Say how to get a database when the embedded one is meant but down; None when the failure is another one."""
    from django.conf import settings

    if not getattr(settings, "USES_EMBEDDED_POSTGRES", False):
        return None

    from project.dev.postgres import EmbeddedPostgres

    if EmbeddedPostgres(settings.EMBEDDED_POSTGRES_DIR).is_running():
        return None
    return (
        "DATABASE_URL is not set, so the embedded Postgres is meant, and it is not running.\n"
        "Start it with `python -m project.dev.postgres start`, or everything with `make run`."
    )


if __name__ == "__main__":
    main()
