"""Mail that nobody is to read, and a search of the whole database for what it said."""

from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.db import connection
from django.utils import timezone
from post_office.models import Attachment, Email, EmailTemplate

from mailqueue.models import MailOptions, MessageSource
from tests.support.mails import make_mail

SECRET = "xyzzy4711"


def make_secret_mail(**fields: Any) -> Email:
    """Write a sensitive mail that says the secret wherever a mail can say anything."""
    mail = make_mail(
        subject=f"{SECRET} is your code",
        message=f"Your code: {SECRET}",
        html_message=f"<p>{SECRET}</p>",
        headers={"X-Code": SECRET, "date": "Sat, 21 Nov 2026 09:30:00 -0000", "Message-ID": "<1@example.com>"},
        template=EmailTemplate.objects.get_or_create(name="code", subject="{{ code }}", content="Code: {{ code }}")[0],
        context={"code": SECRET},
        **fields,
    )
    MailOptions.objects.create(email=mail, is_sensitive=True)
    return mail


def keep_source(mail: Email, *, message: bytes | None = None) -> None:
    """Add what post_office's columns can't hold of a mail, with the secret in it."""
    MessageSource.objects.create(
        email=mail,
        envelope_from="shop@example.com",
        recipients=["jane@example.com"],
        message=message,
        parts={"body": SECRET},
        attributes={"metadata": {"code": SECRET}},
    )


def attach(mail: Email, *, name: str = f"{SECRET}.txt") -> tuple[Attachment, Path]:
    """Attach a file and say where it is."""
    attachment = Attachment(name=name, mimetype="text/plain")
    attachment.file.save("code.txt", ContentFile(SECRET.encode()), save=True)
    mail.attachments.add(attachment)
    return attachment, Path(attachment.file.path)


def traces(text: str = SECRET) -> set[str]:
    """Return the tables in which any row holds this text, as text or as bytes."""
    with connection.cursor() as cursor:
        tables = [name for name in connection.introspection.table_names(cursor) if name != "django_migrations"]
        return {name for name in tables if _holds(cursor, name, text)}


def _holds(cursor: Any, table: str, text: str) -> bool:
    cursor.execute(
        f"SELECT EXISTS (SELECT FROM {table} t WHERE t::text LIKE %s OR t::text LIKE %s)",
        [f"%{text}%", f"%{text.encode().hex()}%"],
    )
    return bool(cursor.fetchone()[0])


def mark_wiped(mail: Email) -> None:
    MailOptions.objects.filter(email=mail).update(wiped_at=timezone.now())
