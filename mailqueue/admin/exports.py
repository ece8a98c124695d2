"""The list, or what is selected in it, as a CSV file that is made while it is fetched."""

# ruff: noqa: ARG002  (Django decides the signatures)

from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.admin.questions import ids_of
from mailqueue.admin.record import record_of_all
from mailqueue.admin.streams import in_turn
from mailqueue.ops.exports import csv_of, exportable

NAMED = frozenset({"state", "backend", "changed", "priority__exact", "created__gte", "created__lt"})
"""Parts of a filter that name nobody: the log outlives the mail, and a search is mostly for an address."""
NAMED_COUNT = 20

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = object


class Exports(Admin):
    """Adds the export to a list of mail."""

    def has_export_permission(self, request: HttpRequest, obj: Email | None = None) -> bool:
        return request.user.has_perm("mailqueue.export_mail")

    @admin.action(description=_("Export selected mails as CSV"), permissions=["export"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[Email]) -> HttpResponseBase:
        """Give the file. Sensitive mail is left out; who took how much is on the record before it is given."""
        using = router.db_for_read(Email)
        ids = ids_of(exportable(queryset.using(using)))
        newest_first = ids[::-1]
        count = len(ids)
        what = ngettext("%(count)d mail", "%(count)d mails", count) % {"count": count}
        record_of_all(what, _chosen(request, newest_first), user_id=cast("int", request.user.pk))
        lines = csv_of(newest_first, using=using)
        response = StreamingHttpResponse(in_turn(request, lines), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="mails-{localtime():%Y%m%d-%H%M%S}.csv"'
        return response


def _chosen(request: HttpRequest, ids: Any) -> str:
    """Say in the log which mails were exported: by their numbers, or by the filter."""
    if request.POST.get("select_across") != "1":
        numbers = ", ".join(str(pk) for pk in ids[:NAMED_COUNT])
        return gettext("Exported: %(numbers)s") % {"numbers": numbers + (" …" if len(ids) > NAMED_COUNT else "")}
    parts = [f"{name}={value}" if name in NAMED else f"{name}=…" for name, value in request.GET.items() if value]
    return gettext("Exported all mails of the filter: %(filter)s") % {"filter": " ".join(parts) or "-"}
