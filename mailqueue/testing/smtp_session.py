"""One client's session with the scripted SMTP server: the protocol (RFC 5321), without a word of its own."""

import asyncio
import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from mailqueue.testing.smtp_script import Answer, Command, CutBody, Drop, Silence, Unanswered

if TYPE_CHECKING:
    from mailqueue.testing.smtp_server import SmtpServer

END_OF_BODY = b"\r\n.\r\n"
TOO_LARGE = "552 5.3.4 Message size exceeds fixed limit"
NEEDS_UTF8 = "553 5.6.7 Address needs SMTPUTF8"


class Session(asyncio.Protocol):
    """What one client said, and the state that it is in."""

    def __init__(self, server: "SmtpServer") -> None:
        self.server = server
        self.number = 0
        """The first one has 1."""
        self.commands: list[str] = []
        """Every command line, "." for a final dot; credentials left out."""
        self.is_open = False
        self.is_turned_away = False
        """There were too many connections already."""
        self.is_encrypted = False
        self.is_resumed = False
        """The client offered the TLS session of an earlier connection, and it was taken."""
        self.pipelined = False
        """The client sent more before it had the reply to a command (RFC 2920)."""
        self.takes_utf8 = False
        """The mail that is being offered needs SMTPUTF8 (RFC 6531), as the client said."""
        self.user = ""
        """Who logged in."""
        self.envelope_from: str | None = None
        self.recipients: list[str] = []
        self._buffer = bytearray()
        self._is_busy = False
        self._is_late = False
        self._arrived_at = 0.0
        self._body_limit: int | None = None
        self._in_body = False
        self._searched = 0
        self._challenged: list[str] | None = None
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")
        self._arrived_at = asyncio.get_running_loop().time()
        self.is_open = True
        self.server._opened(self)
        if self.server.tls == "implicit":
            self._is_busy = True
            self._begin_encryption()
        else:
            self._greet()

    @property
    def is_served(self) -> bool:
        """The connection counts: it is open, was not turned away, and nobody is about to close it."""
        return self.is_open and not self.is_turned_away and not self._transport.is_closing()

    def _greet(self) -> None:
        too_many = Drop(self.server.limits.connection_reply)
        self._perform("GREETING", default=too_many if self.is_turned_away else f"220 {self.server.name} ESMTP")

    def connection_lost(self, _exc: Exception | None) -> None:
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        """Tell that the session is over, once asyncio has closed the socket too."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().call_soon(self._end)
            return
        self.is_open = False
        self.server._closed(self)

    def data_received(self, data: bytes) -> None:
        self._arrived_at = asyncio.get_running_loop().time()
        self.pipelined |= self._is_late
        self._buffer += data
        self._pump()

    def drop(self) -> None:
        self._is_busy = True
        if self._handshake is not None:
            self._handshake.cancel()
        self._transport.abort()

    def _pump(self) -> None:
        while not self._is_busy and (self._take_body() if self._in_body else self._take_line()):
            pass

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0:
            return False
        line = self._buffer[:end].decode(errors="surrogateescape").rstrip("\r")
        del self._buffer[: end + 1]
        self.pipelined |= bool(self._buffer)
        if self._challenged is not None:
            self._authenticate(line)
            return True
        verb, _, argument = line.partition(" ")
        self.commands.append(f"{verb} {argument.split(' ')[0]}" if verb.upper() == "AUTH" else line)
        handler = getattr(self, f"_on_{verb.lower()}", self._on_unknown)
        handler(argument)
        return True

    def _take_body(self) -> bool:
        """Look for the end of the message. The buffer begins with a line end of ours: an empty message ends too."""
        if self._body_limit is not None and len(self._buffer) - 2 >= self._body_limit:
            self.drop()
            return False
        end = self._buffer.find(END_OF_BODY, max(self._searched - len(END_OF_BODY), 0))
        self._searched = len(self._buffer)
        if end < 0:
            return False
        content = bytes(self._buffer[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]
        del self._buffer[: end + len(END_OF_BODY)]
        self._in_body = False
        self.pipelined |= bool(self._buffer)
        self.commands.append(".")
        limit = self.server.size_limit
        too_large = limit is not None and len(content) > limit
        self._perform("BODY", content=content, default=TOO_LARGE if too_large else "250 2.0.0 Ok: queued")
        return True

    def _perform(
        self, verb: str, argument: str = "", *, content: bytes = b"", default: Answer | Callable[[], Answer]
    ) -> None:
        """Ask the script what to do, do it, and draw from it what the client will believe.

        A default that costs something, as a limit's word does, is a function: it is asked when the script has no word.
        """
        answer = self.server.script.answer(Command(self, verb, argument, content))
        if not answer:
            answer = default() if callable(default) else default
        self.server._answered(_code(answer))
        if isinstance(answer, str):
            self._conclude(verb, argument, code=answer[:3], content=content)
            self._say(answer, then=verb)
        elif isinstance(answer, CutBody):
            self._body_limit = answer.octets
            self._conclude(verb, argument, code="354", content=content)
            self._say("354 go ahead", then=verb)
        elif isinstance(answer, Unanswered):
            self._conclude(verb, argument, code="250", content=content)
            self._leave(drop=answer.drop)
        elif isinstance(answer, Drop) and answer.reply:
            self._say(answer.reply, then="QUIT")
        else:
            self._leave(drop=not isinstance(answer, Silence))

    def _leave(self, *, drop: bool) -> None:
        self._is_busy = True
        if drop:
            self.drop()

    def _conclude(self, verb: str, argument: str, *, code: str, content: bytes) -> None:
        if verb == "BODY":
            if code.startswith("2"):
                self.server._accepted(self, content)
            self._forget()
        elif verb == "DATA" and code == "354":
            self._buffer[:0] = b"\r\n"
            self._in_body, self._searched = True, 0
        elif verb == "MAIL" and code.startswith("2"):
            self.envelope_from, self.recipients = _path(argument), []
        elif verb == "RCPT" and code.startswith("2"):
            self.recipients.append(_path(argument))
        elif verb in {"RSET", "EHLO", "HELO"}:
            self._forget()

    def _forget(self) -> None:
        self.envelope_from, self.recipients = None, []

    def _say(self, reply: str, *, then: str = "") -> None:
        """Reply when the latency is over that began as the command came: commands sent together share it."""
        self._is_busy = True
        loop = asyncio.get_running_loop()
        due_at = self._arrived_at + self.server.latency
        if self.server.latency and due_at > loop.time():
            self._is_late = True
            loop.call_at(due_at, self._write_late, reply, then)
        else:
            self._write(reply, then)

    def _write_late(self, reply: str, then: str) -> None:
        self._is_late = False
        self._write(reply, then)
        self._pump()

    def _write(self, reply: str, then: str) -> None:
        if self._transport.is_closing():
            return
        code, lines = reply[:3], reply[4:].split("\n")
        text = "".join(f"{code}-{line}\r\n" for line in lines[:-1]) + f"{code} {lines[-1]}\r\n"
        if (then, code) == ("STARTTLS", "220"):
            self._begin_encryption()
        self._transport.write(text.encode("latin-1"))
        if then == "QUIT":
            self._transport.close()
        elif (then, code) != ("STARTTLS", "220"):
            self._is_busy = False

    def _on_ehlo(self, argument: str) -> None:
        self._perform("EHLO", argument, default="250 " + "\n".join([self.server.name, *self._features()]))

    def _features(self) -> list[str]:
        features = list(self.server.extensions)
        if self.server.pipelining:
            features.append("PIPELINING")
        if self.server.size_limit is not None:
            features.append(f"SIZE {self.server.size_limit}")
        if self.server.tls == "starttls" and not self.is_encrypted:
            features.append("STARTTLS")
        if self.server.users:
            features.append("AUTH PLAIN LOGIN")
        return features

    def _on_helo(self, argument: str) -> None:
        self._perform("HELO", argument, default=f"250 {self.server.name}")

    def _on_mail(self, argument: str) -> None:
        self.takes_utf8 = " SMTPUTF8" in argument
        self._perform("MAIL", argument, default=lambda: self._judge_sender(argument))

    def _judge_sender(self, argument: str) -> str:
        if self.server.users and not self.user:
            return "530 5.7.0 Authentication required"
        if self.server.size_limit and _size(argument) > self.server.size_limit:
            return TOO_LARGE
        if " SMTPUTF8" in argument and "SMTPUTF8" not in self.server.extensions:
            return "555 5.5.4 Unsupported option: SMTPUTF8"
        if not self._can_read(argument):
            return NEEDS_UTF8
        if self.envelope_from is not None:
            return "503 5.5.1 Nested MAIL command"
        return self.server._refuse_message() or "250 2.1.0 Ok"

    def _on_rcpt(self, argument: str) -> None:
        self._perform("RCPT", argument, default=lambda: self._judge_recipient(argument))

    def _judge_recipient(self, argument: str) -> str:
        if self.envelope_from is None:
            return "503 5.5.1 Need MAIL command"
        if not self._can_read(argument):
            return NEEDS_UTF8
        return self.server._refuse_recipient(self) or "250 2.1.5 Ok"

    def _can_read(self, argument: str) -> bool:
        return self.takes_utf8 or argument.isascii()

    def _on_data(self, argument: str) -> None:
        default = "354 End data with <CR><LF>.<CR><LF>" if self.recipients else "503 5.5.1 No valid recipients"
        self._perform("DATA", argument, default=default)

    def _on_rset(self, argument: str) -> None:
        self._perform("RSET", argument, default="250 2.0.0 Ok")

    def _on_noop(self, argument: str) -> None:
        self._perform("NOOP", argument, default="250 2.0.0 Ok")

    def _on_quit(self, argument: str) -> None:
        self._perform("QUIT", argument, default="221 2.0.0 Bye")

    def _on_starttls(self, argument: str) -> None:
        is_offered = "STARTTLS" in self._features()
        self._perform("STARTTLS", argument, default="220 2.0.0 Ready" if is_offered else "502 5.5.1 Not offered")

    def _on_auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        self._challenged = [mechanism.upper()]
        if initial:
            self._authenticate(initial)
        else:
            self._say("334 ")

    def _authenticate(self, response: str) -> None:
        if self._challenged is None:
            raise RuntimeError("nobody was asked for credentials")
        self._challenged.append(base64.b64decode(response).decode())
        mechanism, *responses = self._challenged
        if mechanism == "LOGIN" and len(responses) < 2:
            self._say("334 UGFzc3dvcmQ6")
            return
        self._challenged = None
        user, password = responses if mechanism == "LOGIN" else responses[0].split("\0")[1:]
        is_known = self.server.users.get(user) == password
        self.user = user if is_known else ""
        self._perform("AUTH", user, default="235 2.7.0 Ok" if is_known else "535 5.7.8 Authentication failed")

    def _on_unknown(self, _argument: str) -> None:
        self.server._answered("502")
        self._say("502 5.5.2 Command not recognized")

    def _begin_encryption(self) -> None:
        # The client's handshake must not be read before the transport expects it.
        self._transport.pause_reading()
        self._handshake = self.server._spawn(self._encrypt())

    async def _encrypt(self) -> None:
        loop = asyncio.get_running_loop()
        context = self.server.ssl_context()
        self._buffer.clear()
        try:
            transport = await loop.start_tls(self._transport, self, context, server_side=True)
        except (OSError, asyncio.CancelledError):
            # asyncio tells nobody of a connection that ends in the handshake.
            self._transport.abort()
            self.connection_lost(None)
            return
        finally:
            self._handshake = None
        if transport is None:
            return
        self._transport, self.is_encrypted, self._is_busy = transport, True, False
        self.is_resumed = bool(transport.get_extra_info("ssl_object").session_reused)
        if self.server.tls == "implicit":
            self._greet()
        self._pump()


def _code(answer: Answer) -> str:
    """Return the code that the client gets to see, or ""."""
    if isinstance(answer, CutBody):
        return "354"
    return (answer if isinstance(answer, str) else answer.reply if isinstance(answer, Drop) else "")[:3]


def _path(argument: str) -> str:
    return argument.partition(":")[2].partition("<")[2].partition(">")[0]


def _size(argument: str) -> int:
    size = argument.upper().partition(" SIZE=")[2].partition(" ")[0]
    return int(size or 0)
