"""Patterns of recipients: addresses, domains and wildcards, in any case. What is not one mailbox matches none."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailqueue.outbox.mailboxes import mailbox_of
from mailqueue.recipient_patterns import allows, complaint


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("jane@example.com", "jane@example.com"),
        ("Jane@Example.com", "JANE@EXAMPLE.COM"),
        ("example.com", "jane@example.com"),
        ("@example.com", "Jane Doe <jane@example.com>"),
        ("*@*.example.com", "jane@mail.example.com"),
        ("*.example.com", "jane@a.b.example.com"),
        ("test-?@example.com", "test-1@example.com"),
        (" example.com ", "jane@example.com"),
        ("example.com", '"a@b"@example.com'),
        ("bücher.example", "jane@xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "jane@BÜCHER.example"),
        ("[192.0.2.1]", "jane@[192.0.2.1]"),
        ("jürgen@example.com", "JÜRGEN@example.com"),
    ],
)
def test_a_pattern_allows_its_mailboxes(pattern: str, address: str) -> None:
    assert allows([pattern], mailbox_of(address))


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("jane@example.com", "joe@example.com"),
        ("jane@example.com", "jane@example.com.evil.example"),
        ("example.com", "jane@mail.example.com"),
        ("example.com", "jane@notexample.com"),
        ("*.example.com", "jane@example.com"),
        ("*@example.com", '"a@b"@example.com'),
        ("example.com", "jane@evil.example, joe@example.com"),
        ("example.com", "jane@evil.example <joe@example.com"),
        ("example.com", "jane"),
        ("example.com", ""),
        ("example.com", "<>"),
        ("exampleXcom", "jane@example.com"),
        ("x" * 70 + "ü.example", "jane@example.com"),
    ],
)
def test_a_pattern_allows_no_others(pattern: str, address: str) -> None:
    assert not allows([pattern], mailbox_of(address))


def test_one_pattern_of_several_is_enough() -> None:
    assert allows(["example.net", "example.com"], "jane@example.com")


@given(st.text(alphabet='ab@@<>"\\(),;:.[] =?ü', max_size=20))
@example(" .[b")
def test_whatever_stands_in_a_row_has_one_mailbox_or_none(text: str) -> None:
    mailbox = mailbox_of(text)

    assert mailbox == "" or mailbox.rpartition("@")[2] != ""


def test_all_wrong_entries_are_named_at_once() -> None:
    told = complaint(["example.com", "jane@", 7, "a, b"]) or ""

    assert told.endswith("It is none of these: 'jane@', 7, 'a, b'")


@pytest.mark.parametrize("pattern", ["*", "*@*", "@*", " * ", "**", "?*@*.*", "*.*", "*.??"])
def test_a_pattern_of_wildcards_alone_is_refused_with_the_way_to_allow_everybody(pattern: str) -> None:
    told = complaint(["example.com", pattern]) or ""

    assert told.endswith(f"To allow everybody, leave it out or set it to None, not to {pattern!r}")


@pytest.mark.parametrize("pattern", ["jane@*", "*@*.com", "test-*", "*-test@*"])
def test_a_pattern_that_says_anything_may_be_set(pattern: str) -> None:
    assert None is complaint([pattern])


@pytest.mark.parametrize("value", [None, ["example.com"], ("@example.com", "*@*.example.com", "[::1]")])
def test_addresses_domains_and_patterns_may_be_set(value: object) -> None:
    assert None is complaint(value)


@pytest.mark.parametrize(
    "value",
    ["example.com", [], {"example.com"}, [7], [""], ["jane@"], ["a@b@c"], ["Jane <jane@x>"], ["a, b"], ["a..b"]],
)
def test_anything_else_is_answered_with_what_to_set(value: object) -> None:
    assert "or a list of addresses, domains and patterns" in (complaint(value) or "")
