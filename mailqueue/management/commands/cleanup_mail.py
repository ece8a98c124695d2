"""`manage.py cleanup_mail`: post_office's command, sparing mail that may still be sent or waits for a person."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db import router
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from post_office.models import Email

from mailqueue.conf import MOST_DAYS
from mailqueue.management.command import QueueCommand
from mailqueue.ops.facts import readable_time, zone_of
from mailqueue.queue.enqueue import database_time
from mailqueue.queue.purge import ENDINGS, purge, purge_attachments


class Command(QueueCommand):
    help = (
        "Delete mails that were created so many days ago and are done with: sent, failed, expired, cancelled, or "
        "never finished by post_office. Queued, held and unknown mail, and mail that is being sent, stays."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("-d", "--days", type=int, default=90, help="delete mails older than this (90)")
        parser.add_argument(
            "-da", "--delete-attachments", action="store_true", help="delete attachments that no mail has any more"
        )
        parser.add_argument("-b", "--batch-size", type=int, default=1000, help="mails in one transaction (1000)")

    def handle(self, *_args: Any, **options: Any) -> None:
        using, batch = router.db_for_write(Email), options["batch_size"]
        if batch < 1 or not 0 <= options["days"] <= MOST_DAYS:
            pattern = _("--days must be at least 0 and at most %(most)d, and --batch-size at least 1.")
            raise CommandError(pattern % {"most": MOST_DAYS})
        before = database_time(using) - timedelta(days=options["days"])
        purged = list(
            purge(endings=ENDINGS, before=before, using=using, by_creation=True, drops_attachments=False, batch=batch)
        )
        attachments = sum(purge_attachments(using=using, batch=batch)) if options["delete_attachments"] else 0
        count, kept = sum(one.count for one in purged), sum(one.kept for one in purged)
        self._tell(count, attachments, before=f"{readable_time(before)} {zone_of(before)}")
        if kept:
            pattern = ngettext(
                "%(count)s mail was kept: rows of other apps refer to it.",
                "%(count)s mails were kept: rows of other apps refer to them.",
                kept,
            )
            self.stderr.write(pattern % {"count": f"{kept:,}"})

    def _tell(self, count: int, attachments: int, *, before: str) -> None:
        pattern = ngettext(
            "Deleted %(count)s mail created before %(time)s.",
            "Deleted %(count)s mails created before %(time)s.",
            count,
        )
        self.stdout.write(pattern % {"count": f"{count:,}", "time": before})
        pattern = ngettext("Deleted %(count)s attachment.", "Deleted %(count)s attachments.", attachments)
        self.stdout.write(pattern % {"count": f"{attachments:,}"})
