"""Pause and resume of a backend in the admin: by POST, with a permission of their own, and on the record."""

# ruff: noqa: ARG002  (Django decides the signatures)

from typing import TYPE_CHECKING

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from mailqueue.models import BackendHealth
from mailqueue.ops.backends import COUNTED_MAILS, count_queued
from mailqueue.queue.pauses import pause, resume

PERMISSION = "mailqueue.pause_backend"
NOTE_LIMIT = 500
NEXT = "next"

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[BackendHealth]
else:
    Admin = object


class PauseForm(forms.Form):
    """Why a backend is paused, for whoever finds mail waiting for it."""

    note = forms.CharField(
        label=_("Why"),
        max_length=NOTE_LIMIT,
        required=False,
        help_text=_("Shown on every mail that waits for it."),
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )


class Pauses(Admin):
    """Adds the two acts to the admin of backends."""

    def has_pause_permission(self, request: HttpRequest, obj: BackendHealth | None = None) -> bool:
        return request.user.has_perm(PERMISSION)

    def pause_urls(self) -> list[URLPattern]:
        pausing, resuming = (self.admin_site.admin_view(view) for view in (self.pause_one, self.resume_one))
        return [
            path("<path:object_id>/pause/", pausing, name="mailqueue_backendhealth_pause"),
            path("<path:object_id>/resume/", resuming, name="mailqueue_backendhealth_resume"),
        ]

    def pause_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask on a GET, which changes nothing, and pause on a POST."""
        backend = self._get_or_deny(request, object_id)
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        form = PauseForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._ask_before_pause(request, backend, form)
        self._pause(request, backend, note=form.cleaned_data["note"])
        return HttpResponseRedirect(self._to_where_it_was_pressed(request, backend))

    def resume_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        backend = self._get_or_deny(request, object_id)
        using = router.db_for_write(BackendHealth)
        with transaction.atomic(using=using):
            is_new = resume(backend.alias, using=using)
            if is_new:
                self.log_change(request, backend, gettext("Resumed."))
        self._report(
            request,
            backend,
            is_new,
            gettext("The backend %(alias)s is resumed."),
            gettext("The backend %(alias)s was not paused."),
        )
        return HttpResponseRedirect(self._to_where_it_was_pressed(request, backend))

    def to_backend(self, request: HttpRequest, backend: BackendHealth) -> str:
        """Return the address of the page, or of the index for somebody who may not see it."""
        if not self.has_view_permission(request, backend):
            return reverse(f"{self.admin_site.name}:index")
        return reverse(f"{self.admin_site.name}:mailqueue_backendhealth_change", args=[quote(backend.alias)])

    def _to_where_it_was_pressed(self, request: HttpRequest, backend: BackendHealth) -> str:
        """Return the address that the form or the link named, if it is one of this site; else that of the backend."""
        wanted = request.POST.get(NEXT, "") or request.GET.get(NEXT, "")
        is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
        return wanted if is_ours else self.to_backend(request, backend)

    def to_list(self, request: HttpRequest) -> str:
        name = "mailqueue_backendhealth_changelist" if self.has_view_permission(request) else "index"
        return reverse(f"{self.admin_site.name}:{name}")

    def _get_or_deny(self, request: HttpRequest, object_id: str) -> BackendHealth:
        if not (self.has_pause_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        backend = self.get_queryset(request).filter(pk=unquote(object_id)).first()
        if backend is None:
            raise Http404
        return backend

    def _ask_before_pause(self, request: HttpRequest, backend: BackendHealth, form: PauseForm) -> HttpResponse:
        queued_count = count_queued(backend.alias, using=router.db_for_write(BackendHealth))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Pause %(alias)s?") % {"alias": backend.alias},
            "original": backend,
            "form": form,
            "next": self._to_where_it_was_pressed(request, backend),
            "queued_count": min(queued_count, COUNTED_MAILS),
            "are_more_queued": queued_count > COUNTED_MAILS,
        }
        return TemplateResponse(request, "admin/mailqueue/confirm_pause.html", context)

    def _pause(self, request: HttpRequest, backend: BackendHealth, *, note: str) -> None:
        using = router.db_for_write(BackendHealth)
        with transaction.atomic(using=using):
            is_new = pause(backend.alias, by=request.user.get_username(), note=note, using=using)
            if is_new:
                text = gettext("Paused: %(note)s") % {"note": note} if note else gettext("Paused.")
                self.log_change(request, backend, text)
        self._report(
            request,
            backend,
            is_new,
            gettext("The backend %(alias)s is paused."),
            gettext("The backend %(alias)s was paused already."),
        )

    def _report(self, request: HttpRequest, backend: BackendHealth, is_new: bool, done: str, idle: str) -> None:
        level = messages.SUCCESS if is_new else messages.WARNING
        self.message_user(request, (done if is_new else idle) % {"alias": backend.alias}, level)
