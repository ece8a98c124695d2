"""`mailqueue.EmailBackend`: Django's mail API writes to the outbox."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import django
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import router, transaction


class EmailBackend(BaseEmailBackend):
    """Queues messages in the caller's transaction instead of sending them.

    A message is refused with the exception that Django's SMTP backend would raise while it builds it, and nothing is
    written then. Once the transaction has committed, the mail will be sent, or stands in the admin with the reason;
    when it rolls back, there never was a mail. Message-ID and Date are fixed here, so that every retry sends the same.
    """

    def __init__(self, fail_silently: bool = False, **options: Any) -> None:
        if django.VERSION < (6, 1):
            super().__init__(fail_silently=fail_silently)
            return
        # Who asks for the backend with credentials of his own (send_mail's auth_user) can't mean a queue.
        ignored = {*options.pop("_ignore_unknown_kwargs", ()), "username", "password"}
        super().__init__(_ignore_unknown_kwargs=ignored, **options)
        self.fail_silently = fail_silently

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write one row for each message that has recipients, all or none, and return how many.

        Raises:
            BadHeaderError, ValueError, …: what Django's own `message()` raises for this message.
            DatabaseError: the row could not be written.
        """
        wanted = [message for message in email_messages or () if message.recipients()]
        if not wanted:
            return 0
        try:
            self._write(wanted)
        except Exception:
            if not self.fail_silently:
                raise
            return 0
        return len(wanted)

    def _write(self, messages: Sequence[EmailMessage]) -> None:
        from post_office.models import Email
        from post_office.signals import email_queued

        from mailqueue.outbox.insert import insert
        from mailqueue.outbox.rows import draft

        drafts = [draft(message) for message in messages]
        using = router.db_for_write(Email)
        # One INSERT needs no transaction of its own, and a savepoint only where its failure is to be swallowed.
        is_single = len(drafts) == 1 and not drafts[0].has_extra_rows
        with nullcontext() if is_single and not self.fail_silently else transaction.atomic(using=using):
            emails = insert(drafts, using=using)
            email_queued.send(sender=Email, emails=emails)
