"""A private Postgres for one test or one test run: a throw-away cluster in a temporary folder."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from project.dev.postgres import EmbeddedPostgres

PREFIX = "mailqueue-tests-"
# Not worth a disk write: the cluster dies with the test. A stop by "immediate" loses nothing by it, for the page
# cache of the operating system outlives Postgres.
OPTIONS = {"fsync": "off", "full_page_writes": "off", "autovacuum_naptime": "5s"}


@contextmanager
def private_postgres(**options: str) -> Iterator[EmbeddedPostgres]:
    """Start a cluster of one's own, and remove it in the end; `restart("immediate")` crashes it.

    `options` are settings of the server, such as `max_connections`.
    """
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    postgres = EmbeddedPostgres(folder, options={**OPTIONS, **options})
    try:
        postgres.start()
        yield postgres
    finally:
        _remove(postgres)


def remove_leftovers() -> None:
    """Stop and remove the clusters of test runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = re.match(rf"{PREFIX}(\d+)-", folder.name)
        if owner and not psutil.pid_exists(int(owner[1])):
            _remove(EmbeddedPostgres(folder, options=OPTIONS))


def _remove(postgres: EmbeddedPostgres) -> None:
    postgres.stop("immediate")
    shutil.rmtree(postgres.socket_folder, ignore_errors=True)
    shutil.rmtree(postgres.folder, ignore_errors=True)
