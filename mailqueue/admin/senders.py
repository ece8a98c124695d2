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
from mailqueue.ops.facts import readable_time
from mailqueue.ops.senders import BY_LIFE, life_of, with_life

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[SenderProcess]
else:
    Admin = admin.ModelAdmin


@admin.register(SenderProcess)
class SenderProcessAdmin(Admin):
    list_display = ("name", "life", "seen", "served", "host", "connection_count", "version", "started")
    fields = ("name", "host", "life", "version", "served", "connection_count", "started", "seen", "ended")
    readonly_fields = ("life", "served", "started", "seen", "ended")
    ordering = BY_LIFE
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

    @admin.display(description=_("last seen at"), ordering="seen_at")
    def seen(self, sender: SenderProcess) -> str:
        return readable_time(sender.seen_at)

    @admin.display(description=_("started at"), ordering="started_at")
    def started(self, sender: SenderProcess) -> str:
        return readable_time(sender.started_at)

    @admin.display(description=_("ended at"))
    def ended(self, sender: SenderProcess) -> str:
        return readable_time(sender.ended_at) or "-"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SenderProcess | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SenderProcess | None = None) -> bool:
        return False
