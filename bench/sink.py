"""An SMTP server that takes everything, in a process of its own: counts messages and when they came.

Orders come as lines on its standard input and are answered by a line of JSON each; when that is closed, it ends.
"""

import asyncio
import json
import re
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

END_OF_MESSAGE = b"\r\n.\r\n"
MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
LONGEST_HEAD = 4096


@dataclass(slots=True)
class Tally:
    """What has been accepted since the last reset, and how the server behaves."""

    latency: float = 0.0
    """Seconds from the arrival of a command to its reply."""
    is_pipelining: bool = True
    first_at: float = 0.0
    last_at: float = 0.0
    accepted_count: int = 0
    duplicate_count: int = 0
    connection_count: int = 0
    moments: dict[str, float] = field(default_factory=dict)
    """When each recipient's message was accepted (CLOCK_MONOTONIC, which all processes share)."""
    message_ids: set[bytes] = field(default_factory=set)

    def accept(self, recipient: bytes, message_id: bytes) -> None:
        now = time.monotonic()
        self.first_at = self.first_at or now
        self.last_at = now
        self.accepted_count += 1
        address = recipient.decode("ascii", "replace")
        if address in self.moments or message_id in self.message_ids:
            self.duplicate_count += 1
            return
        self.moments[address] = now
        self.message_ids.add(message_id)

    def summary(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted_count,
            "duplicates": self.duplicate_count,
            "connections": self.connection_count,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "cpu_seconds": time.process_time(),
        }


class Session(asyncio.Protocol):
    """One connection. What arrives together is answered together, as a network would bring it."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._buffer = bytearray()
        self._is_in_message = False
        self._searched = 0
        self._recipient = b""
        self._waiting: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._server.tally.connection_count += 1
        self._answer(b"220 sink ready\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        replies: list[bytes] = []
        while self._take_message(replies) if self._is_in_message else self._take_line(replies):
            pass
        if replies:
            self._answer(b"".join(replies))

    def _take_message(self, replies: list[bytes]) -> bool:
        buffer = self._buffer
        end = 0 if buffer.startswith(b".\r\n") else buffer.find(END_OF_MESSAGE, self._searched)
        if end < 0:
            self._searched = max(0, len(buffer) - len(END_OF_MESSAGE) + 1)
            return False
        found = MESSAGE_ID.search(buffer, 0, min(end, LONGEST_HEAD))
        self._server.tally.accept(self._recipient, found[1] if found else self._recipient)
        del buffer[: end + (3 if end == 0 else len(END_OF_MESSAGE))]
        self._is_in_message, self._searched = False, 0
        replies.append(b"250 2.0.0 Ok\r\n")
        return True

    def _take_line(self, replies: list[bytes]) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        replies.append(self._reply(line))
        return True

    def _reply(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"RCPT":
            self._recipient = line[line.find(b"<") + 1 : line.rfind(b">")]
        elif verb == b"DATA":
            self._is_in_message = True
            return b"354 Go ahead\r\n"
        elif verb == b"EHLO":
            pipelining = b"250-PIPELINING\r\n" if self._server.tally.is_pipelining else b""
            return b"250-sink\r\n" + pipelining + b"250-8BITMIME\r\n250 SIZE 50000000\r\n"
        elif verb == b"QUIT":
            self._server.after(self._server.tally.latency, self._transport.close)
            return b"221 2.0.0 Bye\r\n"
        return b"250 2.0.0 Ok\r\n"

    def _answer(self, reply: bytes) -> None:
        if not self._server.tally.latency:
            self._transport.write(reply)
            return
        self._waiting.append(reply)
        self._server.after(self._server.tally.latency, self._write_next)

    def _write_next(self) -> None:
        self._transport.write(self._waiting.popleft())


class Server:
    """Listens, and obeys the orders."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.loop = asyncio.get_running_loop()

    def after(self, seconds: float, act: Any) -> None:
        if seconds:
            self.loop.call_later(seconds, act)
        else:
            self.loop.call_soon(act)

    async def run(self) -> None:
        server = await self.loop.create_server(lambda: Session(self), "127.0.0.1", 0, backlog=512)
        say({"port": server.sockets[0].getsockname()[1]})
        orders = asyncio.StreamReader()
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        while order := await orders.readline():
            say(self._obey(json.loads(order)))

    def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["order"] == "reset":
            self.tally = Tally(latency=order["latency"], is_pipelining=order["pipelining"])
        elif order["order"] == "moments":
            return self.tally.moments
        return self.tally.summary()


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main() -> None:
    await Server().run()


if __name__ == "__main__":
    asyncio.run(main())
