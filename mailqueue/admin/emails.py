"""Mail in the admin, in the place of post_office's own: one place to look."""

# ruff: noqa: ARG002  (Django decides the signatures)

import post_office.admin
from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern
from post_office.models import Email

from mailqueue.admin.listing import Listing
from mailqueue.admin.page import Page

# post_office registers its admin when it is imported, and ours replaces it: this holds in either order of apps.
admin.site.unregister(Email)


@admin.register(Email)
class MailAdmin(Listing, Page, post_office.admin.EmailAdmin):  # type: ignore[misc]  # post_office has no types
    """Mail to be read, requeued and cancelled, never edited. The URL names are those of post_office's admin."""

    class Media:
        css = {"all": ("mailqueue/admin.css",)}

    def get_urls(self) -> list[URLPattern]:
        return [*self.act_urls(), *self.reading_urls(), *super().get_urls()]

    def has_change_permission(self, request: HttpRequest, obj: Email | None = None) -> bool:
        return False
