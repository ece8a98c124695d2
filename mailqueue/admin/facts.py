"""What the page of a mail says beside its content. Named here, for post_office's names speak English alone."""

# ruff: noqa: ARG002  (Django decides the signatures)

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.delivery.backends import canonical
from mailqueue.ops.contents import is_hidden
from mailqueue.ops.facts import readable_time
from mailqueue.ops.overview import priority_name

if TYPE_CHECKING:
    from django_stubs_ext import FieldsetSpec

    Admin = admin.ModelAdmin[Any]
else:
    Admin = object

FACTS = {
    "from_text": "from_email",
    "to_list": "to",
    "cc_list": "cc",
    "bcc_list": "bcc",
    "message_id_text": "message_id",
    "priority_text": "priority",
    "backend_text": "backend_alias",
    "created_text": "created",
    "scheduled_text": "scheduled_time",
    "expires_text": "expires_at",
}
"""What is shown of a mail beside its subject, and the column it comes from. What is empty is left out."""


class Facts(Admin):
    """Adds the facts to an admin of mail."""

    def get_fieldsets(self, request: HttpRequest, obj: Email | None = None) -> "FieldsetSpec":
        subject = () if obj is not None and is_hidden(obj) else ("subject_text",)
        facts = [name for name, column in FACTS.items() if obj is None or getattr(obj, column) not in (None, "", [])]
        return [(_("Mail"), {"fields": (*subject, *facts)})]

    @admin.display(description=_("subject"))
    def subject_text(self, mail: Email) -> str:
        return mail.mailqueue_contents.subject or self.get_empty_value_display()

    @admin.display(description=_("from"))
    def from_text(self, mail: Email) -> str:
        return str(mail.from_email)

    @admin.display(description=_("to"))
    def to_list(self, mail: Email) -> str:
        return ", ".join(mail.to)

    @admin.display(description=_("cc"))
    def cc_list(self, mail: Email) -> str:
        return ", ".join(mail.cc)

    @admin.display(description=_("bcc"))
    def bcc_list(self, mail: Email) -> str:
        return ", ".join(mail.bcc)

    @admin.display(description="Message-ID")
    def message_id_text(self, mail: Email) -> str:
        return str(mail.message_id)

    @admin.display(description=_("priority"))
    def priority_text(self, mail: Email) -> str:
        return priority_name(mail.priority)

    @admin.display(description=_("backend"))
    def backend_text(self, mail: Email) -> str:
        return canonical(mail.backend_alias)

    @admin.display(description=_("created"))
    def created_text(self, mail: Email) -> str:
        return readable_time(mail.created)

    @admin.display(description=_("scheduled for"))
    def scheduled_text(self, mail: Email) -> str:
        return readable_time(mail.scheduled_time)

    @admin.display(description=_("expires"))
    def expires_text(self, mail: Email) -> str:
        return readable_time(mail.expires_at)
