from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from project.dev.reading import html_with_images, read, readable, safe_filename, summarize

PIECES = [
    b"Subject: =?utf-8?b?w6Q=?= x\r\n",
    b"Subject: =?nonsense?q?=FF?=\r\n",
    b"From: \xff\xfe <a@b>\r\n",
    b"Content-Type: text/plain; charset=base64\r\n",
    b"Content-Type: text/html; charset=idna\r\n",
    b"Content-Type: multipart/mixed; boundary=x\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Type: multipart/mixed\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: uuencode\r\n",
    b"Content-Disposition: attachment; filename*=nonsense''%FF%00\r\n",
    b"Content-Disposition: attachment; filename*0*=utf-8''..%2F; filename*1=x\r\n",
    b"\r\n",
    b"--x\r\n",
    b"--x--\r\n",
    b"\x00\xc3",
    b"=",
]


@given(source=st.one_of(st.binary(max_size=500), st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join)))
@example(source=b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" * 2000)
def test_no_mail_is_too_broken_to_be_shown(source: bytes) -> None:
    mail = read(source)
    shown = [*mail.texts, html_with_images(mail), *(text for pair in mail.headers for text in pair)]
    shown += [attachment.filename for attachment in mail.attachments] + list(vars_of(source))

    assert [text for text in shown if text != text.encode().decode()] == []


def vars_of(source: bytes) -> tuple[str, str, str]:
    summary = summarize(source)
    return summary.subject, summary.sender, summary.recipients


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("Hello =?utf-8?b?V8O2cmxk?=", "Hello Wörld"),
        ("=?utf-8?q?one?= =?utf-8?q?_two?=", "one two"),
        ("=?gb2312?b?xOO6ww==?=", "你好"),
        ("=?no-such-charset?q?caf=C3=A9?=", "café"),
        ("=?utf-8?b?broken", "=?utf-8?b?broken"),
        ("two\r\n lines", "two lines"),
    ],
)
def test_a_header_is_decoded_as_far_as_that_goes(value: str, expected: str) -> None:
    assert expected == readable(value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("invoice.pdf", "invoice.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.exe", "x.exe"),
        ("..", "attachment-7"),
        ("", "attachment-7"),
        ('a"b\n.txt', "a_b_.txt"),
        ("发票.pdf", "发票.pdf"),
    ],
)
def test_a_file_name_is_only_a_name(name: str, expected: str) -> None:
    assert expected == safe_filename(name, number=7)


def test_a_mail_is_taken_apart() -> None:
    message = EmailMessage()
    message["Subject"] = "Grüße"
    message.set_content("the text")
    message.add_alternative('<img src="cid:logo"><img src="cid:other">', subtype="html")
    message.get_payload()[1].add_related(b"PNG", "image", "png", cid="<logo>")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="invoice.pdf")
    inner = EmailMessage()
    inner.set_content("the mail inside")
    message.add_attachment(inner)

    mail = read(message.as_bytes())

    assert mail.header("subject") == "Grüße"
    assert mail.texts == ["the text\n"]
    assert html_with_images(mail) == '<img src="data:image/png;base64,UE5H"><img src="cid:other">\n'
    kinds = [(attachment.content_type, attachment.filename) for attachment in mail.attachments]
    assert kinds == [
        ("image/png", "attachment-1"),
        ("application/pdf", "invoice.pdf"),
        ("message/rfc822", "attachment-3"),
    ]
    assert mail.attachments[1].content == b"%PDF"
    assert b"the mail inside" in mail.attachments[2].content
