"""The shop's one page, and the part of it that the browser asks for again and again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from mailqueue.ops.states import MailStatus, states_of
from project.shop.models import Order
from project.shop.orders import place, place_and_fail

SHOWN_COUNT = 20

if TYPE_CHECKING:
    Form = forms.ModelForm[Order]
else:
    Form = forms.ModelForm


class OrderForm(Form):
    class Meta:
        model = Order
        fields = ("customer_name", "email", "item")
        widgets = {
            "customer_name": forms.TextInput(attrs={"autocomplete": "name"}),
            "email": forms.EmailInput(attrs={"autocomplete": "email"}),
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One order of the list. No status: its mail was deleted."""

    order: Order
    status: MailStatus | None


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        _take(request, form.save(commit=False))
        return HttpResponseRedirect(reverse("shop:index"))
    return render(request, "shop/index.html", {"form": form, **_listing(request)})


@never_cache
@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/listing.html", _listing(request))


def _take(request: HttpRequest, order: Order) -> None:
    if "fail" in request.POST:
        remains = place_and_fail(order)
        text = _(
            "The order failed before its transaction was committed. Found afterwards: order no. %(order_id)s, "
            "%(order_count)s rows; its mail, no. %(mail_id)s, %(mail_count)s rows. Neither exists."
        )
        messages.warning(
            request,
            text
            % {
                "order_id": remains.order_id,
                "order_count": remains.order_count,
                "mail_id": remains.mail_id,
                "mail_count": remains.mail_count,
            },
        )
        return
    place(order)
    messages.success(request, _("Thank you. Order no. %(number)s is placed.") % {"number": order.pk})


def _listing(request: HttpRequest) -> dict[str, Any]:
    orders = list(Order.objects.select_related("mail")[:SHOWN_COUNT])
    statuses = states_of(order.mail for order in orders if order.mail is not None)
    lines = [Line(order, statuses.get(order.mail_id) if order.mail_id else None) for order in orders]
    return {
        "lines": lines,
        "is_moving": any(line.status and not line.status.is_final for line in lines),
        # What a mail server says may name people; a visitor of a real site need not read it.
        "shows_details": settings.DEBUG or getattr(request.user, "is_staff", False),
        "has_inbox": settings.DEBUG,
    }
