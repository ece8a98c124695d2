"""`make run`: from a checkout to a working site, sender and inbox, and back to nothing on Ctrl-C.

It starts the embedded Postgres when DATABASE_URL is not set, migrates, and runs the Procfile by honcho.
"""

import os
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from honcho import manager as honcho_manager
from honcho.environ import parse_procfile
from honcho.printer import Message, Printer

from project.dev.admin_user import NAME as ADMIN_NAME
from project.dev.postgres import CHECKOUT_FOLDER, EmbeddedPostgres, EmbeddedPostgresError

CHECKOUT = Path(__file__).resolve().parents[2]
PASSWORD_FILE = CHECKOUT / ".admin-password"
SITE_PORT, INBOX_PORT = 8000, 2525
LONGEST_SEARCH = 100
SECONDS_TO_STOP = 35
"""A sender that is told to stop may take 30 s for what is in flight."""
STOPPED_BY_HAND = {128 + signal.SIGINT, 128 + signal.SIGTERM}


class LauncherError(Exception):
    """The site can't be started, and the text says why."""


interruptions: list[int] = []
"""Signals that told us to stop: an exception that is raised in a callback of a library may get lost there."""


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    os.chdir(CHECKOUT)
    try:
        environment = prepare_environment()
        with database(environment) as is_embedded:
            password = prepare_site(is_embedded=is_embedded)
            if interruptions:
                return 0
            return run_processes(environment, announcement=announcement(environment, password=password))
    except KeyboardInterrupt:
        return 0
    except (LauncherError, EmbeddedPostgresError, ImproperlyConfigured) as error:
        say(f"Can't start: {error}")
        return 1


def prepare_environment() -> dict[str, str]:
    """What the site, the sender and the inbox get: what is set already, and the values of development for the rest."""
    if (CHECKOUT / ".env").is_file():
        environ.Env.read_env(str(CHECKOUT / ".env"))
    port = free_port(os.environ.get("PORT", SITE_PORT), purpose="The site")
    inbox_port = free_port(os.environ.get("INBOX_PORT", INBOX_PORT), purpose="The inbox", but_not=port)
    os.environ.update(PORT=str(port), INBOX_PORT=str(inbox_port), PYTHONUNBUFFERED="1")
    os.environ.setdefault("DEBUG", "1")
    os.environ.setdefault("EMAIL_URL", f"smtp://127.0.0.1:{inbox_port}")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    # The Procfile says "python" and means this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return dict(os.environ)


def free_port(wanted: str | int, *, purpose: str, but_not: int | None = None) -> int:
    """The wanted port, or with a word about it the next one that is free."""
    try:
        first = int(wanted)
    except ValueError:
        raise LauncherError(f"{wanted!r} is no port number") from None
    for port in range(first, min(first + LONGEST_SEARCH, 65536)):
        if port != but_not and is_free(port):
            if port != first:
                say(f"Port {first} is busy. {purpose} takes {port}.")
            return port
    raise LauncherError(f"no port from {first} on is free")


def is_free(port: int) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # As the servers do it: a port whose last connections linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def database(environment: dict[str, str]) -> Iterator[bool]:
    """Start the embedded Postgres if it is meant, and stop it in the end if it was this run that started it."""
    if url := environment.get("DATABASE_URL"):
        address = urlsplit(url)
        name = f"{address.hostname or 'local'}{address.path}"
        say(f"The database is {name}, from DATABASE_URL. The sender will send what is queued there.")
        yield False
        return
    postgres = EmbeddedPostgres(CHECKOUT_FOLDER)
    was_down = False
    try:
        was_down = postgres.start()
        say("The embedded Postgres is up." if was_down else "The embedded Postgres was up already, and will stay up.")
        postgres.create_database("mailqueue")
        yield True
    finally:
        if was_down:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            postgres.stop()
            say("The embedded Postgres is down.")


