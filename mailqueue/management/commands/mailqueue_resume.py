"""`manage.py mailqueue_resume`: let mail flow again through a backend that was paused."""

from argparse import ArgumentParser
from typing import Any

from django.db import router
from django.utils.translation import gettext as _
from post_office.models import Email

from mailqueue.management.backends import add_backends, chosen_backends
from mailqueue.management.command import QueueCommand
from mailqueue.queue.pauses import resume


class Command(QueueCommand):
    help = (
        "Resume backends that were paused; one that is shut or rests goes on doing so. "
        "Examples: mailqueue_resume default; mailqueue_resume --all"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_backends(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        using = router.db_for_write(Email)
        for alias in chosen_backends(options):
            is_new = resume(alias, using=using)
            told = _("%(backend)s: resumed") if is_new else _("%(backend)s: was not paused")
            self.stdout.write(told % {"backend": alias})
