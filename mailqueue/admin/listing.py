"""The list of mails: what it shows, how it is searched and narrowed, in a fixed number of statements."""

# ruff: noqa: ARG002  (Django decides the signatures)

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.db.models import Case, F, QuerySet, Value, When
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.timezone import localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.admin.acts import deny_forbidden_act
from mailqueue.admin.exports import Exports
from mailqueue.admin.filters import BackendFilter, ChangedFilter, StateFilter
from mailqueue.admin.paginator import CappedPaginator
from mailqueue.ops.contents import is_hidden
from mailqueue.ops.states import MailStatus, states_of
from mailqueue.ops.subjects import subject_of

LARGEST = 2**63 - 1
LONGEST_NUMBER = 10
UNREADABLE = frozenset({"subject", "message", "html_message", "context", "headers", "attachments", "mailqueue_source"})
"""What a sensitive mail shows to nobody, and what leads there: the list can't be narrowed by it in the address."""


class MailList(ChangeList):
    """A page of the list that describes all its mails at once."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        mails = super().get_queryset(request, exclude_parameters)
        return mails.select_related("template", "mailqueue_options").defer("message", "html_message")

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        mails = list(self.result_list)
        statuses = states_of(mails)
        # One that was deleted between the two statements has no state to show.
        self.result_list = [mail for mail in mails if mail.pk in statuses]
        for mail in self.result_list:
            mail.mailqueue_status = statuses[mail.pk]


class Listing(Exports):
    list_display = ("state", "recipients", "subject_line", "created_at", "next_try", "attempt_count")
    list_display_links = ("recipients", "subject_line")
    list_filter = (StateFilter, "priority", BackendFilter, "created", ChangedFilter)
    list_per_page = 50
    paginator = CappedPaginator
    search_fields = ("to", "cc", "bcc", "subject_to_search", "message_id")
    search_help_text = _("Recipient, subject, Message-ID or number")
    ordering = ("-id",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = ("requeue_selected", "cancel_selected", "hold_selected", "release_selected", "export_selected")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return MailList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        deny_forbidden_act(request)
        wrong = [value for value in request.POST.getlist(ACTION_CHECKBOX_NAME) if not is_number(value)]
        if wrong:
            text = gettext("“%(value)s” is not the number of a mail. Go back, and select the mails in the list.")
            return HttpResponseBadRequest(text % {"value": wrong[0]}, content_type="text/plain; charset=utf-8")
        return super().changelist_view(request, extra_context)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        # Else what nobody may read could be found out by filtering for it letter by letter.
        if lookup.split(LOOKUP_SEP, maxsplit=1)[0] in UNREADABLE:
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Email], search_term: str
    ) -> tuple[QuerySet[Email], bool]:
        # A Message-ID is pasted with its brackets or without them, and so is an address.
        bare_term = search_term.replace("<", " ").replace(">", " ")
        if bare_term.strip().isdecimal() and len(bare_term.strip()) < LONGEST_NUMBER:
            # The number by which the log names a mail.
            return queryset.filter(pk=int(bare_term)), False
        # Else a subject that is shown to nobody could be found out by searching for it piece by piece.
        readable = Case(When(mailqueue_options__is_sensitive=True, then=Value("")), default=F("subject"))
        mails = queryset.alias(subject_to_search=readable) if bare_term else queryset
        return super().get_search_results(request, mails, bare_term)

    @admin.display(description=_("state"))
    def state(self, mail: Email) -> str:
        return state_mark(mail.mailqueue_status)

    @admin.display(description=_("recipients"))
    def recipients(self, mail: Email) -> str | None:
        return Truncator(", ".join([*mail.to, *mail.cc, *mail.bcc])).chars(80) or None

    @admin.display(description=_("subject"))
    def subject_line(self, mail: Email) -> str | None:
        if is_hidden(mail):
            return gettext("(sensitive)")
        return Truncator(subject_of(mail)).chars(80) or None

    @admin.display(description=_("created"), ordering="created")
    def created_at(self, mail: Email) -> str:
        return _short_time(mail.created)

    @admin.display(description=_("next try"))
    def next_try(self, mail: Email) -> str | None:
        until = mail.mailqueue_status.until
        return format_html('<span class="mail-next">{}</span>', _short_time(until)) if until else None

    @admin.display(description=_("attempts"))
    def attempt_count(self, mail: Email) -> int:
        count: int = mail.mailqueue_status.attempt_count
        return count


def is_number(value: str) -> bool:
    """Whether this may be the primary key of a mail."""
    return value.isascii() and value.isdecimal() and int(value) <= LARGEST


def state_mark(status: MailStatus) -> str:
    """Return the state as a word with a colour: the word alone says it."""
    return format_html('<span class="mail-state mail-state-{}">{}</span>', status.state, status.state.label)


def _short_time(moment: datetime) -> str:
    there = localtime(moment)
    day, time = date_format(there, "Y-m-d"), date_format(there, "H:i")
    return format_html('<span class="mail-time">{}</span> <span class="mail-time">{}</span>', day, time)
