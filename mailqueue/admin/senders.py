"""The sender processes, to be read only: they write their rows themselves."""

# ruff: noqa: ARG002  (Django decides the signatures)

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from mailqueue.models import SenderProcess
from mailqueue.ops.senders import life_of, with_life

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[SenderProcess]
else:
    Admin = admin.ModelAdmin


@admin.register(SenderProcess)
class SenderProcessAdmin(Admin):
    list_display = ("host", "life", "seen_at", "served", "connection_count", "version", "started_at")
    fields = ("name", "host", "life", "version", "served", "connection_count", "started_at", "seen_at", "ended_at")
    readonly_fields = ("life", "served")
    ordering = ("host", "started_at", "name")
    actions = None

    class Media:
        css = {"all": ("mailqueue/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[SenderProcess]:
        return with_life(super().get_queryset(request))

    @admin.display(description=_("state"))
    def life(self, sender: Any) -> str:
        life = life_of(sender)
        return format_html('<span class="mail-state mail-life-{}">{}</span>', life, life.label)

    @admin.display(description=_("backends"))
    def served(self, sender: SenderProcess) -> str:
        return ", ".join(sender.backends) or gettext("all")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SenderProcess | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SenderProcess | None = None) -> bool:
        return False
