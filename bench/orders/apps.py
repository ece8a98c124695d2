"""The app of orders."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Its label must not meet that of another app."""

    name = "bench.orders"
    label = "bench_orders"
