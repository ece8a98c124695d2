"""A message with octets beyond ASCII, encoded again for a server that takes seven bits only (RFC 6152)."""

import base64
import binascii
import email
from email.generator import BytesGenerator
from email.message import Message
from email.policy import compat32
from io import BytesIO
from typing import Any

_POLICY = compat32.clone(linesep="\r\n", max_line_length=None)


def in_seven_bits(content: bytes) -> bytes:
    """Return the same message in ASCII: texts as quoted-printable, or as base64 where that is shorter.

    `content` is a whole message with lines that end in CRLF. What is signed stays as it is: a signature holds for
    these very octets, and must be of seven bits already (RFC 1847, section 2.1).
    """
    message: Message = email.message_from_bytes(content, policy=compat32)
    if any(part.get_content_type() == "multipart/signed" for part in message.walk()):
        return content
    for part in message.walk():
        _narrow(part)
    target = BytesIO()
    BytesGenerator(target, mangle_from_=False, policy=_POLICY).flatten(message)
    return target.getvalue()


def _narrow(part: Message) -> None:
    if part.is_multipart():
        # Only 7bit, 8bit and binary may be said of what has parts (RFC 2045, section 6.4).
        if "Content-Transfer-Encoding" in part:
            part.replace_header("Content-Transfer-Encoding", "7bit")
        return
    is_encoded = str(part.get("Content-Transfer-Encoding", "8bit")).strip().lower() not in ("7bit", "8bit", "binary")
    octets: Any = part.get_payload(decode=True)
    if is_encoded or octets.isascii():
        return
    name, encoded = _encoded(octets)
    del part["Content-Transfer-Encoding"]
    part["Content-Transfer-Encoding"] = name
    part.set_payload(encoded.decode("ascii"))


def _encoded(octets: bytes) -> tuple[str, bytes]:
    in_base64 = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    if _has_lone_breaks(octets):
        return "base64", in_base64
    quoted = binascii.b2a_qp(octets, istext=True)
    return ("quoted-printable", quoted) if len(quoted) <= len(in_base64) else ("base64", in_base64)


def _has_lone_breaks(octets: bytes) -> bool:
    rest = octets.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest
