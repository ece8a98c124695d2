"""The delivering backends: how they are, which is the senders' to write, and how much they may be given."""

# ruff: noqa: ARG002  (Django decides the signatures)

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from mailqueue.admin.pauses import Pauses
from mailqueue.models import BackendHealth
from mailqueue.ops.backend_sentences import day_sentence, health_sentence, look_of, readable_number, source_sentence
from mailqueue.ops.backends import (
    COUNTED_MAILS,
    Backend,
    Flow,
    backend_of,
    configured_limit,
    count_queued,
    unlisted_aliases,
    with_clock,
)
from mailqueue.ops.senders import absences
from mailqueue.queue.pauses import allow

if TYPE_CHECKING:
    from django_stubs_ext import FieldsetSpec

    Admin = admin.ModelAdmin[BackendHealth]
    Form = forms.ModelForm[BackendHealth]
else:
    Admin = admin.ModelAdmin
    Form = forms.ModelForm

LIMITS = {"max_per_second": "per_second", "max_per_day": "per_day", "max_connections": "connections"}
"""By column, the name in RATE_LIMITS."""
LEAST_PER_SECOND = 0.0001
MOST_PER_SECOND = 1_000_000
MOST = 2_147_483_647
LEARNED = ("shut_reason", "probe_at", "probe_count", "failure_count", "throttled_at", "resting_until")


