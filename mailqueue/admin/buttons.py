"""The acts that the page of a mail offers: those that its state and the reader's permissions allow."""

from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext
from post_office.models import Email

from mailqueue.admin.corrections import Corrections, is_correctable
from mailqueue.ops.forecast import Forecast, Order, forecast
from mailqueue.ops.states import State


@dataclass(frozen=True, slots=True)
class Button:
    """One act of a page: a form that does it at once, or a link to the page that asks."""

    name: str
    label: str
    address: str
    is_form: bool = False


class Buttons(Corrections):
    """Chooses the buttons of a mail."""

    def buttons(self, request: HttpRequest, mail: Email, state: State) -> list[Button]:
        using = mail._state.db
        found = {order: forecast(order, [mail.pk], using=using) for order in Order}
        may_hold = self.has_hold_permission(request)
        buttons = []
        if found[Order.RELEASE].count and may_hold:
            buttons.append(self._queueing("release", "mailqueue_email_release", mail, found[Order.RELEASE]))
        # What is held is released by the same act.
        elif found[Order.REQUEUE].count and state != State.WAITING and self.has_requeue_permission(request):
            buttons.append(self._queueing("requeue", "resend", mail, found[Order.REQUEUE]))
        if self.has_correct_permission(request) and is_correctable(mail, state, found[Order.REQUEUE]):
            address = self._address("mailqueue_email_correct", mail)
            buttons.append(Button("correct", gettext("Correct the address …"), address))
        if found[Order.HOLD].count and may_hold:
            buttons.append(Button("hold", gettext("Hold …"), self._address("mailqueue_email_hold", mail)))
        if found[Order.CANCEL].count and self.has_cancel_permission(request):
            address = self._address("mailqueue_email_cancel", mail)
            buttons.append(Button("cancel", gettext("Cancel this mail"), address, is_form=True))
        return buttons

    def _queueing(self, name: str, view: str, mail: Email, found: Forecast) -> Button:
        """Give the button of an act that asks first where somebody could get the mail twice."""
        labels = {
            ("release", False): gettext("Release"),
            ("release", True): gettext("Release …"),
            ("requeue", False): gettext("Requeue"),
            ("requeue", True): gettext("Send again …"),
        }
        asks = bool(found.twice)
        return Button(name, labels[name, asks], self._address(view, mail), is_form=not asks)

    def _address(self, view: str, mail: Email) -> str:
        address: str = reverse(f"{self.admin_site.name}:{view}", args=[mail.pk])
        return address
