"""Joins mailqueue to Django: checks, and the signals by which mail and files of any API are noticed."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MailqueueConfig(AppConfig):
    name = "mailqueue"
    verbose_name = _("Mail queue")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import post_save, pre_save
        from post_office.models import Attachment, Email
        from post_office.signals import email_queued

        from mailqueue import backend_checks, checks, table_checks  # noqa: F401  (registers them)
        from mailqueue.outbox.files import AttachmentFile, follow_transaction
        from mailqueue.outbox.notice import notice, warn_of_priority_now

        email_queued.connect(notice, dispatch_uid="mailqueue.notice")
        Attachment._meta.get_field("file").attr_class = AttachmentFile
        post_save.connect(follow_transaction, sender=Attachment, dispatch_uid="mailqueue.files")
        pre_save.connect(warn_of_priority_now, sender=Email, dispatch_uid="mailqueue.now")
