"""Somebody who is to be forgotten: which addresses are his, and what is left of texts that name him."""

import pytest

from mailqueue.outbox.person import FORGOTTEN, Person

JANE = Person(["jane@example.com"])


@pytest.mark.parametrize(
    "address", ["jane@example.com", "Jane@EXAMPLE.com", '"Doe, Jane" <jane@example.com>', " .[jane@example.com"]
)
def test_his_mailbox_is_his_whatever_stands_around_it(address: str) -> None:
    assert JANE.is_meant(address)


@pytest.mark.parametrize(
    "address",
    [
        "maryjane@example.com",
        "mary.jane@example.com",
        "jane@example.com.au",
        "jane@example.community",
        "jane+x@example.com",
        "x",
    ],
)
def test_a_longer_address_is_somebody_elses(address: str) -> None:
    assert (False, False, address) == (JANE.is_meant(address), JANE.is_named(address), JANE.redacted(address))


def test_in_a_text_his_address_alone_is_replaced() -> None:
    text = "550 5.1.1 <Jane@example.com>: no such user jane@example.com. Ask mary.jane@example.com"

    assert f"550 5.1.1 <{FORGOTTEN}>: no such user {FORGOTTEN}. Ask mary.jane@example.com" == JANE.redacted(text)


@pytest.mark.parametrize("text", ["", "joe@example.com, Ann <ann@example.com>", "joe@example.com,ann@example.com"])
def test_a_list_without_him_stays_as_it_is(text: str) -> None:
    assert text == JANE.redacted_list(text)


def test_in_a_list_his_name_goes_with_his_address() -> None:
    text = 'joe@example.com, "Doe, Jane" <jane@example.com>'

    assert f"joe@example.com, {FORGOTTEN}" == JANE.redacted_list(text)


def test_what_stands_by_address_stays_apart() -> None:
    both = Person(["jane@example.com", "jd@example.net"])
    results = {
        "jane@example.com": {"verdict": "sent", "code": 250, "reply": "ok <jane@example.com>"},
        "ann@example.com": {"verdict": "sent"},
        "JD <jd@example.net>": {"verdict": "fail", "code": None},
    }

    assert {
        FORGOTTEN: {"verdict": "sent", "code": 250, "reply": f"ok <{FORGOTTEN}>"},
        "ann@example.com": {"verdict": "sent"},
        "forgotten-3@invalid": {"verdict": "fail", "code": None},
    } == both.redacted_json(results)


@pytest.mark.parametrize(("value", "expected"), [(None, None), (7, 7), (["jane@example.com", 7], [FORGOTTEN, 7])])
def test_what_is_no_text_is_left_alone(value: object, expected: object) -> None:
    assert expected == JANE.redacted_json(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@example.com, jane@exam", f"ann@example.com, {FORGOTTEN}"),
        ("ann@example.com, Jane <ja", f"ann@example.com, Jane <{FORGOTTEN}"),
        ("ann@example.com, joe@exam", "ann@example.com, joe@exam"),
        ("ann@example.com, ", "ann@example.com, "),
    ],
)
def test_the_beginning_of_his_address_at_the_end_of_a_text_that_was_cut_off_goes_too(text: str, expected: str) -> None:
    assert expected == JANE.redacted_end(text)


@pytest.mark.parametrize("given", ["jane@bücher.example", "jane@xn--bcher-kva.example"])
def test_both_ways_to_write_a_domain_are_his(given: str) -> None:
    person = Person([given])
    ways = "Jane@BÜCHER.example", "jane@xn--bcher-kva.example"

    assert [True, True, True, True] == [*map(person.is_meant, ways), *map(person.is_named, ways)]


@pytest.mark.parametrize("given", ["jane", "", "jane@example.com, joe@example.com", "xn--\udc80@x.example"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is not an email address"):
        Person([given])


def test_a_domain_that_can_not_be_decoded_stands_for_itself() -> None:
    assert ["jane@xn--a.example"] == Person(["jane@xn--a.example"]).spellings
