"""The HTML of a mail as a document that does nothing: it runs nothing, fetches nothing and leads nowhere.

The page that shows it must put it into a sandbox all the same: this is the second lock, and the only one for what no
sandbox knows of (a name looked up or a connection opened ahead of time, the address of the page told to a server).
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import unquote

import nh3

from mailqueue.ops.decoding import Image
from mailqueue.ops.styles import harmless_style

TAGS = """
    a abbr acronym address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del
    details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark
    nav ol p pre q rp rt ruby s samp section small span strike strong style sub summary sup table tbody td tfoot th
    thead time tr tt u ul var wbr
"""
GONE_WITH_CONTENT = """
    applet audio canvas embed frameset iframe math noembed noframes noscript object plaintext script select svg
    template textarea title video xmp
"""
ATTRIBUTES_OF_ALL = """
    align aria-hidden aria-label bgcolor border cellpadding cellspacing class color colspan dir face height hspace id
    lang nowrap role rowspan size span start style title type valign vspace width
"""
ATTRIBUTES = {
    "*": set(ATTRIBUTES_OF_ALL.split()),
    "a": {"href"},
    "details": {"open"},
    "img": {"alt", "src"},
    "style": {"media"},
}
"""Of these the sieve leaves an address in `src` of an image alone. A link leads nowhere: in somebody's mail it acts
for that person.
"""
SCHEMES = {"cid", "data", "http", "https", "mailto", "tel"}

# What browsers take out of an address, or in front of it, before they read it (WHATWG URL, section 4.4).
IGNORED = re.compile(r"^[\x00-\x20]+|[\t\n\r]")
REMOTE = re.compile(r"(?:https?:)?[/\\]{2}", re.IGNORECASE)
STYLE_SHEET = re.compile(r"(?P<begin><style\b[^>]*>)(?P<css>.*?)(?=</style)", re.IGNORECASE | re.DOTALL)
BODY = re.compile(r"<(/?)body\b", re.IGNORECASE)
IMAGE_TYPE = re.compile(r"image/[a-z0-9][a-z0-9.+-]*")

DOCUMENT = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">\
<meta name="color-scheme" content="only light"><title>{title}</title>
<style>html {{ background: #fff; color: #000; }} body {{ margin: 8px; overflow-wrap: break-word; }}
:where(a) {{ color: #0645ad; text-decoration: underline; }} :where(img) {{ max-width: 100%; }}</style></head>
<body>{content}</body></html>
"""


@dataclass(frozen=True, slots=True)
class Preview:
    """The HTML of one mail, to be shown in a sandbox."""

    document: str
    remote_images: list[str]
    """Addresses of its images on other hosts, each once."""
    links: list[str]
    """Where its links lead, each once; in the document they lead nowhere."""


def preview_of(html: str, *, title: str, images: Mapping[str, Image], shows_remote: bool = False) -> Preview:
    """Make a harmless document of the HTML of a mail. With `shows_remote` its `<img>`s of other hosts are fetched."""
    sieve = _Sieve({name: uri for name, image in images.items() if (uri := _data_uri(image))}, shows_remote)
    content = nh3.clean(
        # What the body is given, colours often, stays as a block's.
        BODY.sub(r"<\1div", html),
        tags=set(TAGS.split()),
        clean_content_tags=set(GONE_WITH_CONTENT.split()),
        attributes=ATTRIBUTES,
        attribute_filter=sieve.attribute,
        url_schemes=SCHEMES,
        link_rel=None,
    )
    content = STYLE_SHEET.sub(lambda sheet: sheet["begin"] + sieve.style(sheet["css"]), content)
    document = DOCUMENT.format(title=escape(title), content=content)
    return Preview(document, list(sieve.remote_images), list(sieve.links))


class _Sieve:
    """What stays of attributes and style sheets. It must not raise: nh3 would keep the attribute as it is."""

    def __init__(self, images: Mapping[str, str], shows_remote: bool) -> None:
        self._images = images
        self._shows_remote = shows_remote
        self.remote_images: dict[str, None] = {}
        self.links: dict[str, None] = {}

    def attribute(self, tag: str, name: str, value: str) -> str | None:
        if name == "style":
            return self.style(value)
        if (tag, name) == ("img", "src"):
            return self._image(IGNORED.sub("", value))
        if (tag, name) == ("a", "href"):
            self.links[value.strip()] = None
        return None if name in {"href", "src"} else value

    def style(self, css: str) -> str:
        return harmless_style(css, images=self._images)

    def _image(self, address: str) -> str | None:
        scheme = address[:11].lower()
        if scheme.startswith("cid:"):
            return self._images.get(unquote(address[4:]))
        if scheme == "data:image/":
            return address
        if not REMOTE.match(address):
            # Relative: a mail has no place that it could be relative to.
            return None
        remote = address if scheme.startswith("http") else f"https:{address}"
        self.remote_images[remote] = None
        return remote if self._shows_remote else None


def _data_uri(image: Image) -> str:
    if not IMAGE_TYPE.fullmatch(image.mimetype):
        return ""
    return f"data:{image.mimetype};base64,{base64.b64encode(image.data).decode()}"
