"""What people order in the admin, for one mail, a selection, or all that a filter finds. Nothing is sent from here."""

# ruff: noqa: ARG002  (Django decides the signatures)

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from post_office.models import Email

from mailqueue.admin.orders import ACTS, Given, Result, carry_out
from mailqueue.admin.questions import (
    NOTE_LIMIT,
    Asked,
    asked,
    has_to_ask,
    ids_of,
    left_sentences,
    question,
    say_unanswered,
)
from mailqueue.ops.forecast import Order
from mailqueue.ops.states import State
from mailqueue.queue.orders import Agreement

PERMISSIONS = {
    **{f"{order}_selected": act.permission for order, act in ACTS.items()},
    "export_selected": "mailqueue.export_mail",
}
"""By the name of the action in the list."""

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = object


class Acts(Admin):
    """Adds the acts to an admin of mail. Each has its own permission and leaves an entry in the admin's log."""

    def has_requeue_permission(self, request: HttpRequest, obj: Email | None = None) -> bool:
        return request.user.has_perm(ACTS[Order.REQUEUE].permission)

    def has_cancel_permission(self, request: HttpRequest, obj: Email | None = None) -> bool:
        return request.user.has_perm(ACTS[Order.CANCEL].permission)

    def has_hold_permission(self, request: HttpRequest, obj: Email | None = None) -> bool:
        return request.user.has_perm(ACTS[Order.HOLD].permission)

    def act_urls(self) -> list[URLPattern]:
        """Return what post_office's admin has no address for: it has one for `resend`."""
        views = {"cancel": self.cancel_one, "hold": self.hold_one, "release": self.release_one}
        return [
            path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"mailqueue_email_{name}")
            for name, view in views.items()
        ]

    @admin.action(description=_("Requeue selected mails"), permissions=["requeue"])
    def requeue_selected(self, request: HttpRequest, queryset: QuerySet[Email]) -> HttpResponse | None:
        return self._act_on_many(request, Order.REQUEUE, queryset)

    @admin.action(description=_("Cancel selected mails"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Email]) -> HttpResponse | None:
        return self._act_on_many(request, Order.CANCEL, queryset)

    @admin.action(description=_("Hold selected mails"), permissions=["hold"])
    def hold_selected(self, request: HttpRequest, queryset: QuerySet[Email]) -> HttpResponse | None:
        return self._act_on_many(request, Order.HOLD, queryset)

    @admin.action(description=_("Release selected mails"), permissions=["hold"])
    def release_selected(self, request: HttpRequest, queryset: QuerySet[Email]) -> HttpResponse | None:
        return self._act_on_many(request, Order.RELEASE, queryset)

    def resend(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Queue a mail again: a GET asks and changes nothing, a POST does it, if nobody has to be asked (any more)."""
        self.get_or_deny(request, pk, is_allowed=self.has_requeue_permission(request))
        return self._act_on_one(request, Order.REQUEUE, pk)

    def hold_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Hold a mail: a GET asks why and changes nothing, a POST does it."""
        self.get_or_deny(request, pk, is_allowed=self.has_hold_permission(request))
        return self._act_on_one(request, Order.HOLD, pk)

    def release_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Put held mail back into the queue: as `resend` does."""
        self.get_or_deny(request, pk, is_allowed=self.has_hold_permission(request))
        return self._act_on_one(request, Order.RELEASE, pk)

    def cancel_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self.get_or_deny(request, pk, is_allowed=self.has_cancel_permission(request))
        return self._act_on_one(request, Order.CANCEL, pk)

    def get_or_deny(self, request: HttpRequest, pk: int, *, is_allowed: bool) -> None:
        if not (is_allowed and self.has_view_permission(request)):
            raise PermissionDenied
        if not self.get_queryset(request).filter(pk=pk).exists():
            raise Http404

    def to_mail(self, pk: int) -> HttpResponse:
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:post_office_email_change", args=[pk]))

    def _act_on_one(self, request: HttpRequest, order: Order, pk: int) -> HttpResponse:
        using = router.db_for_write(Email)
        if request.method in ("GET", "HEAD"):
            return self._ask(request, order, [pk], using=using)
        if request.method != "POST":
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        answered = asked(ACTS[order], request)
        if answered is None and has_to_ask(ACTS[order], [pk], is_all=False, using=using):
            return self._ask(request, order, [pk], using=using)
        self._carry_out(request, order, [pk], answered, using=using)
        return self.to_mail(pk)

    def _act_on_many(self, request: HttpRequest, order: Order, mails: QuerySet[Email]) -> HttpResponse | None:
        using = router.db_for_write(Email)
        ids, is_all = ids_of(mails.using(using)), request.POST.get("select_across") == "1"
        answered = asked(ACTS[order], request)
        if answered is None and has_to_ask(ACTS[order], ids, is_all=is_all, using=using):
            return self._ask(request, order, ids, is_all=is_all, using=using)
        result = self._carry_out(request, order, ids, answered, using=using)
        if is_all and answered is not None and answered.count != result.count:
            text = ngettext(
                "When you were asked, it was %(count)d mail.",
                "When you were asked, it was %(count)d mails.",
                answered.count,
            )
            self.message_user(request, text % {"count": answered.count}, messages.WARNING)
        return None

    def _ask(
        self, request: HttpRequest, order: Order, ids: Sequence[int], *, using: str, is_all: bool = False
    ) -> HttpResponse:
        """Show what an order would do; of those that queue mail, who would get it and who has it already."""
        say_unanswered(request)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            **question(ACTS[order], request, ids, is_all=is_all, using=using),
            "back": request.get_full_path(),
        }
        if not context["is_selection"]:
            context["number"] = ids[0]
            context["back"] = reverse(f"{self.admin_site.name}:post_office_email_change", args=[ids[0]])
        return TemplateResponse(request, "admin/mailqueue/confirm_act.html", context)

    def _carry_out(
        self, request: HttpRequest, order: Order, ids: Sequence[int], answered: Asked | None, *, using: str
    ) -> Result:
        given = Given(
            user_id=cast("int", request.user.pk),
            by=request.user.get_username(),
            note=request.POST.get("note", "").replace("\0", "").strip()[:NOTE_LIMIT],
            agreed=answered.agreed if answered else Agreement(),
        )
        result = carry_out(ACTS[order], ids, given, using=using)
        self._report(request, order, result)
        return result

    def _report(self, request: HttpRequest, order: Order, result: Result) -> None:
        """Say on how many mails the order was carried out, and why not on each of the others."""
        if result.count:
            self.message_user(request, ACTS[order].done % {"count": result.count}, messages.SUCCESS)
        for reason, text in left_sentences(result.left):
            level = messages.ERROR if reason == State.SENDING else messages.WARNING
            self.message_user(request, text, level)
        if result.error:
            refusal = _("The database refused to go on, and the other mails were left as they are: %(error)s")
            self.message_user(request, refusal % {"error": result.error}, messages.ERROR)


def deny_forbidden_act(request: HttpRequest) -> None:
    """Answer 403 where Django would say that no action was selected."""
    wanted = request.POST.getlist("action")
    for action, permission in PERMISSIONS.items():
        if action in wanted and not request.user.has_perm(permission):
            raise PermissionDenied
