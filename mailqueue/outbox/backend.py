"""`mailqueue.EmailBackend` and `mailqueue.AutonomousEmailBackend`: Django's mail API writes to the outbox.

They may be named, and made, before models may be loaded.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import django
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import router, transaction

if TYPE_CHECKING:
    from mailqueue.outbox.drafts import Draft


class EmailBackend(BaseEmailBackend):
    """Queues messages in the caller's transaction instead of sending them.

    A message is refused with the exception that Django's SMTP backend would raise before it speaks to the server, and
    nothing is written then. Once the transaction has committed, the mail will be sent, or stands in the admin with the
    reason; when it rolls back, there never was a mail. Message-ID and Date are fixed here, so that every retry sends
    the same.
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

        Where nothing may be raised (`fail_silently`), 0 says that nothing was written; a transaction of the caller's
        that could be used before can be used after.

        Raises:
            BadHeaderError, ValueError, …: what Django's SMTP backend would raise for this message.
            MessageTooLargeError: a message is larger than MAX_MESSAGE_BYTES.
            DatabaseError: the row could not be written.
        """
        try:
            return self._queue(email_messages or ())
        except Exception:
            if not self.fail_silently:
                raise
            return 0

    def _queue(self, messages: Iterable[EmailMessage]) -> int:
        from post_office.models import Email

        from mailqueue.outbox.rows import draft

        drafts = [draft(message) for message in messages if message.recipients()]
        if drafts:
            self._write(drafts, using=router.db_for_write(Email))
        return len(drafts)

    def _write(self, drafts: Sequence["Draft"], *, using: str) -> None:
        from mailqueue.outbox.insert import insert
        from mailqueue.outbox.notice import announce, warn_of_other_transaction

        warn_of_other_transaction(using)
        # One INSERT needs no transaction of its own, and a savepoint only where its failure is to be swallowed.
        is_single = len(drafts) == 1 and not drafts[0].has_extra_rows
        with nullcontext() if is_single and not self.fail_silently else transaction.atomic(using=using):
            announce(insert(drafts, using=using), using=using)


class AutonomousEmailBackend(EmailBackend):
    """Queues messages by a connection of its own and commits at once: a rollback of the caller's leaves them queued.

    For error reports to the admins from within the request that fails. Works where the caller's transaction is broken
    already, and leaves it as it is. Costs a new connection to the database with each call.
    """

    def _write(self, drafts: Sequence["Draft"], *, using: str) -> None:
        from mailqueue.outbox.autonomous import write_apart

        write_apart(drafts, using=using)
