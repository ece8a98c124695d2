"""What is made at a glance is what the composer makes."""

from contextlib import ExitStack
from typing import Any

import pytest
from django.db.models.signals import post_init
from django.utils.functional import lazy
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st
from post_office.models import Email
from pytest_django import Settings

from mailqueue.outbox.compose import Composer
from mailqueue.outbox.drafts import Draft
from mailqueue.outbox.quick import ARGUMENTS, Defaults, quick_draft
from mailqueue.outbox.request import Request

JANE = "jane@example.com"
SHOP = "Shop <shop@example.com>"


class Address(str):
    """A text that str() turns into another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "other@example.com"


PLAIN = {"sender": SHOP, "recipients": JANE, "subject": "Hello", "message": "text", "html_message": "<p>HTML</p>"}

texts = st.one_of(st.text(max_size=80), st.sampled_from(["", "Grüße", "a\nb", "{{ name }}", "=?utf-8?q?x?="]))
addresses = st.sampled_from([JANE, SHOP, "max.mustermann@example.org", '"Doe, Jane" <jane@example.com>'])
several = st.one_of(st.none(), addresses, st.lists(addresses, max_size=3), st.tuples(addresses, addresses))
headers = st.dictionaries(st.sampled_from(["X-A", "List-Id", "Message-ID", "Date", "Subject"]), texts, max_size=2)
arguments = st.fixed_dictionaries(
    {"recipients": several},
    optional={
        "sender": st.one_of(st.none(), addresses),
        "subject": texts,
        "message": texts.map(mark_safe),
        "html_message": texts,
        "headers": st.one_of(st.none(), headers),
        "priority": st.sampled_from([None, "low", "now", 2, "bogus", "count", True]),
        "cc": several,
        "bcc": several,
    },
)


def glance(given: Any) -> Draft | None:
    return quick_draft(given, Defaults())


def composed(given: dict[str, Any]) -> Draft:
    with ExitStack() as until:
        return Composer(using="default", until=until, defaults=Defaults()).compose(Request(**given))


def described(draft: Draft) -> dict[str, Any]:
    """Return all that a draft says, but for what is new each time."""
    columns = {name: value for name, value in vars(draft.email).items() if name not in {"_state", "message_id"}}
    columns["headers"] = {name: value for name, value in draft.email.headers.items() if name != "Date"}
    return columns | {"extra": draft.has_extra_rows, "given id": draft.email.message_id.endswith("@given.example>")}


@given(arguments)
def test_it_is_what_the_composer_makes(given: dict[str, Any]) -> None:
    made = glance(given)

    assert made is None or described(composed(given)) == described(made)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"recipients": [JANE, SHOP]},
        {"cc": (JANE,), "bcc": JANE},
        {"sender": JANE},
        {"headers": {"X-A": "1"}},
        {"headers": {"Message-ID": "<a@given.example>"}},
        {"priority": "high"},
        {"html_message": mark_safe("<p>HTML</p>")},
    ],
)
def test_the_usual_mail_is_made_at_a_glance(more: dict[str, Any]) -> None:
    made = glance(PLAIN | more)

    assert made is not None
    assert described(composed(PLAIN | more)) == described(made)


@pytest.mark.parametrize(
    "more",
    [
        {"recipients": None},
        {"recipients": []},
        {"recipients": iter([JANE])},
        {"recipients": "nonsense"},
        {"recipients": [lazy(lambda: JANE, str)()]},
        {"cc": {JANE}},
        {"subject": None},
        {"subject": lazy(lambda: "Hello", str)()},
        {"message": 7},
        {"message": "x" * 30_000_000},
        {"headers": [("X-A", "1")]},
        {"priority": "bogus"},
        {"priority": "count"},
        {"priority": 2},
        {"priority": True},
        {"sender": Address(JANE)},
        {"recipients": [Address(JANE)]},
        {"headers": {"To": JANE}},
        *({name: None} for name in Request.__slots__ if name not in ARGUMENTS),
    ],
)
def test_what_takes_a_closer_look_is_left(more: dict[str, Any]) -> None:
    assert glance(PLAIN | more) is None


def test_an_item_that_is_no_dict_is_left() -> None:
    assert glance("nonsense") is None


def test_where_somebody_watches_the_composer_makes_it() -> None:
    def change(instance: Email, **_: Any) -> None:
        instance.backend_alias = "other"

    post_init.connect(change, sender=Email)
    try:
        made = glance(PLAIN)
    finally:
        post_init.disconnect(change, sender=Email)

    assert made is None


def test_settings_are_read_when_they_are_wanted(settings: Settings) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "DEFAULT_PRIORITY": 7}
    made = [glance(PLAIN), glance(PLAIN | {"priority": "high"})]

    assert [True, False] == [one is None for one in made]
