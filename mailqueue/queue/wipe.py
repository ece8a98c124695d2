"""Wiping: what a sensitive mail says leaves the database in the transaction in which it is sent or expires."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from post_office.models import STATUS, Attachment

from mailqueue.models import StopReason

# Message-ID and Date stay: they say which mail it was. The template stays too: without its context it says nothing.
WIPE = f"""
WITH wiped AS (
    UPDATE mailqueue_mailoptions o SET wiped_at = clock_timestamp()
    FROM post_office_email e LEFT JOIN mailqueue_mailstate s ON s.email_id = e.id
    WHERE o.email_id = ANY(%s) AND o.is_sensitive AND o.wiped_at IS NULL AND e.id = o.email_id
      AND (e.status = {STATUS.sent} OR (e.status = {STATUS.failed} AND s.reason = '{StopReason.EXPIRED}'))
    RETURNING o.email_id
), emptied AS (
    UPDATE post_office_email e SET subject = '', message = '', html_message = '', context = NULL,
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

# Whoever is about to use one of them for another mail has locked it: it is left to him.
LOCK = "SELECT id FROM post_office_attachment WHERE id = ANY(%s) ORDER BY id FOR UPDATE SKIP LOCKED"
DROP = """
DELETE FROM post_office_attachment a WHERE a.id = ANY(%s)
  AND NOT EXISTS (SELECT FROM post_office_attachment_emails l WHERE l.attachment_id = a.id)
RETURNING a.file
"""

logger = logging.getLogger("mailqueue.sender")


def wipe(cursor: Any, email_ids: Sequence[int]) -> None:
    """Empty those of these mails that are sensitive and were sent, partly sent for good, or expired.

    Who it was for and when, the attempts and the answers stay. Attachments that no other mail has go too, their files
    after the commit: after a crash in between, files stay that no row names.
    """
    if not email_ids:
        return
    cursor.execute(WIPE, [list(email_ids)])
    if attachment_ids := [attachment_id for (attachment_id,) in cursor.fetchall()]:
        _drop(cursor, attachment_ids)


def _drop(cursor: Any, attachment_ids: Sequence[int]) -> None:
    """Delete attachments that no mail has. What a project's own tables refer to must not keep a mail from settling."""
    using = cursor.db.alias
    try:
        with transaction.atomic(using=using):
            cursor.execute(LOCK, [list(attachment_ids)])
            cursor.execute(DROP, [[attachment_id for (attachment_id,) in cursor.fetchall()]])
            names = [name for (name,) in cursor.fetchall()]
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    except IntegrityError:
        logger.warning("attachment.kept", extra={"fields": {"attachments": list(attachment_ids)}}, exc_info=True)
    else:
        transaction.on_commit(partial(_delete_files, names), using=using)


def _delete_files(names: Sequence[str]) -> None:
    storage = Attachment._meta.get_field("file").storage
    for name in names:
        try:
            storage.delete(name)
        except Exception:  # a storage may raise anything; the mail is settled all the same
            logger.warning("attachment.kept", extra={"fields": {"file": name}}, exc_info=True)
