"""Address lists survive the column they are kept in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.outbox.addresses import join_addresses, split_addresses

PLAIN = st.from_regex(r"[a-z0-9]{1,8}@[a-z]{1,8}\.example", fullmatch=True)
NAMED = st.builds(
    lambda name, address: f'"{name}" <{address}>', st.text(alphabet="abc ,;<>()@äé", min_size=1, max_size=12), PLAIN
)


@given(st.lists(st.one_of(PLAIN, NAMED), max_size=5))
def test_what_is_joined_is_split_into_the_same_again(addresses: list[str]) -> None:
    assert addresses == split_addresses(join_addresses(addresses))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a@x, ,b@x,", ["a@x", "b@x"]),
        ('"Doe, Jane" <jane@x>, b@x', ['"Doe, Jane" <jane@x>', "b@x"]),
        (r'"a \"b, c\"" <a@x>, b@x', [r'"a \"b, c\"" <a@x>', "b@x"]),
        ("a@x (one, two), b@x", ["a@x (one, two)", "b@x"]),
        ("a@x (one (two, three), four), b@x", ["a@x (one (two, three), four)", "b@x"]),
        ("Jane <jane@x>,b@x", ["Jane <jane@x>", "b@x"]),
    ],
)
def test_only_commas_between_addresses_separate_them(text: str, expected: list[str]) -> None:
    assert expected == split_addresses(text)


@given(st.text(max_size=40))
def test_no_text_makes_it_fail(text: str) -> None:
    assert all(split_addresses(text)) or not split_addresses(text)
