"""Wiping: what a sensitive mail says leaves the database in the transaction in which it is sent or expires.

How a mail is emptied stands here for those too who do it for another reason.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

from django.db import IntegrityError, connections, transaction
from post_office.models import STATUS, Attachment

from mailqueue.models import StopReason
from mailqueue.outbox.files import quotable_name

# Of the mails that a first part has named `wiped`. Message-ID and Date stay: they say which mail it was. The template
# stays too: without its context it says nothing.
EMPTYING = """
emptied AS (
    UPDATE post_office_email e SET subject = CASE WHEN wiped.keeps_subject THEN e.subject ELSE '' END,
        message = '', html_message = '', context = NULL,
        headers = CASE WHEN jsonb_typeof(e.headers) = 'object' THEN (
            SELECT jsonb_object_agg(h.key, h.value) FROM jsonb_each(e.headers) h
            WHERE lower(h.key) IN ('message-id', 'date')) END
    FROM wiped WHERE e.id = wiped.email_id
), source AS (
    UPDATE mailqueue_messagesource m SET message = NULL, parts = NULL, attributes = NULL
    FROM wiped WHERE m.email_id = wiped.email_id
), unlinked AS (
    DELETE FROM post_office_attachment_emails l USING wiped WHERE l.email_id = wiped.email_id
    RETURNING l.attachment_id
)
SELECT DISTINCT attachment_id FROM unlinked
"""
WIPE = f"""
WITH wiped AS (
    UPDATE mailqueue_mailoptions o SET wiped_at = clock_timestamp()
    FROM post_office_email e LEFT JOIN mailqueue_mailstate s ON s.email_id = e.id
    WHERE o.email_id = ANY(%s) AND o.is_sensitive AND o.wiped_at IS NULL AND e.id = o.email_id
      AND (e.status = {STATUS.sent} OR (e.status = {STATUS.failed} AND s.reason = '{StopReason.EXPIRED}'))
    RETURNING o.email_id, false AS keeps_subject
), {EMPTYING}
"""

# Equal content of several sensitive mails is one row: of two who wipe them at once, the second looks for links that
# are left when the first has committed. Whoever uses the row for another mail (FOR KEY SHARE) is not waited for.
QUEUE_UP = """
SELECT FROM post_office_attachment a WHERE a.id IN (
    SELECT l.attachment_id FROM post_office_attachment_emails l JOIN mailqueue_mailoptions o ON o.email_id = l.email_id
    WHERE l.email_id = ANY(%s) AND o.is_sensitive AND o.wiped_at IS NULL
)
ORDER BY a.id FOR NO KEY UPDATE
"""

# Whoever is about to use one of them for another mail has locked it: it is left to him.
LOCK = "SELECT id FROM post_office_attachment WHERE id = ANY(%s) ORDER BY id FOR UPDATE SKIP LOCKED"
DROP = """
DELETE FROM post_office_attachment a WHERE a.id = ANY(%s)
  AND NOT EXISTS (SELECT FROM post_office_attachment_emails l WHERE l.attachment_id = a.id)
RETURNING a.file
"""

# There is no index on file names: this reads the table of attachments once. In a sender, that is no turn's time.
NAMED = "SELECT file FROM post_office_attachment WHERE file = ANY(%s)"

logger = logging.getLogger("mailqueue.sender")


class Remover(Protocol):
    """Removes files, now or later. It is called after the commit, and raises nothing."""

    def __call__(self, names: Sequence[str], *, using: str) -> None: ...


def remove_files(names: Sequence[str], *, using: str) -> None:
    """Remove the files of attachments whose rows are gone, except what another row names. Raises nothing."""
    try:
        with connections[using].cursor() as cursor:
            cursor.execute(NAMED, [list(names)])
            named = {name for (name,) in cursor.fetchall()}
    except Exception:  # the mail is settled all the same; what is ours, a sweep removes
        logger.warning(
            "attachment.kept", extra={"fields": {"file": ", ".join(map(quotable_name, names))}}, exc_info=True
        )
    else:
        for name in set(names) - named:
            _remove_file(name)


def _remove_file(name: str) -> None:
    try:
        Attachment._meta.get_field("file").storage.delete(name)
    except Exception:  # a storage may raise anything
        logger.warning("attachment.kept", extra={"fields": {"file": quotable_name(name)}}, exc_info=True)


_remover: ContextVar[Remover] = ContextVar("mailqueue_remover", default=remove_files)


@contextmanager
def removing_by(remover: Remover) -> Iterator[None]:
    """Within, in this thread, let somebody else remove the files of wiped mail: a storage may be slow."""
    token = _remover.set(remover)
    try:
        yield
    finally:
        _remover.reset(token)


def wipe(cursor: Any, email_ids: Sequence[int]) -> None:
    """Empty those of these mails that are sensitive and were sent, partly sent for good, or expired.

    Who it was for and when, the attempts and the answers stay. Attachments that no other mail has go too, their files
    after the commit: after a crash in between, files stay that no row names.

    Raises:
        OperationalError: somebody held an attachment for longer than the transaction's lock_timeout.
    """
    if not email_ids:
        return
    cursor.execute(QUEUE_UP, [list(email_ids)])
    cursor.execute(WIPE, [list(email_ids)])
    if attachment_ids := [attachment_id for (attachment_id,) in cursor.fetchall()]:
        drop_attachments(cursor, attachment_ids)


def drop_attachments(cursor: Any, attachment_ids: Sequence[int]) -> int:
    """Delete those of these attachments that no mail has, their files after the commit, and return how many.

    What a project's own tables refer to stays: it must not keep a mail from being settled.
    """
    using = cursor.db.alias
    try:
        with transaction.atomic(using=using):
            cursor.execute(LOCK, [list(attachment_ids)])
            cursor.execute(DROP, [[attachment_id for (attachment_id,) in cursor.fetchall()]])
            names = [name for (name,) in cursor.fetchall()]
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    except IntegrityError:
        if len(attachment_ids) > 1:
            middle = len(attachment_ids) // 2
            return sum(drop_attachments(cursor, part) for part in (attachment_ids[:middle], attachment_ids[middle:]))
        logger.warning("attachment.kept", extra={"fields": {"attachments": list(attachment_ids)}}, exc_info=True)
        return 0
    if names:
        transaction.on_commit(partial(_remover.get(), names, using=using), using=using)
    return len(names)
