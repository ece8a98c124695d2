"""Attachments in the admin, in the place of post_office's own: for who may read mail; none of sensitive mail.

Whether an attachment that no mail has belonged to a sensitive one can't be told any more: it is not shown either.
"""

from typing import Any

import post_office.admin
from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from post_office.models import Attachment, Email

from mailqueue.admin.paginator import CappedPaginator
from mailqueue.admin.reading import may_read
from mailqueue.models import MailOptions

admin.site.unregister(Attachment)


@admin.register(Attachment)
class AttachmentAdmin(post_office.admin.AttachmentAdmin):  # type: ignore[misc]  # post_office has no types
    paginator = CappedPaginator
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        mails = Email.objects.filter(attachments=OuterRef("pk"))
        sensitive = MailOptions.objects.filter(email__attachments=OuterRef("pk"), is_sensitive=True)
        attachments: QuerySet[Any] = super().get_queryset(request)
        return attachments.filter(Exists(mails)).exclude(Exists(sensitive))

    def has_view_permission(self, request: HttpRequest, obj: Attachment | None = None) -> bool:
        return may_read(request) and bool(super().has_view_permission(request, obj))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_read(request) and bool(super().has_add_permission(request))

    def has_change_permission(self, request: HttpRequest, obj: Attachment | None = None) -> bool:
        return may_read(request) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Attachment | None = None) -> bool:
        return may_read(request) and bool(super().has_delete_permission(request, obj))
