"""A strategy for messages: everything that callers of Django's mail API do, on the Django that runs."""

from collections.abc import Callable, Sequence
from email.charset import QP, Charset
from functools import partial
from typing import Any

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils.functional import lazystr
from hypothesis import strategies as st

from tests.support.message_parts import (
    BAD_ADDRESSES,
    address_lists,
    addresses,
    alternatives,
    attach,
    mime_parts,
    one_line_texts,
    texts,
    triples,
    wrapped_texts,
)


class Newsletter(EmailMultiAlternatives):
    """A class of a project's own that changes nothing that is built."""

    content_subtype = "html"
    issue = 7


class SelfAddressed(EmailMessage):
    """Names its recipients itself."""

    def recipients(self) -> list[str]:
        return ["archive@example.com", *super().recipients()]


class SignedMessage(EmailMultiAlternatives):
    """Builds its own bytes; the same whenever it is asked."""

    def message(self, **options: Any) -> Any:
        made = super().message(**options)
        for name, value in {"Message-ID": "<signed@example.com>", "Date": "Sat, 21 Nov 2026 09:30:00 -0000"}.items():
            del made[name]
            made[name] = value
        made["X-Signature"] = "MEUCIQDx"
        for number, part in enumerate(part for part in made.walk() if part.is_multipart()):
            if part.get_content_maintype() == "multipart":
                part.set_boundary(f"=-={number}")
        return made


def builds_itself(message: EmailMessage) -> bool:
    return isinstance(message, SignedMessage) or "message" in vars(message)


ORDINARY_CLASSES = [EmailMultiAlternatives, EmailMultiAlternatives, EmailMessage, Newsletter]
CLASSES = [*ORDINARY_CLASSES * 3, SignedMessage, SelfAddressed]
header_names = st.sampled_from(
    [
        *["From", "To", "Cc", "Date", "Message-ID", "Reply-To", "Sender"],
        *["from", "TO", "cc", "DATE", "message-id", "reply-to"],
        *["X-Shop", "x-shop", "List-Unsubscribe", "In-Reply-To", "References", "Return-Path", "Precedence"],
    ]
)
ADDRESSED = ("from", "to", "cc", "reply-to", "sender")
DATES = ["Sat, 21 Nov 2026 08:00:00 +0000", "21 Nov 2026 08:00", "", "yesterday"]
IDS = ["<1@shop>", "1@shop", "", "<" + "x" * 300 + "@shop>", "<Grüße@shop>", "<a@b> <c@d>"]
VALUES = ["1", "<mailto:x@example.com>, <https://example.com/?a=b&c=d>", "Grüße, 世界", lazystr("lazy"), "w " * 500]


