"""What a server must not be quoted with: the credentials that it was told, should it echo them."""

import base64
from dataclasses import replace
from typing import Any

from mailqueue.delivery.outcomes import Outcome, Reply

HIDDEN = b"***"


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
        octets = reply.text.encode(errors="surrogateescape")
        return replace(reply, text=self.hide(octets).decode(errors="surrogateescape"))


def _octets(value: Any) -> bytes:
    return str(value).encode(errors="surrogateescape") if value else b""
