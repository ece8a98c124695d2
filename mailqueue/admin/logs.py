"""post_office's log in the admin: for who may read mail, since what an exception said may quote it."""

import post_office.admin
from django.contrib import admin
from django.http import HttpRequest
from post_office.models import Log

from mailqueue.admin.reading import may_read

admin.site.unregister(Log)


@admin.register(Log)
class LogAdmin(post_office.admin.LogAdmin):  # type: ignore[misc]  # post_office has no types
    def has_view_permission(self, request: HttpRequest, obj: Log | None = None) -> bool:
        return may_read(request) and bool(super().has_view_permission(request, obj))

    def has_change_permission(self, request: HttpRequest, obj: Log | None = None) -> bool:
        return may_read(request) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Log | None = None) -> bool:
        return may_read(request) and bool(super().has_delete_permission(request, obj))
