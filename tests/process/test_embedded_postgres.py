"""The embedded Postgres for real, each in a folder of its own."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from project.dev.postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.support.checkout import copy_of_the_checkout
from tests.support.postgres import private_postgres
from tests.support.processes import run
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    with private_postgres() as postgres:
        yield postgres


def test_a_second_start_finds_it_running(postgres: EmbeddedPostgres) -> None:
    assert postgres.start() is False


def test_a_database_is_made_once(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("shop")

    assert url == postgres.create_database("shop")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("shop",)


def test_nobody_else_may_enter_the_folder_of_its_socket(postgres: EmbeddedPostgres) -> None:
    assert postgres.socket_folder.stat().st_mode & 0o077 == 0


def test_a_restart_keeps_what_was_committed(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("kept")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note AS SELECT 'kept' AS text")
        postgres.restart("immediate")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT text FROM note").fetchone() == ("kept",)


def test_stopping_what_is_down_is_no_error(tmp_path: Path) -> None:
    assert EmbeddedPostgres(tmp_path).stop() is False


def test_a_start_that_fails_says_what_postgres_said() -> None:
    with (
        pytest.raises(EmbeddedPostgresError, match="pg_ctl start failed"),
        private_postgres(no_such_option="1"),
    ):
        pytest.fail("it started")


def test_the_number_of_a_dead_server_given_to_another_process_is_no_hindrance() -> None:
    with private_postgres() as postgres:
        (server,) = [child for child in psutil.process_iter() if _is_server_of(child, postgres)]
        family = [server, *server.children()]
        server.send_signal(signal.SIGKILL)
        wait_until(lambda: not any(_is_alive(process) for process in family), what="the end of its processes")
        pid_file = postgres.data / "postmaster.pid"
        other = str(psutil.Process().pid)
        pid_file.write_text("\n".join([other, *pid_file.read_text().split("\n")[1:]]))

        assert not postgres.is_running()
        assert postgres.start()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_server_of(process: psutil.Process, postgres: EmbeddedPostgres) -> bool:
    try:
        return str(postgres.data) in process.cmdline()
    except psutil.Error:
        return False


def test_the_command_starts_it_tells_of_it_and_stops_it() -> None:
    with copy_of_the_checkout() as checkout:

        def postgres(action: str) -> tuple[int, str]:
            result = run(sys.executable, "-m", "project.dev.postgres", action, cwd=checkout)
            return result.returncode, result.stdout.split(":")[0].replace("\n", " ").strip()

        said = [postgres(action) for action in ("status", "start", "start", "restart", "status", "stop", "stop")]

    assert said == [
        (3, "not running"),
        (0, "started running"),
        (0, "was running already running"),
        (0, "restarted running"),
        (0, "running"),
        (0, "stopped not running"),
        (0, "was not running not running"),
    ]
