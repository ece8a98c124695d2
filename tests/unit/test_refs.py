"""The text that stands for a business object."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from post_office.models import Email

from mailqueue.outbox.refs import ref_text


class Customer(User):
    """A second name for users."""

    class Meta:
        proxy = True
        app_label = "auth"


def saved(model: Any, key: Any) -> Any:
    return model.from_db("default", [model._meta.pk.attname], [key])


def test_a_text_is_kept_as_it_is() -> None:
    assert "order:5, Größe" == ref_text("order:5, Größe")


def test_an_instance_is_named_by_label_and_key_and_by_whatever_proxy() -> None:
    assert ("post_office.email:7", "auth.user:8", "auth.user:8") == (
        ref_text(saved(Email, 7)),
        ref_text(saved(User, 8)),
        ref_text(saved(Customer, 8)),
    )


@pytest.mark.parametrize(
    ("ref", "error", "text"),
    [
        (Email(pk=5), ValueError, "save this post_office.Email first"),
        ("", ValueError, "1 to 255 characters, not 0"),
        ("x" * 256, ValueError, "not 256"),
        ("a\0b", ValueError, "can't be stored"),
        ("\ud800", ValueError, "can't be stored"),
        (5, TypeError, "not int"),
        (Email, TypeError, "not ModelBase"),
    ],
)
def test_what_cannot_be_kept_is_refused(ref: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ref_text(ref)
