"""Message-ID and Date of rows that others wrote: fixed at their first start, so that every retry sends the same."""

from collections.abc import Iterable
from email.utils import format_datetime, make_msgid

from django.utils import timezone
from post_office.models import Email
from post_office.settings import get_message_id_fqdn


def fix_identity(emails: Iterable[Email], *, using: str) -> None:
    """Give each loaded mail the Message-ID and the Date it lacks, in the row and in the object."""
    for email in emails:
        headers = dict(email.headers) if isinstance(email.headers, dict) else {}
        names = {str(name).lower() for name in headers}
        has_id = email.message_id or "message-id" in names
        if getattr(email, "mailqueue_source", None) or (has_id and "date" in names):
            continue
        if not has_id:
            email.message_id = make_msgid(domain=str(get_message_id_fqdn()))
        if "date" not in names:
            headers["Date"] = format_datetime(timezone.now())
        email.headers = headers
        rows = Email.objects.using(using).filter(pk=email.pk)
        rows.update(message_id=email.message_id, headers=headers)
