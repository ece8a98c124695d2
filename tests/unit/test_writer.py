"""What is written straight to bytes is what the running Django sends."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from django.core.mail import EmailMessage
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pytest_django import Settings

from mailqueue.delivery.paths import MAILBOX
from mailqueue.delivery.wire import MANY, serialised
from mailqueue.delivery.writer import Text, is_proven, message_of, write
from tests.support.letters import SENDER

BOUNDARY = re.compile(rb"={15}\d{19}==")
HEADERS = {"Date": "Sat, 21 Nov 2026 09:30:00 +0000", "Message-ID": "<1.2.mailqueue@example.com>"}
LATIN = st.characters(codec="ascii", exclude_categories=("Cc",))
VISIBLE = st.characters(exclude_categories=("Cc", "Cs", "Cn", "Co", "Zl", "Zp"))
HURTING = st.sampled_from(
    [
        "=?utf-8?q?a=0Ab?=", "=?", "?=", "=?utf-8?b?w7w=?= ", "=?x?y?z?=", "\r", "\n", "\r\n", "\n.\n", "\n From ",
        "\nFrom ", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\u00a0", "\u200b", "\u200d", "\ufeff",
        "\t", " ", "  ", "\U0001f4a9", "e\u0301", "ü", "ß" * 40, "漢字" * 30, "\ud800", "\udcff", '"', "\\", "(", ")",
        "<", ">", ",", ";", ":", "@", "=", "==", "--", "-- \n", "--===============", "x" * 70, "x" * 77, "x" * 78,
        "x" * 79, "x" * 998, "x" * 999, "ü" * 499, "ü" * 500, "a b " * 20, "a, " * 30, "\n\n", " \n", "\t\n", ".",
        "..", "&", "%s", "{0}",
    ]
)  # fmt: skip


def joined(*kinds: st.SearchStrategy[str], most: int = 12) -> st.SearchStrategy[str]:
    return st.lists(st.one_of(*kinds), max_size=most).map("".join)


words = st.text("abcdefgh XYZ", max_size=60)
texts = joined(words, st.text(max_size=20), HURTING)
lines = joined(words, st.text(LATIN, max_size=40), st.text(VISIBLE, max_size=40), HURTING)
simple = st.from_regex(
    r"[a-z0-9_+-]{1,12}(\.[A-Z0-9_+-]{1,9}){0,3}@[a-z0-9-]{1,20}(\.[a-z0-9-]{1,9}){0,3}", fullmatch=True
)
names = st.one_of(
    st.from_regex(r"[A-Za-z0-9'-]{1,12}( [A-Za-z0-9'-]{1,20}){0,4}", fullmatch=True),
    st.text(VISIBLE, max_size=30),
    st.text(VISIBLE, max_size=20).map(lambda name: f'"{name}"'),
    lines,
)
addresses = st.one_of(
    simple,
    st.builds("{} <{}>".format, names, simple),
    st.builds("{}@{}".format, st.text(VISIBLE, max_size=5), st.text(VISIBLE, max_size=5)),
    lines,
)
address_lists = st.lists(simple | addresses, max_size=4)
dates = st.one_of(
    st.datetimes(timezones=st.timezones()).map(format_datetime),
    st.datetimes().map(format_datetime),
    st.from_regex(r"[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb) [0-9]{4} [0-9]{2}(:[0-9]{2}){2} [+-][0-9]{4}", fullmatch=True),
    st.just(HEADERS["Date"]),
    lines,
)
message_ids = st.one_of(
    st.from_regex(r"<[A-Za-z0-9]{1,30}([.-][A-Za-z0-9]{1,30}){0,3}@[A-Za-z0-9.-]{1,40}>", fullmatch=True),
    simple.map("<{}>".format),
    lines,
)
header_names = st.one_of(
    st.sampled_from(
        [
            "X-Order", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "Expires", "Precedence", "References",
            "Auto-Submitted", "In-Reply-To", "Sender", "Return-Path", "Content-Language", "X-" + "Long-" * 12 + "Name",
            "date", "message-id", "From", "to", "MIME-Version", "Resent-From", "Subject", "x-order", "Bcc", "", "X Y",
            "X:",
        ]
    ),
    st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,45}", fullmatch=True),
)  # fmt: skip
values = st.one_of(lines, st.text(LATIN, min_size=1, max_size=100), st.just("<https://example.com/u?a=b&c=d>"))
SHUFFLED = st.randoms(use_true_random=False)


@st.composite
def messages(draw: st.DrawFn, *, body: Any = texts, head: Any = lines, listed: Any = address_lists) -> Text:
    headers = draw(st.dictionaries(header_names, values, max_size=3))
    headers |= {"Date": draw(dates), "Message-ID": draw(message_ids)}
    order = list(headers)
    draw(SHUFFLED).shuffle(order)
    return Text(
        subject=draw(head),
        from_email=draw(addresses),
        to=draw(listed),
        cc=draw(listed),
        reply_to=draw(listed),
        headers={name: headers[name] for name in order},
        body=draw(body),
        html=draw(st.just("") | body),
    )


def usual(**changes: Any) -> Text:
    given = {"subject": "Your order", "from_email": "Our Shop <shop@example.com>", "to": ["ann@example.com"]}
    return Text(**{**given, "headers": HEADERS, "body": "Thank you.\n", **changes})


def unnamed(content: bytes) -> bytes:
    """Let boundaries be called alike: the first one that is declared is the writer's or Django's own."""
    declared = BOUNDARY.search(content.partition(b'boundary="')[2])
    return content.replace(declared[0], b"BOUNDARY") if declared else content


def check(text: Text) -> None:
    written = write(text)
    if written is not None:
        assert unnamed(serialised(message_of(text))) == unnamed(written)


@examples(max_examples=300, deadline=None)
@given(messages())
def test_whatever_is_written_is_what_django_sends(text: Text) -> None:
    check(text)


@examples(max_examples=200, deadline=None)
@given(texts, st.just("") | texts)
@example("\ud800", "")
@example("a\rb\r\nc\nd", "\r")
@example("x" * 999, "<p>" + "x\u2028" * 400)
@example("", "")
@example("\n", "\n\n")
@example("ü" * 500, "ü" * 499)
def test_any_text_is_written_as_django_sends_it(body: str, html: str) -> None:
    check(usual(body=body, html=html))


@pytest.mark.parametrize("pattern", ["x", "ab ", "a, ", "a  b;", "ü", "<a=b>", "jane@example.com, "])
def test_a_header_of_any_length_is_written_as_django_sends_it(pattern: str) -> None:
    for length in (*range(50, 100), *range(140, 170, 7), 500, 998, 999):
        value = f"{pattern * length}"[:length].rstrip() + "."
        check(usual(subject=value, headers={"X-Order": value, "List-Unsubscribe-Post": value} | HEADERS))


@pytest.mark.parametrize("pattern", ["{0}@example.com", "{0} <a@example.com>", "a@example.com, b@{0}.example.com"])
def test_an_address_of_any_length_is_written_as_django_sends_it(pattern: str) -> None:
    for length in range(20, 90):
        addresses = pattern.format("x" * length).split(", ")
        check(usual(from_email=addresses[-1], to=addresses, cc=addresses, reply_to=addresses))


@pytest.mark.parametrize("limit", [78, 998])
@pytest.mark.parametrize("character", ["x", "ü", " ", "\u2028"])
@pytest.mark.parametrize("end", ["", "\n", "\r", "\r\n", "\nshort\n", "\x0b"])
def test_a_line_of_any_length_is_written_as_django_sends_it(limit: int, character: str, end: str) -> None:
    octets = len(character.encode())
    for length in range((limit - 4) // octets, (limit + 6) // octets):
        text = f"first\n{character * length}{end}"
        check(usual(body=text, html=text * 3))


@examples(max_examples=200, deadline=None)
@given(lines, st.dictionaries(header_names, values, max_size=3))
@example("=?utf-8?q?a=0AInjected:_header?=", {})
@example("ends in a space ", {"X-Order": " begins with one"})
@example("x" * 998, {"X-Order": "x" * 998})
@example("Grüße " * 100, {"List-Unsubscribe": "<mailto:ü@example.com>"})
def test_any_header_is_written_as_django_sends_it(subject: str, headers: dict[str, str]) -> None:
    check(usual(subject=subject, headers={**headers, **HEADERS}))


@examples(max_examples=200, deadline=None)
@given(addresses, address_lists, address_lists, address_lists)
@example("Jörg <joerg@example.com>", ["jörg@example.com"], ["ann@exämple.com"], ["x <ann@exämple.com>"])
def test_any_address_is_written_as_django_sends_it(
    from_email: str, to: list[str], cc: list[str], reply_to: list[str]
) -> None:
    check(usual(from_email=from_email, to=to, cc=cc, reply_to=reply_to))


@examples(max_examples=150, deadline=None)
@given(dates, message_ids)
@example("Sun, 21 Nov 2026 09:30:00 +0000", "<a..b@example.com>")
@example("Sat, 31 Feb 2026 09:30:00 +0000", "<a@b> c")
@example("Sat, 21 Nov 2026 09:30:00 -0000", "<" + "x" * 90 + "@example.com>")
def test_any_identity_is_written_as_django_sends_it(date: str, message_id: str) -> None:
    check(usual(headers={"X-Order": "1", "Date": date, "Message-ID": message_id}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"body": ""},
        {"body": "", "html": "<p>Thank you.</p>"},
        {"html": "<p>Thank you.</p>\n"},
        {"body": "Schöne Grüße\n", "html": "<p>Schöne Grüße \U0001f600</p>\n"},
        {"body": "no final newline", "html": "no final newline"},
        {"body": "A long line. " * 200, "html": "<p>A long line.</p>" * 200},
        {"body": "Langes Gespräch. " * 200},
        {"subject": "Schöne Grüße"},
        {"subject": "Schöne Grüße und noch vieles mehr " * 6},
        {"from_email": SENDER},
        {"from_email": '"Our Shop, Inc." <shop@example.com>'},
        {"from_email": "Jörgs Laden <shop@example.com>"},
        {"to": ["Jane Doe <jane@example.com>", "Jörg <joerg@example.com>"], "cc": ["bob@example.com"]},
        {"to": []},
        {"to": [f"customer-{number}@example.com" for number in range(MANY)]},
        {"reply_to": ["help@example.com"]},
        {"headers": HEADERS | {"Date": "Sat, 21 Nov 2026 09:30:00 -0000"}},
        {"headers": {"List-Unsubscribe": f"<https://example.com/{'x' * 90}>"} | HEADERS},
        {"headers": {"X-Order": "1", "Expires": "Sat, 21 Nov 09:30:00 +0000"} | HEADERS},
        {"headers": HEADERS | {"Message-ID": "<17952.4242.1234567890123456789.mailqueue@mail.example.com>"}},
    ],
)
def test_the_usual_mails_are_written(changes: dict[str, Any]) -> None:
    text = usual(**changes)
    written = write(text)

    assert written is not None
    assert unnamed(serialised(message_of(text))) == unnamed(written)


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"Date": HEADERS["Date"]}},
        {"headers": {"Message-ID": HEADERS["Message-ID"]}},
        {"headers": HEADERS | {"DATE": HEADERS["Date"]}},
        {"headers": HEADERS | {"Content-Language": "en"}},
        {"headers": HEADERS | {"Sender": "shop@example.com"}},
        {"headers": HEADERS | {"Not a name": "1"}},
        {"headers": HEADERS | {"X-Order": ""}},
        {"headers": HEADERS | {"X-Order": "1\nBcc: eve@example.com"}},
        {"subject": "a form feed\x0cBcc: eve@example.com"},
        {"subject": "a line separator\u2028"},
        {"body": "half a pair: \ud800"},
        {"to": [f"customer-{number}@example.com" for number in range(MANY + 1)]},
    ],
)
def test_what_is_not_certain_is_left_to_django(changes: dict[str, Any]) -> None:
    assert write(usual(**changes)) is None


def test_another_charset_is_left_to_django(settings: Settings) -> None:
    settings.DEFAULT_CHARSET = "iso-8859-1"

    assert write(usual()) is None


@pytest.fixture
def newly_proven() -> Iterator[None]:
    is_proven.cache_clear()
    yield
    is_proven.cache_clear()


def test_everything_is_left_to_a_django_that_writes_otherwise(
    newly_proven: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    build: Any = EmailMessage.message

    def with_a_mark(message: EmailMessage, **options: Any) -> Any:
        built = build(message, **options)
        built["X-Mark"] = "of somebody's patch"
        return built

    monkeypatch.setattr(EmailMessage, "message", with_a_mark)

    assert write(usual()) is None


def test_everything_is_left_to_a_django_that_can_not_be_compared_with(
    newly_proven: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmailMessage, "message", None)

    assert write(usual()) is None


def test_no_two_mails_have_one_boundary() -> None:
    boundaries = {BOUNDARY.findall(write(usual(html="<p>Hello</p>")) or b"")[0] for _ in range(20)}

    assert 20 == len(boundaries)


def test_a_text_that_holds_the_boundary_is_left_to_django(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailqueue.delivery.writer._boundary", lambda: "===============0000000000000000007==")
    held = "--===============0000000000000000007=="

    assert (None, None) == (write(usual(body=held, html="x")), write(usual(body="x", html=f"x\n{held}--\n")))


@given(simple, names)
def test_an_address_with_a_name_of_words_is_taken_for_what_it_is(address: str, name: str) -> None:
    known = MAILBOX.fullmatch(f"{name} <{address}>")

    assert known is None or address == known[1]


def test_the_date_of_a_mail_is_not_made_here() -> None:
    content = write(usual(headers=HEADERS | {"Date": format_datetime(datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC))}))

    assert b"\r\nDate: Sat, 03 Feb 2001 04:05:06 +0000\r\n" in (content or b"")
