"""The From addresses that servers refuse. To delete one is to let it be tried again; nothing else can be changed."""

# ruff: noqa: ARG002  (Django decides the signatures)

from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from mailqueue.models import RefusedFrom
from mailqueue.ops.facts import readable_time
from mailqueue.ops.states import State
from mailqueue.queue.start import REFUSED_SECONDS

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[RefusedFrom]
else:
    Admin = admin.ModelAdmin


@admin.register(RefusedFrom)
class RefusedFromAdmin(Admin):
    list_display = ("from_email", "backend", "reply", "refused")
    fields = ("from_email", "backend", "reply", "refused", "held_until", "held_mail")
    readonly_fields = ("refused", "held_until", "held_mail")
    ordering = ("-refused_at",)
    search_fields = ("from_email", "backend")
    actions = ("delete_selected",)
    delete_confirmation_template = "admin/mailqueue/confirm_try_again.html"
    delete_selected_confirmation_template = "admin/mailqueue/confirm_try_selected_again.html"

    class Media:
        css = {"all": ("mailqueue/admin.css",)}

    @admin.display(description=_("refused at"), ordering="refused_at")
    def refused(self, refusal: RefusedFrom) -> str:
        return readable_time(refusal.refused_at)

    @admin.display(description=_("held without asking until"))
    def held_until(self, refusal: RefusedFrom) -> str:
        return readable_time(refusal.refused_at + timedelta(seconds=REFUSED_SECONDS))

    @admin.display(description=_("held mail"))
    def held_mail(self, refusal: RefusedFrom) -> str:
        query = urlencode({"state": State.HELD, "backend": refusal.backend})
        address = reverse(f"{self.admin_site.name}:post_office_email_changelist")
        return format_html('<a href="{}?{}">{}</a>', address, query, _("Held mail of this backend"))

    @admin.action(description=_("Try selected addresses again"), permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[RefusedFrom]) -> HttpResponse | None:
        """Delete them as Django does, under the name of what it is for."""
        return delete_selected(self, request, queryset)

    def delete_model(self, request: HttpRequest, obj: RefusedFrom) -> None:
        super().delete_model(request, obj)
        self._tell_of_held_mail(request)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RefusedFrom]) -> None:
        super().delete_queryset(request, queryset)
        self._tell_of_held_mail(request)

    def _tell_of_held_mail(self, request: HttpRequest) -> None:
        text = _("New mail is offered again. Mail that is held already stays so until somebody requeues it.")
        self.message_user(request, text, messages.WARNING)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: RefusedFrom | None = None) -> bool:
        return False
