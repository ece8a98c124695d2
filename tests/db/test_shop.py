"""The shop: an order and its mail exist together or not at all, and the page tells how the mail is doing."""

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.models import StopReason
from project.shop.models import Item, Order
from tests.support.outbox import queueing  # noqa: F401  (a fixture)
from tests.support.situations import make_mail, stop_mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("queueing")]

ORDER = {"customer_name": "Ann <b>& Co</b>", "email": "ann@example.com", "item": Item.TEA}


def order(client: Client, button: str = "place", **changes: Any) -> HttpResponse:
    return client.post(reverse("shop:index"), {**ORDER, button: "1", **changes})  # type: ignore[return-value]


def test_an_order_knows_its_mail(client: Client) -> None:
    order(client)

    assert Order.objects.get().mail.to == ["ann@example.com"]  # type: ignore[union-attr]


def test_a_placed_order_answers_with_a_redirect(client: Client) -> None:
    response = order(client)

    assert (302, reverse("shop:index")) == (response.status_code, response["Location"])


def test_the_confirmation_is_queued(client: Client) -> None:
    order(client)

    assert [STATUS.queued] == list(Email.objects.values_list("status", flat=True))


def test_the_html_of_the_confirmation_is_escaped_and_its_text_is_not(client: Client) -> None:
    order(client)
    mail = Email.objects.get()

    assert "Ann &lt;b&gt;&amp; Co&lt;/b&gt;" in mail.html_message
    assert "Hello Ann <b>& Co</b>," in mail.message


def test_the_confirmation_is_not_run_as_a_template(client: Client) -> None:
    order(client, customer_name="{{ 7|add:7 }}{% nonsense %}")

    assert "{{ 7|add:7 }}{% nonsense %}" in Email.objects.get().message


def test_a_failing_order_leaves_neither_order_nor_mail(client: Client) -> None:
    order(client, "fail")

    assert (Order.objects.count(), Email.objects.count()) == (0, 0)


def test_the_page_proves_that_nothing_is_left(client: Client) -> None:
    order(client, "fail")
    page = client.get(reverse("shop:index")).content.decode()

    assert page.count(", 0 rows") == 2


@pytest.mark.parametrize("changes", [{"email": "nonsense"}, {"customer_name": ""}, {"item": "gold"}])
def test_a_wrong_order_is_shown_again_with_what_is_wrong(client: Client, changes: dict[str, str]) -> None:
    response = order(client, **changes)

    assert (response.status_code, Order.objects.count()) == (200, 0)
    assert 'class="errorlist"' in response.content.decode()


def test_an_order_needs_a_csrf_token() -> None:
    assert order(Client(enforce_csrf_checks=True)).status_code == 403


def test_the_list_tells_the_state_of_each_mail(client: Client) -> None:
    mail = make_mail(status=STATUS.failed)
    stop_mail(mail, StopReason.HELD)
    Order.objects.create(**ORDER, mail=mail)

    assert '<span class="state held">held</span>' in client.get(reverse("shop:listing")).content.decode()


def test_an_order_whose_mail_was_deleted_says_so(client: Client) -> None:
    order(client)
    Email.objects.all().delete()

    assert "its mail was deleted" in client.get(reverse("shop:listing")).content.decode()


@pytest.mark.parametrize(("status", "expected"), [(STATUS.queued, "yes"), (STATUS.sent, "no")])
def test_the_list_says_whether_something_will_change(client: Client, status: int, expected: str) -> None:
    Order.objects.create(**ORDER, mail=make_mail(status=status))

    assert f'data-moving="{expected}"' in client.get(reverse("shop:listing")).content.decode()


def test_what_the_mail_server_said_is_not_for_every_visitor(client: Client, settings: Settings) -> None:
    mail = make_mail(status=STATUS.failed)
    stop_mail(mail, StopReason.FAILED, note="550 <ann@example.com>: no such user")
    Order.objects.create(**ORDER, mail=mail)

    assert "no such user" not in client.get(reverse("shop:listing")).content.decode()


def test_staff_reads_what_the_mail_server_said(admin_client: Client) -> None:
    mail = make_mail(status=STATUS.failed)
    stop_mail(mail, StopReason.FAILED, note="550 <ann@example.com>: no such user")
    Order.objects.create(**ORDER, mail=mail)

    assert "no such user" in admin_client.get(reverse("shop:listing")).content.decode()


def test_the_page_has_no_inline_script_and_nothing_from_elsewhere(client: Client) -> None:
    page = client.get(reverse("shop:index")).content.decode()

    assert ("<script>" in page, "//" in page.replace("<!doctype", "")) == (False, False)


def test_a_page_of_orders_costs_a_fixed_number_of_statements(client: Client, django_assert_num_queries: Any) -> None:
    for _ in range(5):
        Order.objects.create(**ORDER, mail=make_mail())

    with django_assert_num_queries(6):
        client.get(reverse("shop:listing"))


def test_an_order_is_called_by_its_number_and_item() -> None:
    order = Order.objects.create(**ORDER)

    assert str(order) == f"{order.pk} · Tea, a tin"
