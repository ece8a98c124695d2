"""Strategies for what a message is made of: texts, addresses, alternatives and attachments as callers write them."""

from email import message_from_bytes
from email.message import MIMEPart
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import django
from django.core.mail import EmailAttachment, EmailMessage
from django.utils.functional import lazystr
from django.utils.safestring import SafeString
from hypothesis import strategies as st

PIECES = [
    "Hello",
    " ",
    "\n",
    "\r\n",
    "\r",
    "\n.\n",
    "\n..dot",
    "\n\n",
    "From me\n",
    "\tTab",
    "Grüße",
    "Привет",
    "世界",
    "😀",
    "\u2028",
    "\x85",
    "\xa0",
    "=3D",
    "{{ name }}",
    "{% load x %}{# y #}",
    "<p>&amp;</p>",
    "x" * 997,
    "x" * 1_200,
    "é" * 600,
    "word " * 300,
    "\n" * 3,
]
ADDRESSES = [
    "jane@example.com",
    "JANE@Example.COM",
    "Jane Doe <jane@example.com>",
    '"Müller, A" <a@example.com>',
    '"Doe, Jane" <jane@example.com>',
    r'"say \"hi\", you" <jane@example.com>',
    "Grüße <jane@example.com>",
    "世界 " * 20 + "<jane@example.com>",
    "=?utf-8?q?Gr=C3=BC=C3=9Fe?= <jane@example.com>",
    "jane@bücher.example",
    '"Müller, A" <a@bücher.example>',
    "webmaster",
    "jane+tag@example.com",
    "o'hara@example.com",
    '"jane doe"@example.com',
    "jane@[192.0.2.1]",
    "jane@example.com (Jane)",
    " jane@example.com ",
    "<jane@example.com>",
    lazystr("lazy@example.com"),
    "x" * 60 + "@" + "y" * 60 + ".example.com",
    "Long " * 60 + "<jane@example.com>",
]
BAD_ADDRESSES = ["jane@example.com, ann@example.com", "jane@", "@", "Doe, Jane <jane@example.com>", "jane@x\nBcc: y@z"]

texts = st.one_of(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=6).map("".join),
    st.text(st.characters(codec="latin-1"), max_size=30),
    st.text(st.characters(codec="ascii"), max_size=30),
    st.text("абвгд \n", max_size=30),
).map(lambda text: text.replace("\0", ""))
"""Without NUL, which no text column takes."""
one_line_texts = texts.map(lambda text: " ".join(text.splitlines()))
wrapped_texts = st.tuples(st.sampled_from([str, str, str, lazystr, SafeString]), texts).map(
    lambda pair: pair[0](pair[1])
)
addresses = st.sampled_from(ADDRESSES)
address_lists = st.lists(addresses | st.just(""), max_size=3)
names = st.sampled_from(
    [None, "", "a.pdf", "a.pdf", "b.txt", "Grüße.pdf", "a b.png", 'q"uote.txt', "a;b=c.txt", "../../x.csv", "n" * 300]
) | st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=10)
octets = st.sampled_from(
    [b"", b"\x00\x01\xff", b"%PDF-1\r\n", b"line\nline\r\nlast", b"\xe9t\xe9", "Grüße".encode()]
) | (st.binary(max_size=20))
BINARY_TYPES = ["application/pdf", "image/png", "application/octet-stream", "application/x-thing; v=1", "audio/x"]
TEXT_TYPES = ["text/plain", "text/html", "text/csv", "text/calendar; method=REQUEST", "text/x-amp-html"]


@st.composite
def alternatives(draw: st.DrawFn) -> tuple[Any, str]:
    mimetype = draw(st.sampled_from(["text/html", "text/html", *TEXT_TYPES, "application/json", "text/x-bytes"]))
    if mimetype == "application/json":
        return draw(octets), mimetype
    content = draw(wrapped_texts)
    return (str(content).encode() if mimetype == "text/x-bytes" else content), mimetype


def _mails() -> st.SearchStrategy[Any]:
    """Mails to attach: bytes, text, Python's messages and Django's."""
    raw = [
        b"Subject: x\n\nbody",
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nFrom: a@example.com\r\n\r\nline\r\n.\r\n",
        b"Content-Type: text/plain; charset=latin-1\nContent-Transfer-Encoding: 8bit\n\n\xe9t\xe9",
        b"Content-Type: multipart/mixed; boundary=B\n\n--B\n\none\n--B\nContent-Type: image/png\n\n\x89\n--B--\n",
        b"no header at all",
        b"",
    ]
    return st.one_of(
        st.sampled_from(raw),
        st.sampled_from(raw[:2]).map(bytes.decode),
        st.sampled_from(raw[:4]).map(message_from_bytes),
        st.builds(
            lambda body, to: EmailMessage("Inner", body, "inner@example.com", to),
            texts,
            st.lists(addresses, max_size=1),
        ),
    )


@st.composite
def triples(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Attachments as (name, content, type)."""
    kind = draw(st.sampled_from(["text", "bytes as text", "binary", "guessed", "text as binary", "mail", "report"]))
    name = draw(names)
    if kind == "mail":
        return name, draw(_mails()), "message/rfc822"
    if kind == "report":
        return name, draw(octets), "message/delivery-status"
    if kind == "guessed":
        return draw(st.sampled_from(["a.txt", "a.bin", "a", "a.png"])), draw(octets), None
    content = draw(wrapped_texts.map(str) if kind.startswith("text") else octets)
    return name, content, draw(st.sampled_from(BINARY_TYPES if kind.endswith("binary") else TEXT_TYPES))


def _image(_: bytes) -> Any:
    image = MIMEImage(b"\x89PNG", "png")
    image.add_header("Content-ID", "<logo>")
    image.add_header("Content-Disposition", "inline", filename="logo.png")
    return image


def _related(data: bytes) -> Any:
    html = MIMEText('<img src="cid:logo">', "html", "utf-8")
    return MIMEMultipart("related", None, [html, _image(data)])


def _base(data: bytes) -> Any:
    part = MIMEBase("application", "x-thing", v="1")
    part.set_payload(data)
    part["Content-Description"] = "8 bit, and no encoding said"
    return part


def _modern(data: bytes) -> Any:
    part = MIMEPart()
    part.set_content(data, "image", "png", disposition="inline", filename="Grüße.png", cid="<logo>")
    return part


def _modern_related(data: bytes) -> Any:
    part = MIMEPart()
    part.set_content('<img src="cid:logo">', subtype="html")
    part.add_related(data, "image", "png", cid="<logo>")
    return part


def _latin(_: bytes) -> Any:
    return MIMEText("été\n", "plain", "iso-8859-1")


mime_parts = st.tuples(
    st.sampled_from([_image, _related, _base, _latin, *((_modern, _modern_related) * (django.VERSION >= (6, 0)))]),
    octets,
).map(lambda pair: pair[0](pair[1]))


def attach(message: EmailMessage, attachment: Any, *, how: str) -> None:
    """Attach as callers do: through the method, or straight into the list."""
    if not isinstance(attachment, tuple):
        message.attach(attachment)
    elif how == "attach" or attachment[2] is None:
        message.attach(*attachment)
    else:
        message.attachments.append(EmailAttachment(*attachment) if how == "named" else attachment)
