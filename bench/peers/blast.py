"""A client that does nothing but fill the sink: shows what the sink bears.

Run as `python -m bench.peers.blast PORT COUNT CONNECTIONS IS_PIPELINED`.
"""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

from bench.mails import HTML, TEXT


def replies(connection: socket.socket, count: int) -> None:
    """Read so many replies, each of one line."""
    seen = 0
    while seen < count:
        data = connection.recv(4096)
        if not data:
            raise ConnectionError("the sink hung up")
        seen += data.count(b"\r\n")


def send(port: int, numbers: range, is_pipelined: bool) -> None:
    body = (TEXT + HTML).replace("\n", "\r\n").encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies(connection, 1)
        connection.sendall(b"HELO bench\r\n")
        replies(connection, 1)
        for number in numbers:
            name = f"blast-{number}@bench.example".encode()
            commands = [b"MAIL FROM:<shop@bench.example>\r\n", b"RCPT TO:<" + name + b">\r\n", b"DATA\r\n"]
            for group in [b"".join(commands)] if is_pipelined else commands:
                connection.sendall(group)
                replies(connection, len(commands) if is_pipelined else 1)
            connection.sendall(b"Message-ID: <" + name + b">\r\n\r\n" + body + b"\r\n.\r\n")
            replies(connection, 1)


def main(port: int, count: int, connections: int, is_pipelined: int) -> None:
    with ThreadPoolExecutor(connections) as pool:
        parts = [range(n, count, connections) for n in range(connections)]
        list(pool.map(lambda part: send(port, part, bool(is_pipelined)), parts))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
