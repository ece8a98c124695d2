"""The database of the test run: DATABASE_URL, or else a private Postgres that is started when the first test asks."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import environ
import pytest
from django.conf import settings
from django.db import connections
from hypothesis import settings as hypothesis_settings

from tests.support.postgres import private_postgres

# These have settings of their own, which pytest finds in that folder: see .ci/test.
collect_ignore = ["apps"]

# How long one example takes says nothing on a busy machine, and less while coverage is measured.
hypothesis_settings.register_profile("mailqueue", deadline=None)
hypothesis_settings.load_profile("mailqueue")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of the server that this run uses, with whatever database."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    with private_postgres() as postgres:
        yield postgres.url("postgres")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_url: str, django_db_modify_db_settings_parallel_suffix: None) -> None:
    address = environ.Env.db_url_config(postgres_url)
    for name in ("HOST", "PORT", "USER", "PASSWORD", "OPTIONS"):
        if name in address:
            connections["default"].settings_dict[name] = address[name]


@pytest.fixture
def database_url(postgres_url: str, transactional_db: None) -> str:
    """The DATABASE_URL of the test database, for the environment of processes that a test starts."""
    name = settings.DATABASES["default"]["NAME"]
    return urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
