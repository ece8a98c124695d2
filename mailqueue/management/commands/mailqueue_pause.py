"""`manage.py mailqueue_pause`: let nothing be started through a backend until somebody resumes it."""

from argparse import ArgumentParser
from typing import Any

from django.db import router
from django.utils.translation import gettext as _
from post_office.models import Email

from mailqueue.management.backends import add_backends, chosen_backends
from mailqueue.management.command import QueueCommand
from mailqueue.management.user import system_user
from mailqueue.models import BackendHealth
from mailqueue.ops.backends import Backend
from mailqueue.ops.waiting_sentences import why_paused
from mailqueue.queue.enqueue import database_time
from mailqueue.queue.pauses import pause


class Command(QueueCommand):
    help = (
        "Pause backends: nothing more is started through them until mailqueue_resume. Mail is queued as before. "
        'Examples: mailqueue_pause default --note "moving the relay"; mailqueue_pause --all'
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_backends(parser)
        parser.add_argument("--note", default="", metavar="TEXT", help="why; shown wherever somebody asks")

    def handle(self, *_args: Any, **options: Any) -> None:
        using = router.db_for_write(Email)
        for alias in chosen_backends(options):
            is_new = pause(alias, by=system_user(), note=options["note"], using=using)
            self.stdout.write(_paused(alias) if is_new else _unchanged(alias, using=using))


def _paused(alias: str) -> str:
    return _("%(backend)s: paused") % {"backend": alias}


def _unchanged(alias: str, *, using: str) -> str:
    """Say who was first, for his name and note stay."""
    row = BackendHealth.objects.using(using).get(alias=alias)
    words = {"backend": alias, "paused": why_paused(Backend(row, database_time(using)))}
    return _("%(backend)s: nothing changed, it is %(paused)s already") % words
