"""A TCP proxy on loopback for tests: between a client and its server, it can stop forwarding without closing."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from urllib.parse import parse_qs, urlencode, urlsplit

CHUNK = 65_536
Change = Callable[[bytes], bytes]
"""Sees what passes in one direction of one connection, and may change it."""
POSTGRES_PORT = 5432


class Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(
        self, client: socket.socket, server: socket.socket | None, *, asked: Change, answered: Change
    ) -> None:
        self.sockets = [client] if server is None else [client, server]
        self.is_dead = server is None
        """Nothing is forwarded on it any more, in either direction, and nobody is told."""
        self.is_mute = False
        """What the server answers is dropped."""
        if server is not None:
            threading.Thread(target=self._pump, args=(client, server, asked), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, answered), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, change: Change) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if self.is_dead:
                    return
                if not (self.is_mute and target is self.sockets[0]):
                    target.sendall(change(data))
        if not self.is_dead:
            self.close()

    def close(self) -> None:
        for sock in self.sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


class TcpProxy:
    """Forwards to a TCP or Unix socket. Use it as a context manager.

    While it is frozen, what is open stays open and never carries anything again. Who connects then is let in and hears
    nothing. `asked` and `answered` make, for each connection, what sees and may change its traffic.
    """

    def __init__(
        self,
        target: tuple[str, int] | str,
        *,
        asked: Callable[[], Change] = lambda: bytes,
        answered: Callable[[], Change] = lambda: bytes,
    ) -> None:
        self._target = target
        self._asked, self._answered = asked, answered
        self._is_frozen = False
        self._links: list[Link] = []
        self._lock = threading.Lock()
        # Bound, but deaf: keeps the port ours while nobody may connect.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._reserved.close()

    def freeze(self) -> None:
        """Drop everything from now on, in both directions, and close nothing."""
        with self._lock:
            self._is_frozen = True
            for link in self._links:
                link.is_dead = True

    def mute(self) -> None:
        """Let through what is asked on the connections that are open, and drop every answer."""
        with self._lock:
            for link in self._links:
                link.is_mute = True

    def thaw(self) -> None:
        """Serve those who connect from now on. What was open before stays dead."""
        with self._lock:
            self._is_frozen = False

    def refuse(self) -> None:
        """Close everything, and let nobody connect."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for link in self._links:
                link.close()
            self._links.clear()

    def listen(self) -> None:
        """Let them connect again after `refuse`."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock, suppress(OSError):
                server = None if self._is_frozen else self._connect()
                self._links.append(Link(client, server, asked=self._asked(), answered=self._answered()))

    def _connect(self) -> socket.socket:
        if isinstance(self._target, tuple):
            return socket.create_connection(self._target)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        return server


def target_of(database_url: str) -> tuple[str, int] | str:
    """Return where the Postgres of a DATABASE_URL listens."""
    url = urlsplit(database_url)
    folder = parse_qs(url.query).get("host", [""])[0]
    if folder.startswith("/"):
        return f"{folder}/.s.PGSQL.{url.port or POSTGRES_PORT}"
    return (url.hostname or folder or "127.0.0.1", url.port or POSTGRES_PORT)


def url_through(proxy: TcpProxy, database_url: str, **options: str) -> str:
    """Return a DATABASE_URL for the same database, by way of the proxy."""
    url = urlsplit(database_url)
    credentials = f"{url.netloc.rpartition('@')[0]}@" if "@" in url.netloc else ""
    query = {name: values[0] for name, values in parse_qs(url.query).items() if name not in ("host", "port")} | options
    return url._replace(netloc=f"{credentials}127.0.0.1:{proxy.port}", query=urlencode(query)).geturl()
