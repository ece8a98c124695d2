"""A failed mail at another address: one line for each recipient who has not got it, and the mail is queued again."""

# ruff: noqa: ARG002  (Django decides the signatures)

from collections.abc import Sequence
from typing import cast

from django.contrib import messages
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import Truncator
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.admin.acts import Acts
from mailqueue.admin.correction_form import MOST_LINES, CorrectionForm
from mailqueue.admin.orders import ACTS
from mailqueue.admin.questions import FIELD, asked, left_sentences, say_unanswered, sealed
from mailqueue.admin.record import record
from mailqueue.ops.contents import is_hidden
from mailqueue.ops.corrections import CORRECTABLE, Missing, OutdatedError, correct, could_help, missing_of
from mailqueue.ops.forecast import Forecast, Order, forecast, why_left
from mailqueue.ops.states import State, state_of
from mailqueue.ops.subjects import subject_of
from mailqueue.outbox.corrections import Place, bare, is_text_kept
from mailqueue.outbox.messages import load_rows
from mailqueue.queue.orders import Agreement

PERMISSION = "mailqueue.correct_mail"
SUBJECT_LIMIT = 80


class Corrections(Acts):
    """Adds the page on which addresses are corrected."""

    def has_correct_permission(self, request: HttpRequest, obj: Email | None = None) -> bool:
        return request.user.has_perm(PERMISSION)

    def act_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.correct_one)
        return [*super().act_urls(), path("<int:pk>/correct/", view, name="mailqueue_email_correct")]

    def correct_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for addresses on a GET, which changes nothing; change them and queue the mail again on a POST."""
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        self.get_or_deny(request, pk, is_allowed=self.has_correct_permission(request))
        using = router.db_for_write(Email)
        mail = load_rows([pk], using=using).get(pk)
        if mail is None:
            raise Http404
        found = forecast(Order.REQUEUE, [pk], using=using)
        missing, has_it = missing_of(mail)
        if refusal := _refusal(mail, found, missing):
            self.message_user(request, refusal, messages.ERROR)
            return self.to_mail(pk)
        form = CorrectionForm(missing, has_it, request.POST if request.method == "POST" else None)
        answered = asked(ACTS[Order.REQUEUE], request)
        if form.is_bound and form.is_outdated:
            self._say_outdated(request)
            form = CorrectionForm(missing, has_it)
        is_unasked = found.twice and not (answered and pk in answered.agreed.mails)
        if not form.is_valid() or is_unasked:
            if form.is_bound and is_unasked and answered is None:
                say_unanswered(request)
            return self._ask_for_addresses(request, mail, form, found=found, has_it=has_it)
        self._correct(request, mail, form, agreed=answered.agreed if answered else Agreement(), using=using)
        return self.to_mail(pk)

    def _ask_for_addresses(
        self, request: HttpRequest, mail: Email, form: CorrectionForm, *, found: Forecast, has_it: Sequence[Place]
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Correct addresses"),
            "subtitle": _("(sensitive)") if is_hidden(mail) else Truncator(subject_of(mail)).chars(SUBJECT_LIMIT),
            "number": mail.pk,
            "form": form,
            "has_it": [place.entry for place in has_it],
            "could_come_twice": bool(found.twice),
            "is_text_kept": is_text_kept(mail),
            "field": FIELD,
            "asked": sealed(ACTS[Order.REQUEUE], request, found),
            "back": reverse(f"{self.admin_site.name}:post_office_email_change", args=[mail.pk]),
        }
        return TemplateResponse(request, "admin/mailqueue/correct.html", context)

    def _correct(
        self, request: HttpRequest, mail: Email, form: CorrectionForm, *, agreed: Agreement, using: str
    ) -> None:
        expected = [each.place.entry for each in form.missing]
        try:
            with transaction.atomic(using=using):
                done = correct(mail.pk, form.new, expected=expected, agreed=agreed, using=using)
                if done:
                    record([mail.pk], _entry(mail, form.new), user_id=cast("int", request.user.pk))
        except OutdatedError:
            self._say_outdated(request)
            return
        if not done:
            for _reason, text in left_sentences(why_left(Order.REQUEUE, [mail.pk], using=using)):
                self.message_user(request, text, messages.ERROR)
            return
        text = ngettext(
            "%(count)d address was corrected, and the mail was queued again.",
            "%(count)d addresses were corrected, and the mail was queued again.",
            len(form.new),
        )
        self.message_user(request, text % {"count": len(form.new)}, messages.SUCCESS)

    def _say_outdated(self, request: HttpRequest) -> None:
        text = _("The mail has changed since you looked at it, and was left as it is. Look again.")
        self.message_user(request, text, messages.ERROR)


def is_correctable(mail: Email, state: State, found: Forecast) -> bool:
    """Whether a mail has an address to correct, which could help, and may be queued again."""
    if state not in CORRECTABLE or found.left:
        return False
    missing, _has_it = missing_of(mail)
    return 0 < len(missing) <= MOST_LINES and (state != State.HELD or could_help(mail, missing))


def _refusal(mail: Email, found: Forecast, missing: Sequence[Missing]) -> str:
    """Return why the addresses of a mail can't be corrected; empty: they can."""
    state = state_of(mail).state
    if state not in CORRECTABLE:
        text = gettext("Addresses are corrected on mail that failed, was partly sent, or is held. This is %(state)s.")
        return text % {"state": state.label}
    for _reason, sentence in left_sentences(found.left):
        return sentence
    if not missing:
        return gettext("No recipient of this mail is known who has not got it.")
    if len(missing) > MOST_LINES:
        text = gettext("%(count)d recipients have not got this mail. Here at most %(most)d are corrected.")
        return text % {"count": len(missing), "most": MOST_LINES}
    return ""


def _entry(mail: Email, new: dict[str, str]) -> str:
    """Say what was corrected. Of a sensitive mail nothing more than that: the log outlives it."""
    if is_hidden(mail):
        return ngettext(
            "Corrected %(count)d address and requeued.", "Corrected %(count)d addresses and requeued.", len(new)
        ) % {"count": len(new)}
    changes = "; ".join(f"{bare(old)} → {bare(entry)}" for old, entry in new.items())
    return gettext("Corrected and requeued: %(changes)s") % {"changes": changes}
