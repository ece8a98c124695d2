"""`make run` for real, in a copy of the checkout: from nothing to a site that answers, and back to nothing."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from tests.support.checkout import copy_of_the_checkout
from tests.support.processes import RunningProcess, running
from tests.support.waiting import wait_until

LAUNCHER = (sys.executable, "-m", "project.dev.run")
READY = r"Mail goes to .*\. Ctrl-C ends all of it"
ORDER_A_MAIL = "from django.core.mail import send_mail; send_mail('It arrived', 'text', None, ['ann@example.com'])"


@pytest.fixture
def checkout() -> Iterator[Path]:
    with copy_of_the_checkout() as folder:
        yield folder


def launcher_environment(**changes: str) -> dict[str, str | None]:
    unset = ("DATABASE_URL", "EMAIL_URL", "DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "ENV_FILE")
    return {
        **dict.fromkeys(unset),
        "DJANGO_SETTINGS_MODULE": None,
        "PORT": str(unused_port()),
        "INBOX_PORT": str(unused_port()),
        **changes,
    }


def unused_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 (an address of our own)
        return str(answer.read().decode())


def processes_in(folder: Path) -> list[psutil.Process]:
    """What runs in that folder or on its data."""
    every = psutil.process_iter(["cwd", "cmdline"])
    return [process for process in every if str(folder) in f"{process.info['cwd']} {process.info['cmdline']}"]


def address(launcher: RunningProcess, name: str) -> str:
    return launcher.wait_for(rf"{name} +(http://127\.0\.0\.1:\d+/\S*)")[1]


def manage(checkout: Path, launcher: RunningProcess, *arguments: str) -> None:
    """Run a command of the site that `launcher` runs."""
    started = psutil.Process(launcher.pid).children(recursive=True)
    environment = next(process.environ() for process in started if "send_queued_mail" in process.cmdline())
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=checkout, env=environment, check=True, timeout=60)


def test_one_command_brings_up_all_of_it_and_ctrl_c_ends_all_of_it(checkout: Path) -> None:
    with running(*LAUNCHER, cwd=checkout, env=launcher_environment()) as launcher:
        launcher.wait_for(READY, seconds=60)

        assert get(address(launcher, "The shop"))
        assert 'name="password"' in get(address(launcher, "The admin"))
        password = launcher.wait_for(r"name admin, password (\S+)")[1]
        assert password == (checkout / ".admin-password").read_text().strip()

        manage(checkout, launcher, "shell", "-c", ORDER_A_MAIL)
        inbox = address(launcher, "The inbox")
        wait_until(lambda: "It arrived" in get(inbox), what="the mail in the inbox")

        launcher.send_to_group(signal.SIGINT)
        assert launcher.wait() == 0
        assert "The embedded Postgres is down." in launcher.said()
    assert processes_in(checkout) == []


def test_a_second_run_is_up_with_the_same_password(checkout: Path) -> None:
    passwords = []
    for _ in range(2):
        with running(*LAUNCHER, cwd=checkout, env=launcher_environment()) as launcher:
            launcher.wait_for(READY, seconds=60)
            passwords.append(launcher.wait_for(r"name admin, password (\S+)")[1])
            assert launcher.stop(signal.SIGTERM) == 0

    assert passwords[0] == passwords[1]
    assert processes_in(checkout) == []


def test_a_terminal_that_is_closed_ends_all_of_it(checkout: Path) -> None:
    with running(*LAUNCHER, cwd=checkout, env=launcher_environment()) as launcher:
        launcher.wait_for(READY, seconds=60)
        launcher.send_to_group(signal.SIGHUP)

        assert launcher.wait() == 0
    assert processes_in(checkout) == []


def test_busy_ports_get_a_word_and_other_ports(checkout: Path) -> None:
    with ExitStack() as stack:
        busy = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(2)]
        environment = launcher_environment(PORT=str(busy[0]), INBOX_PORT=str(busy[1]))
        launcher = stack.enter_context(running(*LAUNCHER, cwd=checkout, env=environment))
        launcher.wait_for(READY, seconds=60)

        assert re.search(rf"Port {busy[0]} is busy\. The site takes \d+\.", launcher.said())
        assert re.search(rf"Port {busy[1]} is busy\. The inbox takes \d+\.", launcher.said())
        assert get(address(launcher, "The inbox"))
        assert launcher.stop(signal.SIGINT) == 0
        assert "Traceback" not in launcher.said()


def test_a_process_that_fails_takes_the_others_along_and_says_so(checkout: Path) -> None:
    (checkout / "Procfile").write_text(
        f"site: exec sleep 600\nsender: exec {sys.executable} -c 'raise SystemExit(3)'\n"
    )
    with running(*LAUNCHER, cwd=checkout, env=launcher_environment()) as launcher:
        assert launcher.wait() == 3
        assert "ended by itself" in launcher.said()
    assert processes_in(checkout) == []


def test_a_database_that_is_given_is_used_and_the_embedded_one_is_not_touched(
    checkout: Path, database_url: str
) -> None:
    with running(*LAUNCHER, cwd=checkout, env=launcher_environment(DATABASE_URL=database_url)) as launcher:
        launcher.wait_for(READY, seconds=60)
        assert launcher.stop(signal.SIGINT) == 0
        assert "Postgres" not in launcher.said()
    assert not (checkout / ".postgres").exists()


def test_a_database_that_does_not_answer_gets_a_sentence_and_no_traceback(checkout: Path, tmp_path: Path) -> None:
    environment = launcher_environment(DATABASE_URL=f"postgres:///none?host={tmp_path}")
    with running(*LAUNCHER, cwd=checkout, env=environment) as launcher:
        assert launcher.wait() == 1
        assert "Can't start: connection" in launcher.said()
        assert "Traceback" not in launcher.said()


def test_ctrl_c_before_it_is_up_leaves_nothing_behind(checkout: Path) -> None:
    with running(*LAUNCHER, cwd=checkout, env=launcher_environment()) as launcher:
        launcher.wait_for("The embedded Postgres is up")
        launcher.send_to_group(signal.SIGINT)

        assert launcher.wait() == 0
    assert processes_in(checkout) == []
