"""Somebody who is to be forgotten: which addresses are his, and what is left of texts that name him."""

import pytest

from mailqueue.outbox.person import FORGOTTEN, Person

JANE = Person(["jane@example.com"])


@pytest.mark.parametrize(
    "address",
    [
        "jane@example.com",
        "Jane@EXAMPLE.com",
        '"Doe, Jane" <jane@example.com>',
        " .[jane@example.com",
        '"jane"@example.com',
    ],
)
def test_his_mailbox_is_his_whatever_stands_around_it(address: str) -> None:
    assert (True, FORGOTTEN) == (JANE.is_meant(address), JANE.redacted_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "maryjane@example.com",
        "mary.jane@example.com",
        "jane@example.com.au",
        "jane@example.community",
        "jane+x@example.com",
        "o'jane@example.com",
        "x/jane@example.com",
        "jane&co=jane@example.com",
        '"jane@example.com"@example.net',
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
        "forgotten-2@invalid": {"verdict": "fail", "code": None},
    } == both.redacted_json(results)


def test_in_a_mail_each_address_has_one_name_that_nobody_else_has() -> None:
    within = Person(["jane@example.com", "jd@example.net"]).within(f"x {FORGOTTEN} forgotten-3@invalid")

    assert "forgotten-2@invalid, ann@example.com" == within.redacted_list("JD <jd@example.net>, ann@example.com")
    assert {"forgotten-4@invalid": "ok", "forgotten-2@invalid": "<forgotten-2@invalid>"} == within.redacted_json(
        {"jane@example.com": "ok", "jd@example.net": "<jd@example.net>"}
    )


def test_an_address_of_another_keeps_its_mailbox_and_loses_his_in_the_name() -> None:
    address = '"jane@example.com via shop" <shop@example.com>'

    assert (False, f'"{FORGOTTEN} via shop" <shop@example.com>') == (
        JANE.is_meant(address),
        JANE.redacted_address(address),
    )


@pytest.mark.parametrize("local", ["'jane@example.com'.x", "{'jane@example.com'"])
def test_what_looks_like_his_within_anothers_mailbox_stays(local: str) -> None:
    address = f'Ann <"{local}"@example.net>'

    assert address == JANE.redacted_address(address)


def test_of_what_is_several_addresses_where_one_should_stand_the_others_stay() -> None:
    address = "joe@example.com; jane@example.com"

    assert (False, f"joe@example.com; {FORGOTTEN}") == (JANE.is_meant(address), JANE.redacted_address(address))


def test_a_local_part_that_needs_quotes_is_found_as_it_is_written_in_json() -> None:
    person = Person(['"jane x"@example.com'])
    text = r'{"to": "\"Jane X\"@example.com"}'

    assert r"\"jane x\"@example.com" in person.needles
    assert f'{{"to": "{FORGOTTEN}"}}' == person.redacted(text)


@pytest.mark.parametrize(
    ("sender", "is_his", "expected"),
    [
        ("bounces+jane=example.com@shop", True, "bounces+forgotten=invalid@shop"),
        ("Shop <bounces+Jane=Example.com@shop>", True, "Shop <bounces+forgotten=invalid@shop>"),
        ("jane=example.com@shop", True, "forgotten=invalid@shop"),
        ("bounces-12-jane=example.com@shop", False, "bounces-12-forgotten=invalid@shop"),
        ("bounces+jane=example.com+7@shop", False, "bounces+forgotten=invalid+7@shop"),
        ("Jane <jane@example.com>", True, FORGOTTEN),
        *(
            (f"{sender}@shop", False, f"{sender}@shop")
            for sender in (
                "bounces+mary.jane=example.com",
                "bounces+o'jane=example.com",
                "bounces+jane=example.com.au",
                "bounces+jane=example.com=x",
                "bounces",
            )
        ),
    ],
)
def test_a_sender_that_says_whom_mail_comes_back_from_is_read(sender: str, is_his: bool, expected: str) -> None:
    assert (is_his, expected) == (JANE.is_sender(sender), JANE.redacted_sender(sender))


def test_before_the_address_in_a_sender_another_may_go_on() -> None:
    assert not JANE.is_sender("bounces+mary+jane=example.com@shop")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (7, 7),
        (["jane@example.com", 7], [FORGOTTEN, 7]),
    ],
)
def test_what_is_no_text_is_left_alone(value: object, expected: object) -> None:
    assert expected == JANE.redacted_json(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@example.com, jane@exam", f"ann@example.com, {FORGOTTEN}"),
        ("ann@example.com, Jane <ja", f"ann@example.com, Jane <{FORGOTTEN}"),
        ("ann@example.com, joe@exam", "ann@example.com, joe@exam"),
        ("ann@example.com, ", "ann@example.com, "),
        ("ann@example.com, o'jane@exam", "ann@example.com, o'jane@exam"),
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


def test_nested_texts_lose_him_wherever_he_stands() -> None:
    value = [["To", "to jane@example.com"], {"jane@example.com": {"x": "<jane@example.com>"}}, 7]

    assert [["To", f"to {FORGOTTEN}"], {FORGOTTEN: {"x": f"<{FORGOTTEN}>"}}, 7] == JANE.redacted_texts(value)
