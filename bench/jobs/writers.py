"""Writes orders and their mail, as a site would, and times it."""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import format_datetime, make_msgid
from typing import Any

import psycopg
from django.core.mail import get_connection
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from bench.jobs.fill import arguments, batches, message
from bench.mails import SENDER, Content, content
from bench.orders.models import Order

INSERT = """
INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status, priority,
    backend_alias, created, last_updated, message_id, headers)
VALUES (%s, %s, '', '', %s, %s, %s, 2, 1, '', %s, %s, %s, %s) RETURNING id
"""
SEND_MANY = {"mailqueue": "mailqueue.send_many", "post_office": "post_office.mail.send_many"}
"""The others' way is Django's: `send_messages` of their backend."""
ORDER = ("without", "with", "with", "without") * 2
"""Which turn of concurrent writers wakes senders: so that a machine that gets slower is no one's fault."""


def _nothing(_mail: Content) -> None:
    pass


def _by_django(mail: Content) -> None:
    message(mail).send()


def _by_mailqueue(mail: Content) -> None:
    from mailqueue import send

    send(**arguments(mail))


def _by_post_office(mail: Content) -> None:
    from post_office.mail import send

    send(**arguments(mail))


def _by_celery(mail: Content) -> None:
    from bench.peers import celery_app  # noqa: F401 - tasks are sent through this app

    message(mail).send()


def _by_insert(mail: Content) -> None:
    """Write a row like that of the mail through Django's cursor, and do nothing else."""
    now = timezone.now()
    headers = json.dumps({"Date": format_datetime(now)})
    message_id = make_msgid(domain="bench.example")
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT, [SENDER, mail.recipient, mail.subject, mail.text, mail.html, now, now, message_id, headers]
        )


WAYS: dict[str, Callable[[Content], None]] = {
    "order alone": _nothing,
    "django": _by_django,
    "mailqueue": _by_mailqueue,
    "post_office": _by_post_office,
    "insert": _by_insert,
    "celery": _by_celery,
}


def order_and_mail(number: int, send: Callable[[Content], None], prefix: str) -> None:
    with transaction.atomic():
        Order.objects.create(customer=f"Customer {number}", total="19.90")
        send(content(number, prefix=prefix))


def one_by_one(way: str, count: int) -> None:
    """Whenever it is asked, write so many orders with their mail, and answer with the transactions per second."""
    send = WAYS[way]
    for burst in _asked():
        began = time.perf_counter()
        for number in range(count):
            order_and_mail(number, send, f"burst-{burst}")
        _answer(count / (time.perf_counter() - began))


def in_bulk(way: str, count: int) -> None:
    """Whenever it is asked, queue so many mails in that product's way to queue many at once, 1,000 at a time, and
    answer with the mails per second."""
    prepared: Callable[[Content], Any] = arguments
    if path := SEND_MANY.get(way):
        send: Callable[[Any], Any] = import_string(path)
    else:
        from bench.peers import celery_app  # noqa: F401 - tasks are sent through this app

        prepared, send = message, get_connection().send_messages
    for burst in _asked():
        given = [[prepared(mail) for mail in batch] for batch in batches(count, f"burst-{burst}")]
        began = time.perf_counter()
        for batch in given:
            send(batch)
        _answer(count / (time.perf_counter() - began))


def _asked() -> Iterator[int]:
    return (number for number, _ in enumerate(sys.stdin))


def _answer(found: float) -> None:
    sys.stdout.write(f"bench: answer {found}\n")
    sys.stdout.flush()


def concurrent(writers: int, seconds: float) -> dict[str, list[float]]:
    """Return commits per second of many writing processes, with the wake-up and without it, while somebody listens."""
    rates: dict[str, list[float]] = {"with": [], "without": []}
    with _listening():
        for turn in ORDER:
            rates[turn].append(_one_turn(writers, seconds, wakes=turn == "with"))
    return rates


def _one_turn(writers: int, seconds: float, *, wakes: bool) -> float:
    fork = multiprocessing.get_context("fork")
    connection.close()
    ready, counts = fork.Barrier(writers), fork.Queue()
    members = [fork.Process(target=_write, args=(n, seconds, wakes, ready, counts)) for n in range(writers)]
    for member in members:
        member.start()
    written = sum(counts.get(timeout=seconds * 10 + 60) for _ in members)
    for member in members:
        member.join()
    return float(written / seconds)


def _write(writer: int, seconds: float, wakes: bool, ready: Any, counts: Any) -> None:
    from mailqueue.outbox import notice

    if not wakes:
        assert callable(notice.wake)  # noqa: S101 - what is taken away must be there
        notice.wake = _nobody
    order_and_mail(0, _by_django, f"first-{writer}")
    ready.wait()
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        order_and_mail(number, _by_django, f"writer-{writer}")
        number += 1
    counts.put(number)


def _nobody(*_: Any, **__: Any) -> None:
    pass


@contextmanager
def _listening() -> Iterator[None]:
    """Have a session that listens as a sender does: a NOTIFY that nobody waits for is cheaper."""
    from django.conf import settings

    from mailqueue.outbox.notice import CHANNEL

    given = settings.DATABASES["default"]
    address = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    details = {name: given[key] for name, key in address.items() if given.get(key)}
    with psycopg.connect(**details, **given.get("OPTIONS", {}), autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        yield
