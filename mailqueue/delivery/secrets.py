"""What a server must not be quoted with: the credentials that it was told, should it echo them."""

import base64
from dataclasses import replace
from typing import Any

from mailqueue.delivery.classify import REPLY_LENGTH
from mailqueue.delivery.outcomes import Outcome, Reply
from mailqueue.delivery.tally import REASON_LENGTH

HIDDEN = b"***"
CUT_LENGTHS = (REPLY_LENGTH, REASON_LENGTH)
"""A text of just this length may have been longer, and its end may be the beginning of a secret."""


class Secrets:
    """The password of a backend, in the shapes in which SMTP carries it (RFC 4616, RFC 4954)."""

    def __init__(self, backend: Any) -> None:
        user, password = (_octets(getattr(backend, name, None)) for name in ("username", "password"))
        plain = b"\0%s\0%s" % (user, password)
        shapes = (base64.b64encode(plain), plain, base64.b64encode(password), password)
        # The longest first: the password may be within another shape.
        self._shapes = tuple(shape for shape in shapes if shape) if password else ()

    def __repr__(self) -> str:
        return "<Secrets>"

    def hide(self, said: bytes | str) -> bytes:
        """Return what a server said without them."""
        said = _octets(said) if isinstance(said, str) else said
        for shape in self._shapes:
            said = said.replace(shape, HIDDEN)
        return said

    def hide_in(self, outcome: Outcome) -> Outcome:
        """Return an outcome without them."""
        if not self._shapes:
            return outcome
        recipients = {
            address: replace(result, reply=self._hide_in_reply(result.reply))
            for address, result in outcome.recipients.items()
        }
        return replace(outcome, reply=self._hide_in_reply(outcome.reply), recipients=recipients)

    def _hide_in_reply(self, reply: Reply) -> Reply:
        said = self.hide(reply.text)
        if len(reply.text) in CUT_LENGTHS:
            said = self._hide_half(said)
        return replace(reply, text=said.decode(errors="surrogateescape"))

    def _hide_half(self, said: bytes) -> bytes:
        """Hide the beginning of a secret at the end of a text."""
        halves = (shape[:length] for shape in self._shapes for length in range(1, len(shape)))
        half = max((half for half in halves if said.endswith(half)), key=len, default=b"")
        return said.removesuffix(half) + HIDDEN if half else said


def _octets(value: Any) -> bytes:
    return str(value).encode(errors="surrogateescape") if value else b""
