"""Messages that are not built before they are queued: only those of which nothing else could come."""

from typing import Any

import pytest
import time_machine
from django.core.mail import EmailMessage, EmailMultiAlternatives
from hypothesis import given
from hypothesis import strategies as st
from post_office.models import Email

from mailqueue.outbox.mailboxes import is_simple
from mailqueue.outbox.rows import built_draft
from mailqueue.outbox.serial import serialised
from mailqueue.outbox.simple import simple_draft, simple_row
from tests.support.sending import JANE, SHOP

TEXT = st.text(max_size=40)
WORDS = st.text(alphabet="abc ÄßÜ世😀,;:<>@\"'()=?_-\\.\t\n\r\0", max_size=20)
ADDRESS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_.+-]{1,8}@[A-Za-z0-9.-]{1,12}\.[a-z]{1,4}", fullmatch=True),
    st.builds(lambda name, address: f"{name} <{address}@b.de>", WORDS, st.sampled_from(["a", "a.b", ".a", "ä"])),
    WORDS,
)
HEADERS = st.dictionaries(
    st.sampled_from(["X-Shop", "x-shop", "List-Unsubscribe", "Reply-To", "Message-ID", "Sender", "X-", "Subject"]),
    st.one_of(TEXT, WORDS, st.integers(), st.sampled_from(["<1.2.3@shop.example>", "<a b@c>"])),
    max_size=2,
)


def message(**fields: Any) -> EmailMultiAlternatives:
    return EmailMultiAlternatives(**{"subject": "Hi", "body": "Hello", "from_email": SHOP, "to": [JANE], **fields})


@st.composite
def messages(draw: st.DrawFn) -> EmailMultiAlternatives:
    made = message(
        subject=draw(st.one_of(TEXT, WORDS)),
        body=draw(st.one_of(TEXT, WORDS)),
        from_email=draw(st.one_of(st.just(SHOP), ADDRESS)),
        to=draw(st.lists(st.one_of(st.just(JANE), ADDRESS), max_size=2)),
        cc=draw(st.lists(ADDRESS, max_size=1)),
        bcc=draw(st.lists(ADDRESS, max_size=1)),
        reply_to=draw(st.lists(ADDRESS, max_size=1)),
        headers=draw(HEADERS),
    )
    if draw(st.booleans()):
        made.attach_alternative(draw(st.one_of(TEXT, WORDS)), draw(st.sampled_from(["text/html", "text/calendar"])))
    elif draw(st.booleans()):
        made.content_subtype = draw(st.sampled_from(["html", "calendar"]))
    return made


def columns(email: Email) -> dict[str, Any]:
    found = {field.attname: getattr(email, field.attname) for field in Email._meta.concrete_fields}
    return found | {"message_id": bool(found["message_id"])}


@given(messages())
def test_what_is_not_built_would_have_been_built_and_given_the_same_row(made: EmailMultiAlternatives) -> None:
    with time_machine.travel("2026-11-21T08:00:00Z", tick=False):
        quick = simple_draft(made)
        if quick is None:
            return
        slow = built_draft(made)

    assert columns(slow.email) == columns(quick.email)
    assert (None, None, []) == (slow.source, quick.source, slow.attachments)
    assert serialised(made)


@given(ADDRESS)
def test_a_simple_address_is_one_that_everybody_takes(address: str) -> None:
    if is_simple(address):
        made = built_draft(message(to=[address], from_email=address))

        assert (address, None) == (made.email.to, made.source)


SIMPLE = {
    "text": message,
    "words of any script": lambda: message(subject="Grüße, 世界 😀", body="Grüße\r\n世界\n\n.\n"),
    "HTML too": lambda: message(alternatives=[("<p>x</p>", "text/html")]),
    "copies": lambda: message(cc=["A B <a@b.de>"], bcc=["a+b@c-d.example"], reply_to=["r@example.com"]),
    "harmless headers": lambda: message(
        headers={"X-Shop": "ä", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    ),
    "a Message-ID": lambda: message(headers={"Message-ID": "<1.2@shop.example>"}),
    "of the plain class": lambda: EmailMessage("Hi", "", SHOP, [JANE]),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_common_messages_are_not_built(name: str) -> None:
    assert simple_draft(SIMPLE[name]()) is not None


class Own(EmailMessage):
    """A class of somebody else."""


def with_attributes(**attributes: Any) -> EmailMultiAlternatives:
    made = message()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


NOT_SIMPLE = {
    "a class of its own": lambda: Own("Hi", "", SHOP, [JANE]),
    "an attribute for a mail service": lambda: with_attributes(tags=["a"]),
    "an encoding": lambda: with_attributes(encoding="latin-1"),
    "a structure": lambda: with_attributes(mixed_subtype="related"),
    "a message of its own": lambda: with_attributes(message=lambda: None),
    "an attachment": lambda: message(attachments=[("a.txt", "x", "text/plain")]),
    "two alternatives": lambda: message(alternatives=[("a", "text/html"), ("b", "text/html")]),
    "bytes for HTML": lambda: message(alternatives=[(b"a", "text/html")]),
    "a line break": lambda: message(subject="a\nb"),
    "an encoded word": lambda: message(subject="=?utf-8?q?x?="),
    "a subject that is no text": lambda: message(subject=5),
    "a long subject": lambda: message(subject="x" * 990),
    "a NUL": lambda: message(body="a\0"),
    "half a character": lambda: message(body="\ud800"),
    "a text that is no text": lambda: message(body=5),
    "a quoted name": lambda: message(to=['"Doe, Jane" <jane@example.com>']),
    "an odd Message-ID": lambda: message(headers={"Message-ID": "<a b@c>"}),
    "an odd header": lambda: message(headers={"Date": "x"}),
    "a header without a value": lambda: message(headers={"X-A": ""}),
    "a long name of a header": lambda: message(headers={"X-" + "a" * 59: "x"}),
    "headers that are none": lambda: with_attributes(extra_headers=None),
    "a header twice": lambda: message(headers={"X-A": "1", "X-a": "2"}),
}


@pytest.mark.parametrize("name", NOT_SIMPLE)
def test_what_may_be_special_is_built(name: str) -> None:
    assert simple_draft(NOT_SIMPLE[name]()) is None


@pytest.mark.parametrize("domain", ["", "two words", "a\nb", "x" * 101, "ä.example"])
def test_a_domain_that_is_unusual_in_a_message_id_is_left_to_django(domain: str) -> None:
    given: dict[str, Any] = {"subject": "Hi", "body": "x", "html": "", "from_email": SHOP, "to": [JANE], "headers": {}}

    assert simple_row(**given, domain="shop.example") is not None
    assert simple_row(**given, domain=domain) is None
