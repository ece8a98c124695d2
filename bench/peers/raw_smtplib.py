"""The limit without building: threads that hand ready bytes to smtplib, each over one connection.

Run as `python -m bench.peers.raw_smtplib COUNT THREADS`.
"""

import re
import smtplib
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import django
from django.conf import settings

from bench.jobs.fill import message
from bench.mails import SENDER, content

MARK = "the-recipient@bench.example"


def ready_bytes(count: int) -> list[tuple[str, bytes]]:
    """Return recipients with whole messages, each with a Message-ID of its own, made from one that Django built."""
    built = message(content(0))
    built.to = [MARK]
    built.extra_headers = {"Message-ID": f"<{MARK}>"}
    whole = re.sub(rb"\r?\n", b"\r\n", built.message().as_bytes())
    return [(to, whole.replace(MARK.encode(), to.encode())) for to in (content(n).recipient for n in range(count))]


def send(mails: list[tuple[str, bytes]], port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as server:
        for recipient, whole in mails:
            server.sendmail(SENDER, [recipient], whole)


def main(count: int, threads: int) -> None:
    django.setup()
    mails = ready_bytes(count)
    with ThreadPoolExecutor(threads) as pool:
        list(
            pool.map(send, [part for n in range(threads) if (part := mails[n::threads])], repeat(settings.EMAIL_PORT))
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