class BackendForm(Form):
    """How much a backend may be given. Empty means what the settings say."""

    max_per_second = forms.FloatField(
        label=_("Recipients per second"),
        required=False,
        validators=[
            MinValueValidator(
                LEAST_PER_SECOND, _("It must be more than 0: %(limit_value)s at least. To stop it, pause the backend.")
            ),
            MaxValueValidator(MOST_PER_SECOND),
        ],
        widget=forms.NumberInput(attrs={"step": "any", "min": LEAST_PER_SECOND, "inputmode": "decimal"}),
    )
    max_per_day = forms.IntegerField(label=_("Recipients per day"), required=False)
    max_connections = forms.IntegerField(label=_("Connections"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "alias" in self.fields:
            aliases = unlisted_aliases(using=router.db_for_write(BackendHealth))
            self.fields["alias"] = forms.ChoiceField(label=_("Backend"), choices=[(alias, alias) for alias in aliases])
        rate = self.initial.get("max_per_second")
        if rate is not None and rate == int(rate):
            self.initial["max_per_second"] = int(rate)
        for column, name in LIMITS.items():
            self._describe(self.fields[column], column, name)

    def _describe(self, field: forms.Field, column: str, name: str) -> None:
        if column != "max_per_second":
            text = _("It must be at least %(limit_value)s. To stop it, pause the backend.")
            field.validators += [MinValueValidator(1, text), MaxValueValidator(MOST)]
            field.widget.attrs.update({"min": 1, "step": 1, "inputmode": "numeric"})
        if self.instance._state.adding:
            field.help_text = _("Empty: what RATE_LIMITS in the settings says.")
        else:
            field.help_text = _empty_means(configured_limit(self.instance.alias, name))


@dataclass(frozen=True, slots=True)
class LimitLine:
    """One line of the table of limits on the page of a backend."""

    label: str
    allowed: str
    now: str


@admin.register(BackendHealth)
class BackendHealthAdmin(Pauses, Admin):
    """Backends to look at, pause and resume; the limits alone can be edited. No row is ever deleted here."""

    form = BackendForm
    change_form_template = "admin/mailqueue/backend.html"
    list_display = ("alias", "flow", "health")
    ordering = ("alias",)
    actions = None

    class Media:
        css = {"all": ("mailqueue/admin.css",)}

    def get_urls(self) -> list[URLPattern]:
        return [*self.pause_urls(), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackendHealth]:
        return with_clock(super().get_queryset(request))

    def get_fieldsets(self, request: HttpRequest, obj: BackendHealth | None = None) -> "FieldsetSpec":
        if obj is None:
            return [(None, {"fields": ("alias", *LIMITS)})]
        return [
            (_("How much it may be given"), {"fields": tuple(LIMITS)}),
            (_("What senders noted"), {"fields": LEARNED, "classes": ("collapse",)}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: BackendHealth | None = None) -> tuple[str, ...]:
        return LEARNED

    def has_delete_permission(self, request: HttpRequest, obj: BackendHealth | None = None) -> bool:
        return False

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may_add = self.has_add_permission(request)
        if may_add and not unlisted_aliases(using=router.db_for_write(BackendHealth)):
            self.message_user(request, _("Every backend that is configured stands in the list."), messages.INFO)
            return HttpResponseRedirect(self.to_list(request))
        return super().add_view(request, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: BackendHealth, form: Any, change: bool) -> None:
        """Write the limits alone: what senders note at the same moment stays as it is."""
        allow(
            obj.alias,
            per_second=obj.max_per_second,
            per_day=obj.max_per_day,
            connections_at_once=obj.max_connections,
            using=router.db_for_write(BackendHealth),
        )

    def response_post_save_add(self, request: HttpRequest, obj: BackendHealth) -> HttpResponseRedirect:
        return HttpResponseRedirect(self.to_backend(request, obj))

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: BackendHealth | None = None,
    ) -> HttpResponse:
        context |= {"show_save_and_continue": False, "show_save_and_add_another": False}
        if obj is not None:
            # A form that is refused has left in `obj` what was not saved.
            saved = self.get_queryset(request).filter(pk=obj.pk).first()
            context |= self._page_context(request, backend_of(saved or obj))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Let the rows of the page tell whether a sender serves them, in one statement for all."""
        changes = super().get_changelist_instance(request)
        absent = absences([row.alias for row in changes.result_list], using=changes.result_list.db)
        for row in changes.result_list:
            row.absence = absent.get(row.alias)
        return changes

    def _page_context(self, request: HttpRequest, backend: Backend) -> dict[str, Any]:
        using = router.db_for_write(BackendHealth)
        absence = absences([backend.row.alias], using=using).get(backend.row.alias)
        queued_count = count_queued(backend.row.alias, using=using)
        may_pause = self.has_pause_permission(request)
        return {
            "title": _("Backend %(alias)s") % {"alias": backend.row.alias},
            "subtitle": None,
            "backend": backend,
            "look": look_of(backend, absence=absence),
            "health": health_sentence(backend, absence=absence),
            "limits": _limits(backend),
            "queued_count": min(queued_count, COUNTED_MAILS),
            "are_more_queued": queued_count > COUNTED_MAILS,
            "may_pause": may_pause and backend.flow not in {Flow.PAUSED, Flow.GONE},
            "may_resume": may_pause and backend.row.paused_at is not None,
        }

    @admin.display(description=_("state"))
    def flow(self, row: Any) -> str:
        backend = backend_of(row)
        look = look_of(backend, absence=row.absence)
        return format_html('<span class="mail-state mail-flow-{}">{}</span>', look, backend.flow.label)

    @admin.display(description=_("health"))
    def health(self, row: Any) -> str:
        return health_sentence(backend_of(row), absence=row.absence)


def _empty_means(configured: float | None) -> str:
    if configured is None:
        return gettext("Empty: any number, for RATE_LIMITS in the settings says nothing of it.")
    words = {"number": readable_number(configured)}
    return gettext("Empty: %(number)s, as RATE_LIMITS in the settings says.") % words


def _limits(backend: Backend) -> list[LimitLine]:
    day = day_sentence(backend) or readable_number(backend.per_day.allowed)
    return [
        LimitLine(
            gettext("Recipients per second"), source_sentence(backend.per_second), readable_number(backend.rate_now)
        ),
        LimitLine(gettext("Recipients per day"), source_sentence(backend.per_day), day),
        LimitLine(
            gettext("Connections"), source_sentence(backend.connections), readable_number(backend.connections_now)
        ),
    ]