@st.composite
def headers(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in draw(st.lists(header_names, min_size=1, max_size=6)):
        if name.lower() in ADDRESSED:
            found[name] = draw(addresses | st.lists(addresses, max_size=3).map(lambda some: ", ".join(map(str, some))))
        elif name.lower() == "date":
            found[name] = draw(st.sampled_from(DATES))
        elif name.lower() == "message-id":
            found[name] = draw(st.sampled_from(IDS))
        else:
            found[name] = draw(st.sampled_from(VALUES) | one_line_texts)
    return found


subjects = st.one_of(
    one_line_texts,
    one_line_texts.map(lazystr),
    st.integers(0, 400).map(lambda count: ("long " * count)[:2_000]),
    st.integers(0, 2_000).map(lambda count: "ü" * count),
    st.integers(0, 2_000).map(lambda count: "x" * count),
    st.sampled_from(["{{ x }} {% y %}", " leading", "trailing ", "", "=?utf-8?q?x?=", "a  b\tc"]),
)
ENCODINGS = [
    None,
    None,
    None,
    None,
    "utf-8",
    "iso-8859-1",
    "latin-1",
    "koi8-r",
    "us-ascii",
    "utf-16",
    "no-such-charset",
]


def _charset() -> Charset:
    made = Charset("utf-8")
    made.body_encoding = QP
    return made


def _set(message: Any, *, name: str, value: Any) -> None:
    setattr(message, name, value)


def _add(message: Any, *, name: str, value: Any) -> None:
    getattr(message, name).append(value)


def _head(message: Any, *, name: str, value: Any) -> None:
    message.extra_headers[name] = value


ODDITIES: list[Callable[[Any], object]] = [
    *(partial(_set, name="subject", value=value) for value in ("a\nBcc: all@example.com", "\udce9", 7, None)),
    *(partial(_set, name="body", value=value) for value in ("NUL \0", "\udce9", b"octets", None)),
    *(partial(_set, name="from_email", value=address) for address in BAD_ADDRESSES),
    *(partial(_add, name="to", value=address) for address in (*BAD_ADDRESSES, None)),
    *(partial(_add, name="attachments", value=value) for value in (("a.txt", "x"), ("a.txt", "x", "nonsense"), 7)),
    *(
        partial(_head, name=name, value="a@example.com")
        for name in ("Bcc", "Subject", "Content-Type", "X-Empty", "X:Y")
    ),
    *(partial(_head, name="X-Odd", value=value) for value in ("a\r\nb", 7, None, "\udce9")),
    *(partial(_set, name=name, value="related") for name in ("mixed_subtype", "content_subtype")),
    *(partial(_set, name=name, value=None) for name in ("reply_to", "attachments", "alternatives")),
    partial(_set, name="encoding", value=_charset()),
    partial(_set, name="message", value=SignedMessage("Own", "x", "a@example.com", ["b@example.com"]).message),
    partial(_set, name="to", value=("a@example.com",)),
    partial(_set, name="recipients", value=list),
]
"""What few callers do; much of it Django refuses."""


@st.composite
def messages(draw: st.DrawFn) -> EmailMessage:
    """Messages of all sorts; the better half of common shapes, and one in five is odd."""
    message = draw(simple_messages() if draw(st.integers(0, 4)) < 3 else ordinary_messages(CLASSES))
    if draw(st.integers(0, 4)) == 0:
        draw(st.sampled_from(ODDITIES))(message)
    return message


harmless_texts = one_line_texts.map(lambda text: "".join(filter(str.isprintable, text)).replace("=?", "")[:900])
simple_addresses = st.sampled_from(
    ["jane@example.com", "Jane Doe <jane@example.com>", "jane+tag@example.com", "JANE@Example.COM", "o_h@b-c.example"]
)
simple_headers = st.dictionaries(
    st.sampled_from(["X-Shop", "List-Unsubscribe", "List-Id", "X-" + "a" * 58, "X-" + "a" * 76]),
    harmless_texts.map(lambda text: text or "x") | st.sampled_from(["", "x" * 900, "ü" * 300]),
    max_size=2,
) | st.just({"Message-ID": "<1.2@shop.example>"})


@st.composite
def simple_messages(draw: st.DrawFn) -> EmailMessage:
    """What most programs send: a text, often with HTML, to addresses that need no quoting."""
    message = EmailMultiAlternatives(
        subject=draw(harmless_texts),
        body=draw(texts),
        from_email=draw(simple_addresses),
        to=draw(st.lists(simple_addresses, min_size=1, max_size=3)),
        cc=draw(st.lists(simple_addresses, max_size=1)),
        bcc=draw(st.lists(simple_addresses, max_size=1)),
        reply_to=draw(st.lists(simple_addresses, max_size=2)),
        headers=draw(st.just({}) | simple_headers),
    )
    shape = draw(st.sampled_from(["text", "text", "html", "both"]))
    if shape != "text":
        message.body = message.body or "Hello"
    if shape == "html":
        message.content_subtype = "html"
    elif shape == "both":
        message.attach_alternative(draw(texts) or "<p>Hello</p>", "text/html")
    return message


@st.composite
def ordinary_messages(draw: st.DrawFn, kinds: Sequence[type[EmailMessage]] = ORDINARY_CLASSES) -> EmailMessage:
    """Messages that Django builds, and that only hold what its documentation names."""
    kind = draw(st.sampled_from(kinds))
    message = kind(
        subject=draw(subjects),
        body=draw(wrapped_texts),
        from_email=draw(addresses | st.none()),
        to=draw(st.lists(addresses, min_size=1, max_size=3)),
        cc=draw(st.just([]) | address_lists),
        bcc=draw(st.just([]) | address_lists),
        reply_to=draw(st.lists(addresses, max_size=2)),
        headers=draw(st.just({}) | headers()),
    )
    if draw(st.booleans()) and isinstance(message, EmailMultiAlternatives):
        for content, mimetype in draw(st.lists(alternatives(), max_size=3)):
            message.attach_alternative(content, mimetype)
    for attachment in draw(st.just([]) | st.lists(triples() | mime_parts, max_size=3)):
        attach(message, attachment, how=draw(st.sampled_from(["attach", "named", "tuple"])))
    message.encoding = draw(st.sampled_from(ENCODINGS))
    if draw(st.integers(0, 3)) == 0:
        message.content_subtype = "html"
    return message
