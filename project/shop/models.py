"""What the shop sells, and to whom."""

from django.db import models
from django.utils.translation import gettext_lazy as _
from post_office.models import Email


class Item(models.TextChoices):
    HONEY = "honey", _("Honey, a jar")
    TEA = "tea", _("Tea, a tin")
    CHEESE = "cheese", _("Cheese, a wheel")


class Order(models.Model):
    """One order, and the mail that confirms it."""

    customer_name = models.CharField(_("name"), max_length=100)
    email = models.EmailField(_("e-mail address"))
    item = models.CharField(_("item"), max_length=16, choices=Item.choices)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    mail = models.ForeignKey(Email, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("mail"))

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.pk} · {self.get_item_display()}"
