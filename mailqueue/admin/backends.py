"""The health of the delivering backends, to be read only: senders write it."""

# ruff: noqa: ARG002  (Django decides the signatures)

from typing import TYPE_CHECKING

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from mailqueue.models import BackendHealth
from mailqueue.ops.sentences import readable_time

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[BackendHealth]
else:
    Admin = admin.ModelAdmin


@admin.register(BackendHealth)
class BackendHealthAdmin(Admin):
    list_display = ("alias", "health", "shut_reason", "probe_at", "failure_count")
    fields = ("alias", "health", "shut_reason", "probe_at", "probe_count", "failure_count")
    ordering = ("alias",)

    @admin.display(description=_("health"))
    def health(self, backend: BackendHealth) -> str:
        if backend.shut_at is None:
            return gettext("open")
        return gettext("shut since %(time)s") % {"time": readable_time(backend.shut_at)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: BackendHealth | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: BackendHealth | None = None) -> bool:
        return False
