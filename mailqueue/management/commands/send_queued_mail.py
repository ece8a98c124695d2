"""`manage.py send_queued_mail`: runs a sender."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router
from post_office.models import Email
from post_office.settings import get_config

from mailqueue.conf import configuration
from mailqueue.delivery.backends import canonical, configured_aliases
from mailqueue.management.arguments import positive
from mailqueue.management.command import check_postgres
from mailqueue.queue.settle import LogLevel
from mailqueue.sender.log import FORMATTERS, set_up_logging
from mailqueue.sender.options import Options, unknown_backends
from mailqueue.sender.process import run_sender
from mailqueue.sender.supervisor import supervise

LOG_LEVELS = [level.value for level in LogLevel]


class Command(BaseCommand):
    help = (
        "Send queued mail until TERM or INT: stop claiming, finish what is in flight (30 s at most), hand the rest "
        "back, exit 0. A second INT leaves at once, with exit code 130. Start more of it, on any host, to send faster."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--until-empty", action="store_true", help="send what may be sent now, then exit 0")
        parser.add_argument(
            "--concurrency",
            type=positive,
            metavar="N",
            help='connections per process (default: MAILQUEUE["CONCURRENCY"])',
        )
        parser.add_argument("-p", "--processes", type=positive, default=1, metavar="N", help="sender processes")
        parser.add_argument(
            "--backend", action="append", default=[], metavar="ALIAS", help="send only mail of it (repeatable)"
        )
        parser.add_argument(
            "--log-format", choices=sorted(FORMATTERS), default="text", help="one line an event, as text or as JSON"
        )
        parser.add_argument(
            "-l",
            "--log-level",
            type=int,
            choices=LOG_LEVELS,
            help="which of post_office's log rows to write: 0 none, 1 those of failures, 2 all",
        )
        parser.add_argument(
            "-L", "--lockfile", metavar="PATH", help="not needed: senders do not get in each other's way"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        settings = configuration()
        set_up_logging(options["log_format"])
        self._check_backends(tuple(options["backend"]))
        check_postgres(router.db_for_write(Email))
        if options["lockfile"]:
            self.stderr.write("--lockfile is not needed and ignored: any number of senders may run at once.")
        if options["processes"] > 1:
            sys.exit(supervise(options["processes"]))
        log_level = options["log_level"]
        if log_level is None:
            log_level = self._configured_log_level()
        sender_options = Options(
            concurrency=options["concurrency"] or settings.CONCURRENCY,
            using=router.db_for_write(Email),
            backends=tuple(canonical(alias) for alias in options["backend"]),
            is_until_empty=options["until_empty"],
            log_level=LogLevel(log_level),
        )
        sys.exit(run_sender(sender_options, configuration=settings))

    def _configured_log_level(self) -> int:
        given = get_config().get("LOG_LEVEL", LogLevel.FAILURES)
        if given not in LOG_LEVELS:
            raise CommandError(f'POST_OFFICE["LOG_LEVEL"] is {given!r}. Set it to 0, 1 or 2, or leave it out.')
        return int(given)

    def _check_backends(self, aliases: tuple[str, ...]) -> None:
        if unknown := unknown_backends(aliases):
            raise CommandError(
                f"--backend {unknown[0]}: there is no such backend. Configured: {', '.join(configured_aliases())}."
            )
