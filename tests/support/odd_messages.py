"""Messages with something wrong, or only unusual, in one to three places: hypothesis makes them."""

from typing import Any

from django.core.mail import EmailAlternative, EmailMultiAlternatives
from django.utils.functional import lazystr
from hypothesis import strategies as st

JANE = "jane@example.com"
USUAL: dict[str, Any] = {
    "subject": "Hi",
    "body": "Hello",
    "from_email": "shop@example.com",
    "to": [JANE],
    "cc": [],
    "bcc": [],
    "reply_to": [],
    "extra_headers": {},
    "attachments": [],
    "alternatives": [],
    "encoding": None,
    "content_subtype": "plain",
}
FRAGMENTS = ["\n", "\r\n", "\0", "\ud800", "\udc80", "\x0b", "\x0c", "\x85", "\u2028", "ü", "世", "=?utf-8?q?=FC?="]
FRAGMENTS += [*',;:<>@"\\()[] \t.', "a", "Jane"]
ADDRESSES = [
    JANE,
    "Jane Doe <jane@example.com>",
    '"Doe, Jane" <jane@example.com>',
    "Doe, Jane <jane@example.com>",
    "Dö" * 60 + " <jane@example.com>",
    "a@example.com, b@example.com",
    "team: a@example.com, b@example.com;",
    "undisclosed-recipients:;",
    "webmaster",
    "@example.com",
    "jane@",
    "jane@exämple.com",
    "jane@例え.jp",
    "jane@-.example",
    "jane@a..b",
    f"jane@{'x' * 64}.com",
    f"jane@{'ü' * 64}.com",
    "jane@[127.0.0.1]",
    "jane@example.com ",
    "jane@example.com\n",
    "jane@example.com (home)",
    '"jane doe"@example.com',
    '"jane\ndoe"@example.com',
    "Jane\n <jane@example.com>",
    "dörte@example.com",
    "",
]
HEADERS = ["X-Shop", "Message-ID", "message-id", "Date", "From", "To", "Bcc", "Sender", "Subject", "List-Id"]
HEADERS += ["Content-Type", "Content-Transfer-Encoding", "MIME-Version", "References", "Resent-To"]
MIMETYPES = ["text/plain", "text/html", "text/calendar; method=REQUEST", "application/pdf", "message/rfc822"]
MIMETYPES += ["message/delivery-status", "message/partial", "multipart/mixed", "pdf", "", "a/b/c"]
NO_TEXTS: list[Any] = [None, 0, 5, b"jane@example.com", b"\xff", ("Jane", JANE), [JANE]]

texts = (
    st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join)
    | st.text(max_size=20)
    | st.sampled_from(["x" * 2000, "ü" * 2000, "x " * 1000])
)
values = texts | texts.map(lazystr) | st.sampled_from(NO_TEXTS)
shapes = st.sampled_from(["{}", "{}@example.com", "jane@{}.com", "{} <jane@example.com>", '"{}" <jane@example.com>'])
written = st.sampled_from(ADDRESSES) | st.builds(str.format, shapes, texts)
lists = st.lists(written | written.map(lazystr) | st.sampled_from(NO_TEXTS), max_size=2)
contents = values | st.binary(max_size=20) | st.sampled_from([bytearray(b"x"), b"Subject: x\n\nx"])
types = st.sampled_from(MIMETYPES) | texts.map(lambda text: f"application/{text}") | st.none()
fields = {
    "subject": values,
    "body": values,
    "from_email": written | values,
    "to": lists | lists.map(tuple) | written | st.none(),
    "cc": lists | lists.map(tuple),
    "bcc": lists,
    "reply_to": lists,
    "extra_headers": st.dictionaries(st.sampled_from(HEADERS) | texts, values | written, max_size=2),
    "attachments": st.lists(st.tuples(values, contents, types), max_size=2),
    "alternatives": st.lists(st.builds(EmailAlternative, contents, types), max_size=2),
    "encoding": st.sampled_from(["utf-8", "latin-1", "us-ascii", "iso-2022-jp", "nope", 5, ""]),
    "content_subtype": st.sampled_from(["html", "calendar", "", "x\ny"]),
}


@st.composite
def odd_fields(draw: st.DrawFn) -> dict[str, Any]:
    """What to set on a message."""
    names = draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3, unique=True))
    return USUAL | {name: draw(fields[name]) for name in names}


def made_of(given: dict[str, Any]) -> EmailMultiAlternatives:
    """Make a message, also of what its constructor would not take."""
    message = EmailMultiAlternatives()
    for name, value in given.items():
        if value is not getattr(message, name):  # what was never touched looks so
            setattr(message, name, value)
    return message


def names_a_mailbox_in_utf8(given: dict[str, Any]) -> bool:
    """Whether there are non-ASCII characters before the @ of a sender or recipient."""
    for name in ("from_email", "to", "cc", "bcc"):
        addresses = given[name] if isinstance(given[name], list | tuple) else [given[name]]
        mailboxes = [str(address).rpartition("<")[2] for address in addresses]
        if not all((box.rpartition("@")[0] or box).isascii() for box in mailboxes):
            return True
    return False
