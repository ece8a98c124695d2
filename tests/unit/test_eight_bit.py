"""The same mail in seven bits."""

import email
import email.policy
from email.message import Message
from typing import Any

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.delivery.eight_bit import in_seven_bits
from mailqueue.delivery.letter import Letter
from mailqueue.delivery.wire import SealedLetter, seal
from tests.support.letters import RECIPIENT, SENDER, letter

lines = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")) | st.just("\n"), max_size=200)
names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20)
BACKEND = EmailBackend(alias="test", host="localhost", port=25)


def sealed(message: EmailMessage) -> SealedLetter:
    return seal(Letter(SENDER, [RECIPIENT], lambda: message), BACKEND)


def leaves(content: bytes) -> list[tuple[str, str | None, str | None, Any]]:
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    return [
        (part.get_content_type(), part.get_filename(), part.get_param("charset"), part.get_payload(decode=True))
        for part in parsed.walk()
        if not part.is_multipart()
    ]


def heads(content: bytes) -> list[list[tuple[str, str]]]:
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    return [
        sorted((name, str(value)) for name, value in part.items() if name != "Content-Transfer-Encoding")
        for part in parsed.walk()
    ]


@given(body=lines, html=lines, subject=names, text=lines, filename=names)
def test_a_mail_in_seven_bits_is_ascii_and_says_the_same(
    body: str, html: str, subject: str, text: str, filename: str
) -> None:
    message = EmailMultiAlternatives(subject, body, SENDER, [RECIPIENT])
    message.attach_alternative(html, "text/html")
    message.attach(f"{filename}.txt", text, "text/plain")
    message.attach("data.bin", bytes(range(256)), "application/octet-stream")
    before = sealed(message)
    after = before.in_seven_bits()

    assert (True, leaves(before.content), heads(before.content)) == (
        after.content.isascii(),
        leaves(after.content),
        heads(after.content),
    )


def test_a_message_within_a_message_is_encoded_too() -> None:
    inner = EmailMessage("Grüße", "Schöne Grüße\n", SENDER, [RECIPIENT])
    outer = EmailMessage("outer", "Grüße\n", SENDER, [RECIPIENT])
    outer.attach("inner.eml", inner, "message/rfc822")
    before = sealed(outer)
    after = before.in_seven_bits().content
    encodings = [part["Content-Transfer-Encoding"] for part in email.message_from_bytes(after).walk()]

    assert (False, True, leaves(before.content)) == (before.content.isascii(), after.isascii(), leaves(after))
    assert not {"8bit", "8BIT"} & set(encodings)


def test_what_is_signed_stays_as_it_is() -> None:
    content = (
        b'Content-Type: multipart/signed; boundary="x"; micalg="m"; protocol="p"\r\nMIME-Version: 1.0\r\n\r\n'
        b"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa4\r\n"
        b"--x\r\nContent-Type: application/p\r\n\r\nsig\r\n--x--\r\n"
    )

    assert content == in_seven_bits(content)


def test_a_multipart_says_of_itself_that_it_has_seven_bits() -> None:
    content = (
        b'Content-Type: multipart/mixed; boundary="x"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
        b"--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa4\r\n--x--\r\n"
    )
    outer, inner = email.message_from_bytes(in_seven_bits(content)).walk()

    assert ("7bit", "quoted-printable", b"\xc3\xa4") == (
        outer["Content-Transfer-Encoding"],
        inner["Content-Transfer-Encoding"],
        inner.get_payload(decode=True),
    )


@pytest.mark.parametrize(
    ("octets", "encoding"),
    [
        ("Grüße aus der Ferne\r\n".encode(), "quoted-printable"),
        ("äöü".encode() * 30 + b"\r\n", "base64"),
        (b"lone\rreturn \xe4\r\n", "base64"),
    ],
)
def test_a_text_takes_the_shorter_encoding_that_keeps_it(octets: bytes, encoding: str) -> None:
    head = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    parsed: Message = email.message_from_bytes(in_seven_bits(head + octets))

    assert encoding == parsed["Content-Transfer-Encoding"]


def test_what_was_encoded_wrongly_already_is_left_alone() -> None:
    content = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n\xe4\r\n"

    assert b"\xe4" in in_seven_bits(content)


def test_a_message_that_its_own_class_builds_is_not_touched() -> None:
    class Own(EmailMessage):
        def message(self, **options: Any) -> Any:
            return super().message(**options)

    given = sealed(Own("s", "Grüße\n", SENDER, [RECIPIENT]))

    assert (True, given) == (given.has_eight_bits, given.in_seven_bits())


def test_a_mail_in_ascii_stays_the_same_letter() -> None:
    given = seal(letter(), BACKEND)

    assert given is given.in_seven_bits()
