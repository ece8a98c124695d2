"""What the list of mails can be narrowed by. No filter asks the table which values it holds, and none counts."""

# ruff: noqa: ARG002  (Django decides the signatures)

from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from post_office.models import Email

from mailqueue.delivery.backends import configured_aliases, spellings
from mailqueue.ops.states import State, filter_by_state


class StateFilter(SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, Any]]:
        return list(State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        return filter_by_state(queryset, self.value() or "") if self.value() in State.values else queryset


class BackendFilter(SimpleListFilter):
    """By delivering backend, whichever way its mails spell it."""

    title = _("backend")
    parameter_name = "backend"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(alias, alias) for alias in configured_aliases()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        alias = self.value()
        return queryset.filter(backend_alias__in=spellings(alias)) if alias else queryset
