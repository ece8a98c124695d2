"""One mail and what became of it, as lines for a terminal, in the active language."""

from collections.abc import Iterator

from django.utils.translation import gettext as _
from post_office.models import Email

from mailqueue.delivery.backends import canonical
from mailqueue.ops.columns import columns
from mailqueue.ops.contents import is_hidden, why_hidden
from mailqueue.ops.facts import readable_time
from mailqueue.ops.overview import priority_name
from mailqueue.ops.states import MailStatus
from mailqueue.ops.timeline import Entry


def mail_lines(mail: Email, status: MailStatus, attempts: list[Entry]) -> Iterator[str]:
    """Give the state of a loaded mail and why, what it is, and its attempts, oldest first."""
    yield _("Mail %(id)d: %(state)s") % {"id": mail.pk, "state": status.text}
    yield f"  {status.detail}"
    yield from (f"  {line}" for line in columns([row for row in _rows(mail, status) if row[1]]))
    if attempts:
        yield _("Attempts")
        yield from (f"  {line}" for line in columns([_attempt(entry) for entry in attempts]))
        yield from _recipients(attempts[-1])


def _rows(mail: Email, status: MailStatus) -> Iterator[tuple[str, str]]:
    lane = f"{canonical(mail.backend_alias)} {priority_name(1 if mail.priority is None else mail.priority)}"
    yield _("from"), mail.from_email
    yield _("to"), ", ".join(mail.to)
    yield _("cc"), ", ".join(mail.cc)
    yield _("bcc"), ", ".join(mail.bcc)
    yield _("subject"), "" if is_hidden(mail) else mail.subject
    yield _("content"), why_hidden(mail)
    yield _("lane"), lane
    yield _("queued"), readable_time(mail.created)
    yield _("next"), readable_time(status.until)
    yield _("expires"), readable_time(mail.expires_at)
    yield "Message-ID", "" if is_hidden(mail) else mail.message_id or ""
    options = getattr(mail, "mailqueue_options", None)
    yield _("about"), options.ref if options else ""


def _attempt(entry: Entry) -> tuple[str, ...]:
    attempt = entry.attempt
    moment = readable_time(attempt.started_at or attempt.claimed_at)
    return str(attempt.number), moment, entry.outcome, entry.duration, attempt.sender, entry.answer


def _recipients(last: Entry) -> Iterator[str]:
    if len(last.recipients) > 1:
        rows = [(result.address, result.verdict, result.answer) for result in last.recipients]
        yield _("Recipients of the last attempt")
        yield from (f"  {line}" for line in columns(rows))
