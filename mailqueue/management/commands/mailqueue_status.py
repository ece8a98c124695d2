"""`manage.py mailqueue_status`: the queue at a glance."""

import json
import time
from argparse import ArgumentParser
from contextlib import nullcontext, suppress
from typing import Any

from django.db import router
from django.utils.translation import override
from post_office.models import Email

from mailqueue.management.arguments import seconds
from mailqueue.management.command import QueueCommand
from mailqueue.ops.figures import Span, read_figures, total
from mailqueue.ops.overview import ages_by_domain, overview
from mailqueue.ops.overview_json import as_json
from mailqueue.ops.overview_text import lines

DOMAINS = 15
SECONDS = 2.0
CLEAR = "\x1b[H\x1b[2J"


class Command(QueueCommand):
    help = "Show what stands in the queue and for how long, how the backends are, and who is sending."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print it as JSON, with all domains")
        parser.add_argument(
            "--watch",
            nargs="?",
            type=seconds,
            const=SECONDS,
            metavar="SECONDS",
            help=f"print it again and again, until Ctrl-C (every {SECONDS:g} seconds unless it is said)",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        with override("en") if options["json"] else nullcontext():
            self._show_until_stopped(is_json=options["json"], pause=options["watch"])

    def _show_until_stopped(self, *, is_json: bool, pause: float | None) -> None:
        self._show(is_json=is_json)
        with suppress(KeyboardInterrupt):
            while pause is not None:
                time.sleep(pause)
                self._show(is_json=is_json, clears=self.stdout.isatty())

    def _show(self, *, is_json: bool, clears: bool = False) -> None:
        using = router.db_for_write(Email)
        found, domains = overview(using=using), ages_by_domain(using=using)
        if is_json:
            last_hour = total(read_figures(Span.HOUR, now=found.now, using=using))
            self.stdout.write(json.dumps(as_json(found, domains=domains, last_hour=last_hour)))
            return
        text = "\n".join(lines(found, domains=domains, most_domains=DOMAINS))
        self.stdout.write((CLEAR if clears else "") + text)
