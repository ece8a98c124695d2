"""The development inbox: an SMTP server on loopback that keeps what it accepts in a Maildir.

It accepts everything, but for recipients by which one can see what becomes of a mail that a server refuses.
"""

import argparse
import asyncio
import signal
import sys
from functools import partial
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from project.dev.maildir import Maildir

FOLDER = Path(__file__).resolve().parents[2] / ".inbox"
HOST = "127.0.0.1"
REFUSALS = {
    "refuse": "550 5.1.1 No such mailbox: this inbox refuses whoever begins with refuse",
    "later": "451 4.7.1 Come back later: this inbox puts off whoever begins with later",
}
"""How the local part of a recipient begins, and what it is answered with."""


class Keeper:
    """What aiosmtpd calls for each mail."""

    def __init__(self, maildir: Maildir) -> None:
        self.maildir = maildir

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        for beginning, refusal in REFUSALS.items():
            if address.casefold().startswith(beginning):
                say(f"refused {address}: {refusal}")
                return refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        content = envelope.original_content or b""
        sender = envelope.mail_from or ""
        try:
            name = self.maildir.add(content, envelope_from=sender, recipients=envelope.rcpt_tos)
        except OSError as error:
            say(f"can't keep a mail: {error}")
            return f"451 4.3.0 Can't keep it: {error.strerror}"
        say(f"kept {name}")
        return f"250 2.0.0 Kept as {name}"


async def serve(maildir: Maildir, *, port: int) -> None:
    """Serve until TERM or INT; raise OSError where the port is taken."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    connection = partial(SMTP, Keeper(maildir), hostname="inbox.localhost", enable_SMTPUTF8=True, loop=loop)
    server = await loop.create_server(connection, HOST, port)
    say(f"listens on {HOST}:{server.sockets[0].getsockname()[1]} and keeps mail in {maildir.folder}")
    await stop.wait()
    server.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m project.dev.inbox", description="The development inbox.")
    parser.add_argument("--port", type=int, default=2525)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    try:
        asyncio.run(serve(Maildir(options.folder), port=options.port))
    except OSError as error:
        sys.exit(f"the inbox can't listen on {HOST}:{options.port}: {error.strerror}; choose another with --port")
    return 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
