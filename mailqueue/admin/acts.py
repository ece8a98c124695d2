"""What people order in the admin: requeue and cancel, for a selection and for one mail. Nothing is sent from here."""

# ruff: noqa: ARG002  (Django decides the signatures)

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from post_office.models import Email

from mailqueue.ops.reach import COULD_COME_TWICE, Obstacle, obstacles_of, reaches_of
from mailqueue.ops.states import State, filter_by_state, states_of
from mailqueue.queue.orders import cancel, requeue

LISTED_COUNT = 20
PERMISSIONS = {"requeue_selected": "mailqueue.requeue_mail", "cancel_selected": "mailqueue.cancel_mail"}

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = object


class Acts(Admin):
    """Adds the acts to an admin of mail. Each has its own permission and leaves an entry in the admin's log."""

    def has_requeue_permission(self, request: HttpRequest, obj: Email | None = None) -> bool:
        return request.user.has_perm(PERMISSIONS["requeue_selected"])

    def has_cancel_permission(self, request: HttpRequest, obj: Email | None = None) -> bool:
        return request.user.has_perm(PERMISSIONS["cancel_selected"])

    def act_urls(self) -> list[URLPattern]:
        """Return what post_office's admin has no address for: it has one for `resend`."""
        cancel_view = self.admin_site.admin_view(self.cancel_one)
        return [path("<int:pk>/cancel/", cancel_view, name="mailqueue_email_cancel")]

    @admin.action(description=_("Requeue selected mails"), permissions=["requeue"])
    def requeue_selected(self, request: HttpRequest, queryset: QuerySet[Email]) -> HttpResponse | None:
        ids = list(queryset.order_by("-pk").values_list("pk", flat=True))
        if "confirmed" not in request.POST and _could_come_twice(queryset):
            return self._ask_before_requeue(request, ids)
        self._requeue(request, ids)
        return None

    @admin.action(description=_("Cancel selected mails"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Email]) -> None:
        self._cancel(request, list(queryset.values_list("pk", flat=True)))

    def resend(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Queue a mail again: a GET asks and changes nothing, a POST does it."""
        self._get_or_deny(request, pk, is_allowed=self.has_requeue_permission(request))
        if request.method in ("GET", "HEAD"):
            return self._ask_before_requeue(request, [pk])
        if request.method != "POST":
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        self._requeue(request, [pk])
        return self._to_mail(pk)

    def cancel_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._get_or_deny(request, pk, is_allowed=self.has_cancel_permission(request))
        self._cancel(request, [pk])
        return self._to_mail(pk)

    def _get_or_deny(self, request: HttpRequest, pk: int, *, is_allowed: bool) -> None:
        if not (is_allowed and self.has_view_permission(request)):
            raise PermissionDenied
        if not self.get_queryset(request).filter(pk=pk).exists():
            raise Http404

    def _to_mail(self, pk: int) -> HttpResponse:
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:post_office_email_change", args=[pk]))

    def _ask_before_requeue(self, request: HttpRequest, ids: Sequence[int]) -> HttpResponse:
        """Show who would get the mails, and who has them already."""
        using = router.db_for_write(Email)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Send again?"),
            "reaches": reaches_of(ids[:LISTED_COUNT], using=using),
            "unlisted_count": max(len(ids) - LISTED_COUNT, 0),
            "total_count": len(ids) - len(obstacles_of(ids, using=using)),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "select_across": request.POST.get("select_across", "0"),
            "is_selection": request.method == "POST",
        }
        return TemplateResponse(request, "admin/mailqueue/confirm_requeue.html", context)

    def _requeue(self, request: HttpRequest, ids: Sequence[int]) -> None:
        using = router.db_for_write(Email)
        with transaction.atomic(using=using):
            done = requeue(ids, using=using)
            self._log(request, done, _("Requeued."), using=using)
        text = ngettext("%(count)d mail was queued again.", "%(count)d mails were queued again.", len(done))
        obstacles = obstacles_of(set(ids).difference(done), using=using)
        self._report(request, text, ids=ids, done=done, obstacles=obstacles, using=using)

    def _cancel(self, request: HttpRequest, ids: Sequence[int]) -> None:
        using = router.db_for_write(Email)
        with transaction.atomic(using=using):
            done = cancel(ids, by=request.user.get_username(), using=using)
            self._log(request, done, _("Cancelled."), using=using)
        text = ngettext("%(count)d mail was cancelled.", "%(count)d mails were cancelled.", len(done))
        self._report(request, text, ids=ids, done=done, obstacles={}, using=using)

    def _log(self, request: HttpRequest, ids: Sequence[int], text: Any, *, using: str) -> None:
        mails = Email.objects.using(using).filter(pk__in=ids).only("pk", "to")
        LogEntry.objects.log_actions(cast("int", request.user.pk), mails, CHANGE, change_message=str(text))

    def _report(
        self,
        request: HttpRequest,
        text: str,
        *,
        ids: Sequence[int],
        done: Sequence[int],
        obstacles: Mapping[int, Obstacle],
        using: str,
    ) -> None:
        """Say how many mails were acted on, and why each of the others was not."""
        if done:
            self.message_user(request, text % {"count": len(done)}, messages.SUCCESS)
        left = Email.objects.using(using).filter(pk__in=set(ids).difference(done)).only("pk")
        states = {pk: status.state for pk, status in states_of(left).items()}
        idle = {pk: state for pk, state in states.items() if state != State.SENDING}
        if sending := len(states) - len(idle):
            refusal = ngettext(
                "%(count)d mail is being sent right now and was left as it is. Try again when the attempt has ended.",
                "%(count)d mails are being sent right now and were left as they are. "
                "Try again when their attempts have ended.",
                sending,
            )
            self.message_user(request, refusal % {"count": sending}, messages.ERROR)
        for obstacle, count in Counter(obstacles[pk] for pk in idle if pk in obstacles).items():
            refusal = ngettext(
                "%(count)d mail was left as it is: %(reason)s.",
                "%(count)d mails were left as they are: %(reason)s.",
                count,
            )
            self.message_user(request, refusal % {"count": count, "reason": obstacle.label}, messages.WARNING)
        self._report_states(request, [state for pk, state in idle.items() if pk not in obstacles])

    def _report_states(self, request: HttpRequest, states: Sequence[State]) -> None:
        if not states:
            return
        refusal = ngettext(
            "%(count)d mail was left as it is, for its state does not allow it: %(states)s.",
            "%(count)d mails were left as they are, for their states do not allow it: %(states)s.",
            len(states),
        )
        words = {"count": len(states), "states": ", ".join(sorted({str(state.label) for state in states}))}
        self.message_user(request, refusal % words, messages.WARNING)


def deny_forbidden_act(request: HttpRequest) -> None:
    """Answer 403 where Django would say that no action was selected."""
    wanted = request.POST.getlist("action")
    for action, permission in PERMISSIONS.items():
        if action in wanted and not request.user.has_perm(permission):
            raise PermissionDenied


def _could_come_twice(queryset: QuerySet[Email]) -> bool:
    return any(filter_by_state(queryset, state).exists() for state in COULD_COME_TWICE)
