"""The id by which a server knows the mail that it took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.delivery.classify import parse_reply
from mailqueue.delivery.queue_ids import LENGTH, queue_id, storable_id


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("2.0.0 Ok: queued as 4XyZ1b2c3d", "4XyZ1b2c3d"),
        ("2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 2D7F3", "2D7F3"),
        ("OK id=1abcDE-0006Gh-2X", "1abcDE-0006Gh-2X"),
        ("2.0.0 OK  1690000000 a1-20020a170902b58100si123pls.45 - gsmtp", "a1-20020a170902b58100si123pls.45"),
        (
            "Ok 010201890a1b2c3d-5f3c2a1b-0000-4a4a-8b8b-0123456789ab-000000",
            "010201890a1b2c3d-5f3c2a1b-0000-4a4a-8b8b-0123456789ab-000000",
        ),
        ("2.0.0 q1A2b3C4 Message accepted for delivery", "q1A2b3C4"),
        ("2.6.0 <a@b.example> [InternalId=12345, Hostname=X.example] Queued mail for delivery", "12345"),
        ("2.6.0 <a@b.example> Queued mail for delivery", "a@b.example"),
        ("ok:  Message 12345 accepted", "12345"),
        ("ok 1690000000 qp 4711", "4711"),
        ("Message Queued (0A1B-22.1)", "0A1B-22.1"),
        ("2.0.0 <a@b.example> Pb+ZBg Saved", "Pb+ZBg"),
        ("Ok, id=12345-01, from MTA", "12345-01"),
        ("2.0.0 accepted\n2.0.0 queued as 4F3A.", "4F3A"),
        ("2.0.0 Ok: queued", ""),
        ("Message accepted", ""),
        ("Great success", ""),
        ("", ""),
    ],
)
def test_the_id_is_found_in_the_words_of_each_server(reply: str, expected: str) -> None:
    assert expected == queue_id(parse_reply(250, reply))


@given(raw=st.binary(max_size=1_500) | st.binary(max_size=600).map(lambda raw: b"queued as " + raw))
def test_any_reply_gives_an_id_that_the_database_takes(raw: bytes) -> None:
    found = queue_id(parse_reply(250, raw))

    assert (len(found) <= LENGTH, "\x00" in found) == (True, False)


def test_an_id_of_a_service_is_made_fit_for_the_database() -> None:
    assert "a?b" == storable_id("a\x00\udc80b")