def prepare_site(*, is_embedded: bool) -> str | None:
    """Migrate, make the admin user, and return its password if we know it."""
    import django
    from django.core.management import CommandError, call_command
    from django.db import DatabaseError, connections

    from project.dev.admin_user import ensure_admin_user

    try:
        django.setup()
        call_command("migrate", interactive=False, verbosity=0)
        return ensure_admin_user(PASSWORD_FILE, may_reset=is_embedded)
    except (CommandError, DatabaseError, ImproperlyConfigured) as error:
        raise LauncherError(str(error)) from error
    finally:
        connections.close_all()


def announcement(environment: dict[str, str], *, password: str | None) -> str:
    site = f"http://127.0.0.1:{environment['PORT']}"
    mail_server = environment["EMAIL_URL"].rsplit("@", 1)[-1].removeprefix("smtp://")
    return f"""
  The shop    {site}/
  The inbox   {site}/inbox/
  The admin   {site}/admin/
              name {ADMIN_NAME}, password {password or "(the one that was set)"}
  Mail goes to {mail_server}. Ctrl-C ends all of it.
"""


class Screen(Printer):  # type: ignore[misc]
    """What the processes print to; a terminal that has gone away is no reason to leave them running."""

    def write(self, message: Message) -> None:
        with suppress(OSError):
            super().write(message)


class Processes(honcho_manager.Manager):  # type: ignore[misc]
    """honcho's manager, which can be told to stop before all have started, and doesn't wait after a second Ctrl-C."""

    def __init__(self, *, on_start: Callable[[], None]) -> None:
        super().__init__(Screen(sys.stdout))
        self.on_start = on_start
        self.has_started = False
        self.is_told_to_stop = False

    def terminate(self) -> None:
        if not self.has_started:
            self.is_told_to_stop = True
        else:
            super().terminate()
            signal.signal(signal.SIGINT, lambda _number, _frame: self.kill())

    def _system_print(self, data: str) -> None:
        """Said among other things whenever a process has started, which honcho tells in no other way."""
        super()._system_print(data)
        if not self.has_started and self._all_started():
            self.has_started = True
            self.on_start()
            if self.is_told_to_stop:
                self.terminate()


def run_processes(environment: dict[str, str], *, announcement: str) -> int:
    """Run the Procfile until somebody stops it, or until one of its processes ends; then stop the others too."""
    honcho_manager.KILL_WAIT = SECONDS_TO_STOP
    announcer = Announcer(announcement, address=f"http://127.0.0.1:{environment['PORT']}/")
    # A thread that began earlier would be copied half-alive into each process that honcho forks.
    processes = Processes(on_start=announcer.start)
    for name, command in parse_procfile((CHECKOUT / "Procfile").read_text()).processes.items():
        processes.add_process(name, command, env=environment, cwd=str(CHECKOUT))
    signal.signal(signal.SIGHUP, lambda _number, _frame: os.kill(os.getpid(), signal.SIGTERM))
    try:
        processes.loop()
    finally:
        announcer.is_over.set()
    if processes.returncode in STOPPED_BY_HAND:
        return 0
    say("One of the processes ended by itself (see above), so the others were stopped too.")
    return processes.returncode or 1


class Announcer(threading.Thread):
    """Says what to open once the site answers."""

    def __init__(self, text: str, *, address: str) -> None:
        super().__init__(daemon=True)
        self.text = text
        self.address = address
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(0.1):
            if self.site_answers():
                say(self.text)
                return

    def site_answers(self) -> bool:
        try:
            urllib.request.urlopen(self.address, timeout=5).close()  # noqa: S310 (an address of our own)
        except urllib.error.HTTPError:
            return True  # it answers, if only with an error
        except OSError:
            return False
        return True


def _interrupt(number: int, _frame: FrameType | None) -> None:
    interruptions.append(number)
    raise KeyboardInterrupt


def say(text: str) -> None:
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
