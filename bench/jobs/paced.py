"""Queues mails one at a time while a sender runs, and says when each was committed."""

import random
import sys
import time
from pathlib import Path

from django.db import transaction

from bench.jobs.fill import arguments, message
from bench.jobs.writers import order_and_mail
from bench.mails import Content, content
from bench.processes import READY

SEED = 5


class Stamps:
    """When each mail's transaction was committed (monotonic seconds), by recipient."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def after_commit(self, recipient: str) -> None:
        """Note the moment when COMMIT has returned, before anything else that waits for it is done."""

        def note() -> None:
            self.at[recipient] = time.monotonic()

        transaction.on_commit(note)


def one_by_one(count: int, least: float, most: float, prefix: str, sends_after_commit: bool) -> dict[str, float]:
    """Queue an order with its mail every so many seconds, evenly spread between `least` and `most`.

    `sends_after_commit` is for Celery: what it is given inside the transaction may be sent before there is an order.
    """
    stamps = Stamps()
    if sends_after_commit:
        from bench.peers import celery_app  # noqa: F401 - tasks are sent through this app

    def send(mail: Content) -> None:
        stamps.after_commit(mail.recipient)
        if sends_after_commit:
            transaction.on_commit(message(mail).send)
        else:
            message(mail).send()

    pauses = random.Random(SEED)  # noqa: S311 - spreads mails, guards nothing
    for number in range(count):
        time.sleep(pauses.uniform(least, most))
        order_and_mail(number, send, prefix)
    return stamps.at


def hot(count: int, pause: float, go: str) -> dict[str, float]:
    """When the file `go` is there, queue mails of the highest priority."""
    from mailqueue import send

    stamps = Stamps()
    with transaction.atomic():
        pass  # connects
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()
    while not Path(go).exists():
        time.sleep(0.005)
    for number in range(count):
        mail = content(number, prefix="hot")
        with transaction.atomic():
            stamps.after_commit(mail.recipient)
            send(**arguments(mail, priority="now"))
        time.sleep(pause)
    return stamps.at
