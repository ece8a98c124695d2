"""Whatever a message claims of itself, as much of it as can be told is shown."""

from hypothesis import example, given
from hypothesis import strategies as st

from mailqueue.ops.decoding import Decoded, decoded, head_of
from tests.unit.test_reading import PIECES

MORE = [
    b"Content-Type: text/plain; charset=utf-7\r\n",
    b"Content-Type: text/plain; charset*=nonsense''%FF\r\n",
    b"Content-Type: multipart/related; start=<r>; boundary=x\r\n",
    b"Content-Type: image/gif\r\n",
    b"Content-Type: \xff/\xfe\r\n",
    b"Content-ID: <r>\r\n",
    b"Content-Disposition: attachment\r\n",
    b"Subject: =?utf-8?b?a?=\r\n",
    b"Subject: =?unicode_escape?q?=5Cud800?=\r\n",
    b"X-Ref: =?utf-8?b?a?= =?\xe4?q?x?=\r\n",
    b"+2AA-\r\n",
]
sources = st.one_of(st.binary(max_size=500), st.lists(st.sampled_from([*PIECES, *MORE]), max_size=25).map(b"".join))


@given(source=sources)
@example(source=b"Subject: =?utf-8?b?a?=\r\n\r\nHello")
def test_no_message_is_too_broken_to_be_shown(source: bytes) -> None:
    subject, headers = head_of(source)
    found = decoded(source)
    shown = [subject, found.problem, *found.texts.values(), *(text for header in headers for text in header)]
    shown += [text for name, image in found.images.items() for text in (name, image.mimetype)]

    assert [] == [text for text in shown if text != text.encode(errors="replace").decode()]


def parts(related: bytes) -> bytes:
    return (
        b"Content-Type: multipart/related; boundary=x" + related + b"\n\n"
        b"--x\nContent-Type: text/html\nContent-ID: <a>\n\nfirst\n"
        b"--x\nContent-Type: text/html\nContent-ID: <b>\n\nsecond\n--x--\n"
    )


def test_the_text_is_the_part_that_the_others_are_related_to() -> None:
    found = [decoded(parts(related)).texts for related in (b"", b'; start="<b>"', b'; start="<c>"')]

    assert [{"html": "first"}, {"html": "second"}, {"html": "first"}] == found


def test_an_attached_text_is_not_the_text() -> None:
    found = decoded(b"Content-Disposition: attachment\nContent-Type: text/plain\n\nHello\n")

    assert Decoded(attachment_count=1) == found
