"""Addresses in free text: those that stand by themselves are found, parts of longer ones are not."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailqueue.outbox.mentions import Mentions
from mailqueue.outbox.person import Person

ANN = "ann@example.com"
ATEXT = "abcnxyzABCNXYZ0189!#$%&'*+-/=?^_`{|}~éüñ给名"
ATOMS = st.text(ATEXT, max_size=6)
QUOTED = st.text(ATEXT + " .,:;<>()[]@", max_size=6)
AROUND = ["{}", "<{}>", "to {}, who", "({})", "550 <{}>: no such user", "x\n{}\ny", "[{}]", "a@b.c,{},d@e.f", "{}."]


def is_found(text: str) -> bool:
    return bool(Mentions({ANN: ANN}).in_text(text))


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com",
        "Ann@EXAMPLE.com.",
        "ask ann@example.com!",
        "<ann@example.com>",
        "mailto:ann@example.com?subject=x",
        '"ann@example.com" was refused',
        "{'ann@example.com': (550, b'no such user')}",
        "`ann@example.com'",
        "{ann@example.com}",
        "收件人\N{FULLWIDTH COLON}ann@example.com。谢谢",
        "“ann@example.com”",
        "...ann@example.com...",
        "“Ann” <ann@example.com>",
    ],
)
def test_it_stands_by_itself(text: str) -> None:
    assert is_found(text)


@pytest.mark.parametrize(
    "text",
    [
        *(f"to {character}ann@example.com, who" for character in "!#$%&'*+-/=?^_`{|}~éß给1"),
        "o'ann@example.com",
        "'o'ann@example.com'",
        "to='ann@example.com'",
        "'ann@example.com's",
        "ann&co=ann@example.com",
        "cafe\N{COMBINING ACUTE ACCENT}ann@example.com",
        "\N{SNOWMAN}ann@example.com",
        '"x".ann@example.com',
        '"x y ann@example.com"@example.net',
        '"ann@example.com"@example.net',
        '"ann@example.com x"@example.net',
        "ann@example.com.au",
        "ann@example.community",
        "ann@example.com-x",
        "ann@example.comé",
        "ann@example.com.é",
    ],
)
def test_it_is_part_of_a_longer_one(text: str) -> None:
    assert not is_found(text)


@given(before=ATOMS, around=st.sampled_from(AROUND))
@example(before="o'", around="{}")
@example(before="x/", around="{}")
@example(before="ann&co=", around="{}")
@example(before="", around="{}")
def test_of_dot_atoms_the_very_one_is_found(before: str, around: str) -> None:
    mailbox = f"{before}{ANN}"

    assert (mailbox == ANN) is is_found(around.format(mailbox))


@given(before=QUOTED, after=QUOTED, around=st.sampled_from(AROUND))
def test_of_quoted_local_parts_none_is_found(before: str, after: str, around: str) -> None:
    assert not is_found(around.format(f'"{before}{ANN}{after}"@example.net'))


@given(after=st.text("abcxyz019-é", min_size=1, max_size=6), dot=st.sampled_from(["", "."]))
def test_of_domains_no_longer_one_is_found(after: str, dot: str) -> None:
    assert not is_found(f"{ANN}{dot}{after}")


@given(local=ATOMS.filter(bool))
def test_a_mailbox_is_one_persons_and_is_found_wherever_it_stands(local: str) -> None:
    mailbox = f"{local}@example.com"
    person = Person([mailbox])

    assert person.is_meant(mailbox)
    assert all(person.is_named(around.format(mailbox)) for around in AROUND)


@given(one=ATOMS.filter(bool), other=ATOMS.filter(bool))
@example(one="straße", other="strasse")
@example(one="jess", other="je\N{LATIN SMALL LETTER LONG S}s")
def test_two_mailboxes_are_two_peoples(one: str, other: str) -> None:
    person, address = Person([f"{one}@example.com"]), f"{other}@example.com"
    is_same = one.lower() == other.lower()

    assert [is_same] * 4 == [
        person.is_meant(address),
        person.is_named(address),
        person.redacted_list(f"{address}, x@example.net") != f"{address}, x@example.net",
        person.is_sender(address),
    ]


def test_of_two_that_begin_alike_the_longer_is_meant() -> None:
    mentions = Mentions({way: way for way in ("a@b.c", "a@b.c.d")})

    assert ["a@b.c.d", "a@b.c"] == [address for _, _, address in mentions.in_text("a@b.c.d a@b.c")]
