"""What backends for mail services read beside the message: JSON and back, or refused."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.outbox.attributes import attributes_of, set_attributes

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
TIMES = st.datetimes(timezones=st.just(UTC)) | st.dates()
KEYS = TEXTS | st.sampled_from(["$datetime", "$date", "$literal"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | TIMES,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


def with_metadata(value: Any) -> EmailMessage:
    message = EmailMessage("Hi", "Hello", to=["jane@example.com"])
    message.metadata = value
    return message


@given(VALUES)
def test_a_value_that_is_carried_comes_back_equal(value: Any) -> None:
    arrived = EmailMessage()
    set_attributes(arrived, attributes_of(with_metadata(value)) or {})

    assert value == arrived.metadata


def test_a_message_without_them_has_none() -> None:
    assert attributes_of(EmailMessage()) is None


def test_what_anymails_own_class_leaves_unset_stays_unset() -> None:
    assert attributes_of(with_metadata(type("UNSET", (), {}))) is None


def test_texts_in_the_readers_language_are_fixed_when_the_mail_is_queued() -> None:
    assert {"metadata": {"Mail": "Mail"}} == attributes_of(with_metadata({gettext_lazy("Mail"): gettext_lazy("Mail")}))


class Tag(str, Enum):  # noqa: UP042 - what older code has
    """A text with a name."""

    WELCOME = "welcome"


def test_of_a_text_with_a_name_the_value_is_carried() -> None:
    assert {"metadata": {"welcome": ["welcome"]}} == attributes_of(with_metadata({Tag.WELCOME: [Tag.WELCOME]}))


def test_times_are_told_from_texts_that_look_like_them() -> None:
    given_times = {"a": datetime(2026, 11, 21, 8, tzinfo=UTC), "b": date(2026, 11, 21), "c": "2026-11-21"}
    arrived = EmailMessage()
    set_attributes(arrived, attributes_of(with_metadata(given_times)) or {})

    assert given_times == arrived.metadata


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ({"order": Decimal(1)}, TypeError, r"metadata\['order'\] is Decimal\('1'\)"),
        ([{1}], TypeError, r"metadata\[0\] is \{1\}"),
        ({1: "x"}, TypeError, "the key 1"),
        (b"x", TypeError, "can't carry a bytes"),
        (float("nan"), ValueError, "metadata is nan"),
        ("a\0b", ValueError, "NUL"),
        ("\ud800", ValueError, "surrogate"),
    ],
)
def test_what_can_not_be_carried_is_refused_by_name(value: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        attributes_of(with_metadata(value))
