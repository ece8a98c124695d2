"""Queues the mails that are to be sent, by each contestant's own means. Not timed."""

from collections.abc import Iterator
from typing import Any

from django.core.mail import EmailMultiAlternatives

from bench.mails import SENDER, Content, content

BATCH = 1000


def batches(count: int, prefix: str) -> Iterator[list[Content]]:
    for start in range(0, count, BATCH):
        yield [content(number, prefix=prefix) for number in range(start, min(start + BATCH, count))]


def arguments(mail: Content, **more: str) -> dict[str, Any]:
    """Return the arguments of post_office's API, which is mailqueue's too."""
    return {
        "recipients": [mail.recipient],
        "sender": SENDER,
        "subject": mail.subject,
        "message": mail.text,
        "html_message": mail.html,
        **more,
    }


def message(mail: Content) -> EmailMultiAlternatives:
    """Return the mail as Django's own message."""
    built = EmailMultiAlternatives(mail.subject, mail.text, SENDER, [mail.recipient])
    built.attach_alternative(mail.html, "text/html")
    return built


def mailqueue(count: int, prefix: str = "mail", priority: str = "medium") -> None:
    from mailqueue import send_many

    for batch in batches(count, prefix):
        send_many([arguments(mail, priority=priority) for mail in batch])


def post_office(count: int, prefix: str = "mail") -> None:
    from post_office.mail import send_many

    for batch in batches(count, prefix):
        send_many([arguments(mail) for mail in batch])


def celery(count: int, prefix: str = "mail") -> None:
    from bench.peers import celery_app  # noqa: F401 - tasks are sent through this app

    for batch in batches(count, prefix):
        for mail in batch:
            message(mail).send()
