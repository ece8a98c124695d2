"""The HTML of a mail as a harmless document, whatever its author tries."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailqueue.ops.contents import Image
from mailqueue.ops.preview import Preview, preview_of
from mailqueue.ops.styles import harmless_style
from tests.support.hostile import hostile_html

HOST = "http://spy.example"
FETCHES = re.compile(r"\\|(?:url|src|image|image-set|cross-fade)\((?!\s*[\"']?data:image/)|@import", re.IGNORECASE)
GIF = {"logo@shop": Image("image/gif", b"GIF")}
LOGO = "data:image/gif;base64,R0lG"
PIECES = [
    *re.findall(r"<[^<]*|[^<]+", hostile_html(HOST)),
    *(
        "<style>",
        "</style>",
        "<style",
        "</",
        "style>",
        "<\\",
        "\\3c ",
        "/style",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "\x00",
    ),
    *(
        "url(",
        "u\\72l(",
        "ur\\l(",
        "image-set(",
        "@import",
        "@\\69mport",
        "'",
        '"',
        ">",
        "<link rel=preconnect href=//x>",
    ),
    *("<svg>", "</svg>", "<math>", "<title>", "<noscript>", "<table>", "<p title='<style>'>", "<select>", "<body "),
]


class Tags(HTMLParser):
    """Notes what stands in a document."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[tuple[str, str, str | None]] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        loading = {"src", "href", "srcset", "background", "poster", "data", "action", "ping", "srcdoc", "content"}
        self.addresses += [(tag, name, value) for name, value in attrs if name in loading]


def tags_of(document: str) -> Tags:
    tags = Tags()
    # The head is ours, and names a width and a colour scheme in `content`.
    tags.feed(document.partition("<body>")[2])
    return tags


def shown(html: str, *, shows_remote: bool = False) -> Preview:
    return preview_of(html, title="Mail 1", images=GIF, shows_remote=shows_remote)


def body(html: str, *, shows_remote: bool = False) -> str:
    document = shown(html, shows_remote=shows_remote).document
    return document.partition("<body>")[2].partition("</body>")[0]


@given(html=st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=30).map("".join))
@example(html=hostile_html(HOST))
def test_no_html_keeps_anything_that_acts(html: str) -> None:
    document = shown(html).document
    tags = tags_of(document)

    assert not tags.tags & {"script", "link", "meta", "base", "iframe", "object", "embed", "form", "svg", "input"}
    assert [] == tags.handlers
    assert {("img", "src")} >= {(tag, name) for tag, name, _ in tags.addresses}
    assert all((value or "").startswith("data:image/") for _, _, value in tags.addresses)


@given(css=st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=30).map("".join))
def test_no_style_fetches_anything_or_ends_before_its_end(css: str) -> None:
    style = harmless_style(css, images={})

    assert not FETCHES.search(style)
    assert "</style" in css.lower() or "</style" not in style.lower()


@pytest.mark.parametrize(
    ("css", "expected"),
    [
        ("color: red", "color: red"),
        ("background: url(http://x/y.png)", "background: blocked(http://x/y.png)"),
        ("background: URL( 'http://x' )", "background: blocked( 'http://x' )"),
        ("background: u\\72l(http://x)", "background: u l(http://x)"),
        ("background: url(data:image/png;base64,AA)", "background: url(data:image/png;base64,AA)"),
        ("background: url(data:text/html,AA)", "background: blocked(data:text/html,AA)"),
        ("background: url('cid:logo@shop')", f"background: url('{LOGO}')"),
        ("background: url( cid:logo@shop )", f"background: url({LOGO})"),
        ("background: url(cid:unknown)", "background: none"),
        ('@import "http://x"', '@blocked "http://x"'),
        ("@font-face { src: url(x) }", "@blocked { src: blocked(x) }"),
        ('content: "\\201C\\20 x"', 'content: "\u201c x"'),
        ("a<\\/style>", "a< style>"),
        ("a\\d800 b\\ffffff c\\", "a b c "),
    ],
)
def test_style_that_fetches_is_blocked_and_the_rest_stays(css: str, expected: str) -> None:
    assert expected == harmless_style(css, images={"logo@shop": LOGO})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("cid:logo@shop", f'<img src="{LOGO}">'),
        ("CID:logo%40shop", f'<img src="{LOGO}">'),
        ("cid:unknown", "<img>"),
        ("data:image/png;base64,AA", '<img src="data:image/png;base64,AA">'),
        ("data:text/html,AA", "<img>"),
        ("http://x/y.png", "<img>"),
        ("/logo.png", "<img>"),
        ("javascript:alert(1)", "<img>"),
    ],
)
def test_images_of_the_mail_itself_are_shown(address: str, expected: str) -> None:
    assert expected == body(f'<img src="{address}">')


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://x/y.png", "https://x/y.png"),
        ("//x/y.png", "https://x/y.png"),
        ("\\\\x/y.png", "https:\\\\x/y.png"),
        (" \tht\ntps://x/y.png", "https://x/y.png"),
        ("HTTP:\\\\x/y.png", "HTTP:\\\\x/y.png"),
    ],
)
def test_images_of_other_hosts_are_counted_and_shown_when_asked_for(address: str, expected: str) -> None:
    html = f'<img src="{address}"><img src="{address}">'

    assert [expected] == shown(html).remote_images
    assert "<img><img>" == body(html)
    assert f'<img src="{expected}">' * 2 == body(html, shows_remote=True)


def test_an_image_that_says_to_be_none_is_left_out() -> None:
    images = {"x": Image('image/x" onload="alert(1)', b"")}

    assert "<img>" in preview_of('<img src="cid:x">', title="", images=images).document


def test_links_lead_nowhere_and_are_listed() -> None:
    twice = '<a href=" https://x/a ">A</a><a href="https://x/a">B</a>'
    html = f'{twice}<a href="mailto:a@x">C</a><a href="javascript:x">D</a>'

    assert "<a>A</a><a>B</a><a>C</a><a>D</a>" == body(html)
    assert ["https://x/a", "mailto:a@x"] == shown(html).links


def test_the_look_of_a_mail_stays() -> None:
    html = (
        '<body style="margin: 0"><table bgcolor="#fff" width="600"><tbody><tr><td align="center">'
        '<font color="red">Hi</font></td></tr></tbody></table></body>'
    )

    assert html.replace("body ", "div ").replace("/body", "/div") == body(html)


def test_style_sheets_stay_without_what_they_fetch() -> None:
    html = '<style media="screen">p { color: red; background: url(http://x) }</style><p title="</style>">x</p>'

    assert '<style media="screen">p { color: red; background: blocked(http://x) }</style><p title="' in body(html)


def test_the_title_is_text() -> None:
    assert "<title>&lt;b&gt;</title>" in preview_of("", title="<b>", images={}).document
