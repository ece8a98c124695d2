"""The queue at a glance: one page that shows how things are, refreshes itself, and changes nothing."""

# ruff: noqa: ARG002  (Django decides the signatures)

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.admin.pauses import PERMISSION as PAUSE
from mailqueue.models import BackendHealth, Queue, SenderProcess
from mailqueue.ops.figure_charts import charts, rows
from mailqueue.ops.figures import Span, read_figures
from mailqueue.ops.glance import DOMAINS, alarm, backend_lines, oldest, sender_lines, tiles
from mailqueue.ops.overview import ages_by_domain, overview
from mailqueue.ops.overview_text import age_heads, nobody

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Queue]
else:
    Admin = admin.ModelAdmin


@admin.register(Queue)
class QueueAdmin(Admin):
    """Nothing can be added, changed or deleted here, and no model has a page: there is this one."""

    class Media:
        css = {"all": ("mailqueue/admin.css", "mailqueue/queue.css")}
        js = ("mailqueue/queue.js",)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="mailqueue_queue_changelist")]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Queue | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Queue | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("The queue at a glance"),
            "here": request.get_full_path(),
            **self._addresses(request),
            **_spans(request.GET.get("range", "")),
            **(extra_context or {}),
        }
        context |= _now(context["span"])
        return TemplateResponse(request, "admin/mailqueue/queue.html", context)

    def _addresses(self, request: HttpRequest) -> dict[str, Any]:
        """Return where the page leads to, for somebody who may go there."""
        may_see = {
            model: self.admin_site.is_registered(model)
            and self.admin_site.get_model_admin(model).has_view_permission(request)
            for model in (Email, BackendHealth, SenderProcess)
        }
        return {
            "mails": self._list_of(Email) if may_see[Email] else "",
            "senders_list": self._list_of(SenderProcess) if may_see[SenderProcess] else "",
            "sees_backends": may_see[BackendHealth],
            "may_pause": may_see[BackendHealth] and request.user.has_perm(PAUSE),
        }

    def _list_of(self, model: Any) -> str:
        return reverse(f"{self.admin_site.name}:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _spans(wanted: str) -> Mapping[str, Any]:
    """Return the span that is asked for, or the shortest, and what was asked for instead where there is none such."""
    is_known = wanted in Span.values
    return {
        "span": Span(wanted) if is_known else Span.HOUR,
        "spans": list(Span),
        "unknown_span": "" if is_known else wanted,
        "span_values": ", ".join(Span.values),
    }


def _now(span: Span) -> Mapping[str, Any]:
    using = router.db_for_write(Email)
    found = overview(using=using)
    domains = ages_by_domain(using=using)
    figures = read_figures(span, now=found.now, using=using)
    return {
        "now": found.now,
        "alarm": alarm(found),
        "nobody": nobody(found),
        "tiles": tiles(found),
        "oldest": oldest(found),
        "charts": charts(figures, span),
        "rows": rows(figures, span),
        "backends": backend_lines(found),
        "senders": sender_lines(found),
        "age_heads": age_heads(),
        "lanes": found.lanes,
        "domains": domains[:DOMAINS],
        "more_domains": max(len(domains) - DOMAINS, 0),
    }
