"""What the list of mails can be narrowed by. No filter asks the table which values it holds, and none counts."""

# ruff: noqa: ARG002  (Django decides the signatures)

from datetime import timedelta
from typing import Any, NoReturn

from django.contrib import messages
from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.delivery.backends import configured_aliases, spellings
from mailqueue.ops.backends import is_known
from mailqueue.ops.states import State, filter_by_state

DAY = "day"


def refuse(request: HttpRequest, text: str) -> NoReturn:
    """Answer as Django does for a lookup that means nothing, and say what is wrong.

    Were it no filter at all, an act on all that it finds would be one on all mail.
    """
    messages.error(request, text)
    raise IncorrectLookupParameters(text)


class StateFilter(SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, Any]]:
        return list(State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        state = self.value()
        if not state:
            return queryset
        if state not in State.values:
            words = {"state": state, "states": ", ".join(State.values)}
            refuse(request, gettext("There is no state “%(state)s”. It is one of: %(states)s.") % words)
        return filter_by_state(queryset, state)


class BackendFilter(SimpleListFilter):
    """By delivering backend, whichever way its mails spell it."""

    title = _("backend")
    parameter_name = "backend"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(alias, alias) for alias in configured_aliases()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        alias = self.value()
        if not alias:
            return queryset
        if not is_known(alias, using=queryset.db):
            words = {"alias": alias, "aliases": ", ".join(configured_aliases())}
            refuse(request, gettext("There is no backend “%(alias)s”. These are configured: %(aliases)s.") % words)
        return queryset.filter(backend_alias__in=spellings(alias))


class ChangedFilter(SimpleListFilter):
    """By when something last became of a mail, which is told by the clock of the database."""

    title = _("last change")
    parameter_name = "changed"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, Any]]:
        return [(DAY, _("in the last 24 hours"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        if not self.value():
            return queryset
        if self.value() != DAY:
            words = {"value": self.value(), "day": DAY}
            refuse(request, gettext("“%(value)s” is no time of a change. It is: %(day)s.") % words)
        return queryset.filter(last_updated__gt=Now() - timedelta(days=1))
