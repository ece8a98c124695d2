"""`manage.py cleanup_mail`: post_office's command, sparing mail that may still be sent or waits for a person."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db import router
from post_office.models import Email

from mailqueue.conf import MOST_DAYS
from mailqueue.management.command import QueueCommand
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

    def handle(self, *_: Any, **options: Any) -> None:
        using, batch = router.db_for_write(Email), options["batch_size"]
        if batch < 1 or not 0 <= options["days"] <= MOST_DAYS:
            raise CommandError(f"--days must be at least 0 and at most {MOST_DAYS}, and --batch-size at least 1.")
        before = database_time(using) - timedelta(days=options["days"])
        purged = list(
            purge(endings=ENDINGS, before=before, using=using, by_creation=True, drops_attachments=False, batch=batch)
        )
        attachments = sum(purge_attachments(using=using, batch=batch)) if options["delete_attachments"] else 0
        count, kept = sum(one.count for one in purged), sum(one.kept for one in purged)
        self.stdout.write(f"Deleted {count} mails created before {before} and {attachments} attachments.")
        if kept:
            self.stderr.write(f"{kept} mails were kept: rows of other apps refer to them.")
