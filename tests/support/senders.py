"""Real sender processes for tests, and mail for them to send."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.mail import EmailMessage
from post_office.models import STATUS, Email

from mailqueue.models import SenderProcess
from mailqueue.ops.senders import with_life
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.processes import MANAGE, RunningProcess, running
from tests.support.waiting import wait_until

BATCH = 500


class Senders:
    """Starts senders of one database that deliver to one SMTP server."""

    def __init__(self, *, database_url: str, server: SmtpServer, state_dir: Path, **mailqueue: Any) -> None:
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": database_url,
            "EMAIL_URL": f"smtp://127.0.0.1:{server.port}",
            "MAILQUEUE_JSON": json.dumps({"STATE_DIR": str(state_dir), "POLL_SECONDS": 0.2, **mailqueue}),
        }

    @contextmanager
    def start(
        self, *arguments: str, env: Mapping[str, str | None] | None = None, prefix: tuple[str, ...] = ()
    ) -> Iterator[RunningProcess]:
        """Run `send_queued_mail` during the block; it is killed at its end if it still runs.

        `prefix` is a command that becomes the sender: it gets the sender's command line as its arguments.
        """
        command = (*prefix, *MANAGE, "send_queued_mail", *arguments)
        with running(*command, env={**self._environment, **(env or {})}) as process:
            yield process


def queue_mails(count: int, *, prefix: str = "mail") -> list[str]:
    """Queue that many small mails through Django's API and return their subjects, which are all different."""
    from mailqueue import EmailBackend

    subjects = [f"{prefix}-{number}" for number in range(count)]
    backend = EmailBackend()
    for start in range(0, count, BATCH):
        backend.send_messages(
            [
                EmailMessage(subject, "Thank you.", "shop@example.com", [f"{subject}@example.com"])
                for subject in subjects[start : start + BATCH]
            ]
        )
    return subjects


def subjects_of(server: SmtpServer) -> Counter[str]:
    """Return how often the server accepted a mail of each subject."""
    return Counter(accepted.message["Subject"] for accepted in list(server.messages))


def copies(server: SmtpServer) -> int:
    """Return how many messages were accepted beyond the first of each."""
    return sum(subjects_of(server).values()) - len(subjects_of(server))


def statuses() -> Counter[int | None]:
    """Return how many mails have each of post_office's statuses."""
    return Counter(Email.objects.values_list("status", flat=True))


def wait_until_sent(count: int, *, seconds: float = 60.0) -> None:
    wait_until(
        lambda: Email.objects.filter(status=STATUS.sent).count() >= count, seconds=seconds, what=f"{count} mails sent"
    )


def wait_until_alive(count: int = 1) -> None:
    """Wait until so many senders have shown up: each has then looked for mail at least once."""
    senders = with_life(SenderProcess.objects).filter(is_alive=True)
    wait_until(lambda: senders.count() >= count, what=f"{count} senders alive")


def message_ids_by_subject(server: SmtpServer) -> dict[str, set[str]]:
    """Return the Message-IDs under which each subject arrived."""
    found: dict[str, set[str]] = {}
    for accepted in list(server.messages):
        found.setdefault(accepted.message["Subject"], set()).add(accepted.message_id)
    return found


def missing(subjects: Iterable[str], server: SmtpServer) -> set[str]:
    """Return the subjects that never arrived."""
    return set(subjects) - set(subjects_of(server))
