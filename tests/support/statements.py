"""What a program says to Postgres, read off the wire: the frontend's messages of the protocol, version 3."""

import re
import struct
import threading
from collections.abc import Callable

LENGTH = struct.Struct("!I")
STARTUP, TYPED = 0, 1
"""How many octets stand before the length of the first message, and of all others."""
UNENCRYPTED = {"sslmode": "disable", "gssencmode": "disable"}
"""Options of a database url without which there is nothing to read."""
OTHER_PROCESS = b"K\x00\x00\x00\x0c\x00\x00\x00\x01"


class Statements:
    """Everything that was executed, in order, and how much of it was prepared first."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.prepared_count = 0
        self._lock = threading.Lock()

    def overhear(self) -> Callable[[bytes], bytes]:
        """Return what reads one more connection."""
        buffer, head, texts, portals = bytearray(), STARTUP, dict[bytes, str](), dict[bytes, bytes]()

        def read(data: bytes) -> bytes:
            nonlocal head
            buffer.extend(data)
            while len(buffer) >= head + LENGTH.size:
                size = head + LENGTH.unpack_from(buffer, head)[0]
                if len(buffer) < size:
                    break
                kind, body = bytes(buffer[:head]), bytes(buffer[head + LENGTH.size : size])
                del buffer[:size]
                head = TYPED
                self._note(kind, body, texts, portals)
            return data

        return read

    def _note(self, kind: bytes, body: bytes, texts: dict[bytes, str], portals: dict[bytes, bytes]) -> None:
        first, _, rest = body.partition(b"\0")
        with self._lock:
            if kind == b"Q":  # a text, of one statement or several
                self.executed += [text.strip() for text in first.decode().split(";") if text.strip()]
            elif kind == b"P":  # parse, under a name
                texts[first] = rest.partition(b"\0")[0].decode().strip()
                self.prepared_count += bool(first)
            elif kind == b"B":  # bind to a portal
                portals[first] = rest.partition(b"\0")[0]
            elif kind == b"E":
                self.executed.append(texts[portals[first]])


def as_a_pooler(data: bytes) -> bytes:
    """Give the client another number of its process (BackendKeyData) than the server has."""
    return re.sub(rb"K\x00\x00\x00\x0c.{4}", OTHER_PROCESS, data, flags=re.DOTALL)
