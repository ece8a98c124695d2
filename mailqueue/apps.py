"""Joins mailqueue to Django: checks, and the signal by which mail of any API is noticed."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MailqueueConfig(AppConfig):
    name = "mailqueue"
    verbose_name = _("Mail queue")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from post_office.signals import email_queued

        from mailqueue import checks  # noqa: F401  (registers them)
        from mailqueue.outbox.notice import notice

        email_queued.connect(notice, dispatch_uid="mailqueue.notice")
