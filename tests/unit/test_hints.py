"""When to come again, as servers say it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.delivery.classify import parse_reply
from mailqueue.delivery.hints import LONGEST_SECONDS, SHORTEST_SECONDS, retry_after, retry_hint

words = st.sampled_from(
    ["retry", "after", "in", "wait", "again", "greylisted", "an", "hour", "minutes", "s", "seconds", "00:05:00", "-1"]
)
numbers = st.integers(min_value=0).map(str) | st.floats().map(str)
hintlike = st.lists(words | numbers | st.text(max_size=5), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Greylisted, see you in 300 seconds", 300),
        ("Recipient address rejected: Greylisted, please try again in 5 minutes", 300),
        ("Greylisting in action, please come back in 00:05:00", 300),
        ("Try again later; retry after 00:05:00", 300),
        ("Greylisted for 5 minutes", 300),
        ("too busy, wait 300s", 300),
        ("retry in 1 hour", 3600),
        ("please try again in an hour", 3600),
        ("Try again in one minute.", 60),
        ("deferred for 1.5 min", 90),
        ("Retry-After: 120", 120),
        ("retry after 45", 45),
        ("back in 24 h", 86_400),
    ],
)
def test_a_server_that_says_when_to_come_again_is_understood(text: str, seconds: float) -> None:
    assert seconds == retry_hint(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "try again later",
        "Greylisted, see http://postgrey.example/help/10.html",
        "try again in 0 seconds",
        "try again in 25 hours",
        "try again in 99999999 days",
        "your message of 10 MB was refused",
        "wait 300 apples",
        "retry after 12:30",
    ],
)
def test_what_is_no_hint_or_not_a_sane_one_is_none(text: str) -> None:
    assert None is retry_hint(text)


def test_a_refusal_keeps_its_hint_and_an_acceptance_has_none() -> None:
    assert (300, None) == (
        parse_reply(450, "4.2.0 Greylisted, see you in 300 seconds").retry_after,
        parse_reply(250, "queued, try again in 300 seconds").retry_after,
    )


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("120", "", 120),
        (" 7 ", "", 7),
        ("0", "", None),
        ("86401", "", None),
        ("9" * 400, "", None),
        ("-5", "", None),
        ("soon", "", None),
        ("", "", None),
        ("Sat, 21 Nov 2026 10:05:00 GMT", "Sat, 21 Nov 2026 10:00:00 GMT", 300),
        ("Sat, 21 Nov 2026 10:05:00 -0000", "Sat, 21 Nov 2026 10:00:00 GMT", 300),
        ("Sat, 21 Nov 2026 09:00:00 GMT", "Sat, 21 Nov 2026 10:00:00 GMT", None),
        ("Sat, 21 Nov 1998 09:00:00 GMT", "", None),
    ],
)
def test_the_header_of_a_response_is_read(value: str, date: str, seconds: float | None) -> None:
    assert seconds == retry_after(value, date=date)


@given(text=hintlike | st.text())
def test_whatever_a_server_says_is_a_hint_within_bounds_or_none(text: str) -> None:
    hint = retry_hint(text)

    assert hint is None or SHORTEST_SECONDS <= hint <= LONGEST_SECONDS


@given(value=numbers | st.text(), date=st.text())
def test_whatever_a_header_says_is_a_hint_within_bounds_or_none(value: str, date: str) -> None:
    hint = retry_after(value, date=date)

    assert hint is None or SHORTEST_SECONDS <= hint <= LONGEST_SECONDS
