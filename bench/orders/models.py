"""The table of orders. Made by `migrate --run-syncdb`: an app of a benchmark has no history."""

from typing import Any, ClassVar

from django.db import models


class Order(models.Model):
    """What a customer has bought."""

    customer = models.CharField(max_length=100)
    total = models.DecimalField(max_digits=10, decimal_places=2)
    ordered_at = models.DateTimeField(auto_now_add=True)
    objects: ClassVar[models.Manager[Any]] = models.Manager()

    def __str__(self) -> str:
        return f"order {self.pk}"
