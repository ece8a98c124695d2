"""`manage.py mailqueue_send_test`: send a mail through queue and sender, and tell each step."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import router
from django.utils import timezone
from django.utils.translation import gettext as _
from post_office.models import Email

from mailqueue.management.arguments import seconds
from mailqueue.management.backends import check_backend
from mailqueue.management.command import QueueCommand
from mailqueue.models import SenderProcess
from mailqueue.ops.allowed import allowed_sentence
from mailqueue.ops.senders import with_life
from mailqueue.ops.states import MailStatus, State, state_of
from mailqueue.outbox.allowed import would_be_held
from mailqueue.outbox.send import send

WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.1
TEXT = "This is a test of the mail queue. It was asked for by `manage.py mailqueue_send_test`; no answer is needed."


class Command(QueueCommand):
    help = (
        "Queue a test mail, wait until a sender has sent it, and tell each step. Exits with 1 when it is not sent. "
        "Example: mailqueue_send_test me@example.com"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", metavar="ADDRESS", help="whom to send it to")
        parser.add_argument("--backend", default="", metavar="ALIAS", help="through this backend, not the default one")
        parser.add_argument(
            "--timeout",
            type=seconds,
            default=WAIT_SECONDS,
            metavar="SECONDS",
            help=f"how long to wait ({WAIT_SECONDS:g})",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        check_backend(options["backend"])
        if would_be_held(options["address"]):
            words = {"address": options["address"], "rule": allowed_sentence()}
            raise CommandError(_("It would be held, for %(address)s is not allowed. %(rule)s") % words)
        mail = self._queue(options["address"], options["backend"])
        status = self._wait(mail, wait_seconds=options["timeout"])
        if status.state == State.SENT:
            return
        if status.is_final:
            raise CommandError(_("It was not sent."))
        words = {"seconds": f"{options['timeout']:g}", "mail": mail.pk}
        raise CommandError(_("It is not sent yet, after %(seconds)s s. See mailqueue_show %(mail)d.") % words)

    def _queue(self, address: str, backend: str) -> Email:
        subject = f"Test of the mail queue, {timezone.now():%Y-%m-%d %H:%M:%S %Z}"
        try:
            mail = send(address, subject=subject, message=TEXT, priority="now", backend=backend)
        except (ValueError, TypeError, ValidationError) as error:
            raise CommandError(_("It could not be queued: %(error)s") % {"error": _words(error)}) from error
        assert mail is not None  # noqa: S101 - only a mail with a key may be None
        self.stdout.write(_("queued: mail %(mail)d, committed to the database") % {"mail": mail.pk})
        self._tell_of_senders()
        return mail

    def _tell_of_senders(self) -> None:
        senders = with_life(SenderProcess.objects.using(router.db_for_write(Email))).filter(is_alive=True)
        names = ", ".join(sender.name for sender in senders)
        told = _("senders alive: %(senders)s") if names else _("no sender is alive: start one (send_queued_mail)")
        self.stdout.write(told % {"senders": names})

    def _wait(self, mail: Email, *, wait_seconds: float) -> MailStatus:
        """Tell of every change until the mail is done with, or the time is over."""
        until = time.monotonic() + wait_seconds
        told = ""
        while True:
            status = state_of(mail)
            if status.is_final:
                status = state_of(mail)  # its attempt may have ended between the statements of the first look
            if status.detail != told:
                told = status.detail
                self.stdout.write(f"{status.text}: {status.detail}")
            if status.is_final or time.monotonic() >= until:
                return status
            time.sleep(LOOK_SECONDS)


def _words(error: Exception) -> str:
    return " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
