"""Places an order: the row and the mail that confirms it, together or not at all."""

from dataclasses import dataclass

from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from post_office.models import Email

import mailqueue
from project.shop.models import Order


class DeliberateFailureError(Exception):
    """Raised inside the transaction to show what a rollback leaves behind: nothing."""

    def __init__(self, *, order_id: int, mail_id: int) -> None:
        super().__init__(f"Order {order_id} was to fail.")
        self.order_id = order_id
        self.mail_id = mail_id


@dataclass(frozen=True, slots=True)
class Remains:
    """What is found in the database of an order that failed."""

    order_id: int
    mail_id: int
    order_count: int
    mail_count: int


def place(order: Order) -> None:
    """Save the order and queue its confirmation in one transaction."""
    with transaction.atomic():
        _write(order)


def place_and_fail(order: Order) -> Remains:
    """Do what `place` does, fail before the commit, and look for what is left."""
    try:
        with transaction.atomic():
            mail = _write(order)
            raise DeliberateFailureError(order_id=order.pk, mail_id=mail.pk)
    except DeliberateFailureError as failure:
        return Remains(
            order_id=failure.order_id,
            mail_id=failure.mail_id,
            order_count=Order.objects.filter(pk=failure.order_id).count(),
            mail_count=Email.objects.filter(pk=failure.mail_id).count(),
        )


def _write(order: Order) -> Email:
    order.save()
    with mailqueue.collect() as mails:
        _confirm(order)
    order.mail = mails[0]
    order.save(update_fields=["mail"])
    return order.mail


def _confirm(order: Order) -> None:
    send_mail(
        subject=_("Your order no. %(number)s") % {"number": order.pk},
        message=render_to_string("shop/confirmation.txt", {"order": order}),
        from_email=None,
        recipient_list=[order.email],
        html_message=render_to_string("shop/confirmation.html", {"order": order}),
    )
