"""`manage.py mailqueue_show`: where is this mail?"""

import json
from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from django.core.management.base import CommandError
from django.db import router
from django.utils.timezone import get_current_timezone_name, now
from django.utils.translation import gettext as _
from django.utils.translation import override
from post_office.models import Email

from mailqueue.management.arguments import positive
from mailqueue.management.command import QueueCommand
from mailqueue.ops.facts import zone_of
from mailqueue.ops.mail_json import mail_as_json
from mailqueue.ops.mail_text import mail_lines
from mailqueue.ops.search import newest_to
from mailqueue.ops.states import states_of
from mailqueue.ops.timeline import timeline_of
from mailqueue.outbox.messages import load_rows

MOST = 10


class Command(QueueCommand):
    help = (
        "Show mails: their state, why in one sentence, and every attempt. "
        "Examples: mailqueue_show 1204; mailqueue_show jane@example.com --last 3"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("which", nargs="+", metavar="ID|ADDRESS", help="numbers of mails, or (parts of) addresses")
        parser.add_argument(
            "--last", type=positive, default=MOST, metavar="N", help=f"of an address, the newest N mails ({MOST})"
        )
        parser.add_argument("--json", action="store_true", help="print it as JSON, one object a line")

    def handle(self, *_args: Any, **options: Any) -> None:
        with override("en") if options["json"] else nullcontext():
            self._show_all(options)
        if not options["json"]:
            words = {"zone": get_current_timezone_name(), "now": zone_of(now())}
            self.stdout.write(_("Times are in the time zone %(zone)s, now %(now)s.") % words)

    def _show_all(self, options: Mapping[str, Any]) -> None:
        using = router.db_for_write(Email)
        for which in options["which"]:
            if not which.strip():
                raise CommandError(_("Give a number, or an address or a part of one, not an empty text."))
            ids = [int(which)] if which.isdecimal() else newest_to(which, count=options["last"], using=using)
            mails = load_rows(ids, using=using)
            if not mails:
                raise CommandError(_missing(which))
            statuses = states_of(mails.values())
            for pk in (pk for pk in ids if pk in mails and pk in statuses):
                self._show(mails[pk], statuses[pk], is_json=options["json"])

    def _show(self, mail: Any, status: Any, *, is_json: bool) -> None:
        attempts = timeline_of(mail)
        if is_json:
            self.stdout.write(json.dumps(mail_as_json(mail, status, attempts)))
        else:
            self.stdout.write("\n".join(mail_lines(mail, status, attempts)) + "\n")


def _missing(which: str) -> str:
    if which.isdecimal():
        return _("There is no mail with the number %(mail)s.") % {"mail": which}
    return _("There is no mail to %(address)s.") % {"address": which}
