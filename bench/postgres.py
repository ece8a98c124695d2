"""The PostgreSQL of the benchmark: fresh databases, in a server of its own unless BENCH_DATABASE_URL names one."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from project.dev.postgres import EmbeddedPostgres

LOG_LINE_PREFIX = "%p %d "
PREFIX = "mailqueue_bench"


@dataclass(frozen=True, slots=True)
class Server:
    """Makes databases and removes them."""

    url: str
    log: Path | None
    """The server's log, where it can be read."""
    numbers: Iterator[int]

    def url_of(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def connect(self, name: str = "") -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.url_of(name) if name else self.url, autocommit=True)

    def version(self) -> str:
        with self.connect() as connection:
            return connection.info.parameter_status("server_version") or ""

    @contextlib.contextmanager
    def database(self, template: str = "") -> Iterator[str]:
        """Make a database, as a copy of another one, and drop it after the block."""
        name = f"{PREFIX}_{os.getpid()}_{next(self.numbers)}"
        with self.connect() as connection:
            copied = sql.Identifier(template) if template else sql.SQL("template0")
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), copied))
        try:
            yield name
        finally:
            with self.connect() as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def checkpoint(self) -> None:
        """Write to disk what others have left to be written, so that nobody pays for it while he is measured."""
        with self.connect() as connection, contextlib.suppress(InsufficientPrivilege):
            connection.execute("CHECKPOINT")


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    """Run a server with default settings, fsync included, during the block, or give the one of BENCH_DATABASE_URL."""
    given = os.environ.get("BENCH_DATABASE_URL")
    if given:
        yield Server(given, None, count())
        return
    postgres = EmbeddedPostgres(folder / "postgres", options={"log_line_prefix": LOG_LINE_PREFIX})
    try:
        postgres.start()
        yield Server(postgres.url("postgres"), postgres.log, count())
    finally:
        postgres.stop("immediate")
        shutil.rmtree(postgres.socket_folder, ignore_errors=True)
