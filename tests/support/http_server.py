"""A scripted HTTP server on loopback, for APIs of mail services and for what a page may fetch: answers what a test
wants, and records what came.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What the server says."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpServer:
    """Answers every GET and POST with `answer`, which may be changed at any time. To be used as a context manager."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.connection_count = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._server = self._counting(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="http-server")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _counting(self, *arguments: Any) -> ThreadingHTTPServer:
        outer = self

        class Server(ThreadingHTTPServer):
            def get_request(self) -> Any:
                accepted = super().get_request()
                outer.connection_count += 1
                return accepted

        return Server(*arguments)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append(Request(self.path, self.headers, body))
                self.send_response(outer.answer.status)
                for name, value in {**outer.answer.headers, "Content-Length": str(len(outer.answer.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(outer.answer.body)

            do_GET = do_POST  # noqa: N815 (its name is http.server's)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
