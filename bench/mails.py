"""The mails that everybody sends: 1 KB of text and 2 KB of HTML, each to one recipient of its own."""

from dataclasses import dataclass

SENDER = "shop@bench.example"
SENTENCE = "Thank you for your order; we have packed it with care and it is on its way to you. "
TEXT_BYTES = 1024
HTML_BYTES = 2048


def _lines(size: int, *, before: str, after: str, end: str) -> str:
    text = before
    while len(text) + len(SENTENCE) + len(end) <= size:
        text += SENTENCE.strip() + end
    return text + after


TEXT = _lines(TEXT_BYTES, before="Hello,\n\n", after="\nYour shop\n", end="\n")
HTML = _lines(HTML_BYTES, before="<html><body><h1>Hello</h1>\n", after="</body></html>\n", end="<br>\n")


@dataclass(frozen=True, slots=True)
class Content:
    """What one mail says."""

    recipient: str
    subject: str
    text: str
    html: str


def content(number: int, *, prefix: str = "mail") -> Content:
    """Return the mail of that number."""
    return Content(f"{prefix}-{number}@bench.example", f"Your order {number}", TEXT, HTML)
