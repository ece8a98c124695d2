"""An SMTP server on loopback that says the octets it is told to, in step with what it is asked or not."""

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

FRIENDLY = {
    "GREETING": b"220 loose ESMTP\r\n",
    "EHLO": b"250-loose\r\n250 PIPELINING\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 go ahead\r\n",
    "BODY": b"250 2.0.0 Ok: queued\r\n",
    "RSET": b"250 2.0.0 Ok\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}


class LooseSmtp:
    """Answers each verb with raw octets. Use it as a context manager.

    With `forgets` it answers only the first of the commands that come together, and drops the others.
    """

    host = "127.0.0.1"

    def __init__(self, answers: Mapping[str, bytes] | None = None, *, forgets: bool = False) -> None:
        self._answers = FRIENDLY | dict(answers or {})
        self._forgets = forgets
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.arrivals: list[list[bytes]] = []
        """For each connection, what came at a time."""
        self.message_count = 0

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join()

    def _run(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self.arrivals.append([])
                self._run(self._serve, client, self.arrivals[-1])

    def _serve(self, client: socket.socket, arrivals: list[bytes]) -> None:
        with suppress(OSError):
            client.sendall(self._answers["GREETING"])
            while chunk := client.recv(65_536):
                arrivals.append(chunk)
                client.sendall(self._reply(chunk))

    def _reply(self, chunk: bytes) -> bytes:
        """A message comes with its dot in one piece, as short ones do."""
        if chunk == b".\r\n" or chunk.endswith(b"\r\n.\r\n"):
            self.message_count += chunk != b".\r\n"
            return self._answers["BODY"]
        verbs = [line[:4].decode().upper() for line in chunk.splitlines()]
        return b"".join(self._answers.get(verb, b"500 what\r\n") for verb in (verbs[:1] if self._forgets else verbs))
