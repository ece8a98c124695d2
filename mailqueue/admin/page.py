"""The page of one mail: what it says, its state and its attempts. It is read-only, and a broken mail has one too."""

# ruff: noqa: ARG002  (Django decides the signatures)

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.mail import EmailMessage
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.admin.buttons import Buttons
from mailqueue.ops.contents import contents_of, is_hidden, why_hidden
from mailqueue.ops.states import state_of
from mailqueue.ops.timeline import timeline_of
from mailqueue.outbox.messages import letter_of, load_rows

if TYPE_CHECKING:
    from django_stubs_ext import FieldsetSpec


def _message_to_show(mail: Email) -> EmailMessage:
    """Build what post_office's preview and images show: what would be sent, also where its own row can't hold it."""
    if is_hidden(mail):
        raise Http404
    return letter_of(mail, recipients=[]).build()


class Page(Buttons):
    """The page of a mail, with buttons for the acts that its state allows."""

    change_form_template = "admin/mailqueue/mail.html"

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Email | None:
        found = super().get_object(request, object_id, from_field)
        mail = None if found is None else load_rows([found.pk], using=found._state.db).get(found.pk)
        if mail is not None:
            mail.email_message = lambda: _message_to_show(mail)
        return mail

    def get_fieldsets(self, request: HttpRequest, obj: Email | None = None) -> "FieldsetSpec":
        addresses = ("from_email", "to_list", "cc_list", "bcc_list")
        facts = ("message_id", "priority", "backend_alias", "created", "scheduled_time", "expires_at")
        if obj is not None and is_hidden(obj):
            return [(_("Mail"), {"fields": (*addresses, *facts)})]
        return [
            (_("Mail"), {"fields": ("subject_text", *addresses, *facts)}),
            (_("Content"), {"fields": ("body", "html_preview")}),
            (_("Headers"), {"fields": ("headers",), "classes": ("collapse",)}),
        ]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Email | None = None,
    ) -> HttpResponse:
        if obj is not None:
            obj.mailqueue_contents = contents_of(obj)
            context |= self._page_context(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _page_context(self, request: HttpRequest, mail: Email) -> dict[str, Any]:
        status = state_of(mail)
        return {
            "title": _("Mail %(number)s") % {"number": mail.pk},
            "status": status,
            "attachments": [] if is_hidden(mail) else mail.attachments.all(),
            "why_hidden": why_hidden(mail),
            "problem": mail.mailqueue_contents.problem,
            "timeline": timeline_of(mail),
            "buttons": self.buttons(request, mail, status.state),
        }

    def preview_html(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._guarded(super().preview_html, request, pk)  # type: ignore[misc]  # it comes from post_office

    def fetch_email_image(self, request: HttpRequest, pk: int, content_id: str) -> HttpResponse:
        return self._guarded(super().fetch_email_image, request, pk, content_id)  # type: ignore[misc]  # as above

    def _guarded(self, view: Any, request: HttpRequest, *args: Any) -> HttpResponse:
        try:
            response: HttpResponse = view(request, *args)
        except (Http404, PermissionDenied):
            raise
        except Exception as error:  # noqa: BLE001  (a template, a storage or a header may raise anything)
            text = _("This mail can't be built: %(error)s") % {"error": f"{type(error).__name__}: {error}"}
            response = HttpResponse(text, content_type="text/plain; charset=utf-8", status=422)
        return response

    def _get_html_payload(self, mail: Email) -> str | None:
        contents = contents_of(mail)
        return contents.html or None

    @admin.display(description=_("subject"))
    def subject_text(self, mail: Email) -> str:
        return mail.mailqueue_contents.subject or self.get_empty_value_display()

    @admin.display(description=_("to"))
    def to_list(self, mail: Email) -> str:
        return ", ".join(mail.to) or self.get_empty_value_display()

    @admin.display(description=_("cc"))
    def cc_list(self, mail: Email) -> str:
        return ", ".join(mail.cc) or self.get_empty_value_display()

    @admin.display(description=_("bcc"))
    def bcc_list(self, mail: Email) -> str:
        return ", ".join(mail.bcc) or self.get_empty_value_display()

    @admin.display(description=_("text"))
    def body(self, mail: Email) -> str:
        text = mail.mailqueue_contents.text
        return format_html('<pre class="mail-text">{}</pre>', text) if text else self.get_empty_value_display()

    @admin.display(description=_("HTML"))
    def html_preview(self, mail: Email) -> str:
        if not mail.mailqueue_contents.html:
            return self.get_empty_value_display()
        address = reverse(f"{self.admin_site.name}:post_office_email_preview", args=[mail.pk])
        label = _("Preview in a new tab")
        return format_html('<a href="{}" target="_blank" rel="noopener" class="mail-preview">{}</a>', address, label)
