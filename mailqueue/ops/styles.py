"""Style sheets of a mail without what would fetch anything. Pure text, no parser: what is in doubt goes."""

import re
from collections.abc import Mapping

# CSS reads `\75rl(` as `url(` (CSS Syntax, section 4.3.7), so escapes go before anything is looked for.
ESCAPE = re.compile(r"\\(?:(?P<number>[0-9a-f]{1,6})\s?|.|$)", re.IGNORECASE | re.DOTALL)
FETCHING = re.compile(
    r"""
    url\(\s*(?P<quote>["']?)cid:(?P<content_id>[^"'()\s]+)(?P=quote)\s*\)
    | (?P<inline>url\(\s*["']?data:image/)
    | (?P<function>(?:url|src|image|image-set|cross-fade)\s*\()
    | @(?:import|font-face|namespace|document)
    """,
    re.IGNORECASE | re.VERBOSE,
)
LAST_CONTROL = 0x9F


def harmless_style(css: str, *, images: Mapping[str, str]) -> str:
    """Return style that fetches nothing. `images` are data URIs by Content-ID, which may stand in it.

    Escapes are replaced, never dropped: else what stands on both sides of one could come together to an end of the
    style sheet.
    """
    return FETCHING.sub(lambda found: _harmless(found, images), ESCAPE.sub(_unescaped, css))


def _unescaped(escape: re.Match[str]) -> str:
    number = int(escape["number"] or "0", 16)
    is_sound = LAST_CONTROL < number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
    return chr(number) if is_sound else " "


def _harmless(found: re.Match[str], images: Mapping[str, str]) -> str:
    if found["inline"]:
        return found[0]
    if found["content_id"]:
        image = images.get(found["content_id"])
        return f"url({found['quote']}{image}{found['quote']})" if image else "none"
    return "blocked(" if found["function"] else "@blocked"
