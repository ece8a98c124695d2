"""The contestants of a drain: how each is filled, started, and known to be done."""

from dataclasses import dataclass, field
from typing import Any

MANAGE = ("-m", "django")


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who sends a given number of mails."""

    key: str
    label: str
    kind: str
    """The module of `bench.settings`."""
    command: tuple[str, ...]
    """Arguments of Python; `{count}` and `{folder}` are filled in."""
    fill: str = ""
    """The job that queues the mails; empty for who has no queue."""
    settings: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0
    """How many of the mails it gets: slow ones need fewer for a steady rate."""
    is_worker: bool = False
    """It runs until it is told to stop."""


def mailqueue(*, processes: int = 1) -> Contestant:
    return Contestant(
        f"mailqueue_{processes}",
        "mailqueue, one process" if processes == 1 else f"mailqueue, {processes} processes",
        "mailqueue",
        (*MANAGE, "send_queued_mail", "--until-empty", "--concurrency", "16", "--processes", str(processes)),
        fill="mailqueue",
    )


def post_office() -> Contestant:
    command = (*MANAGE, "send_queued_mail", "--lockfile", "{folder}/lock")
    return Contestant(
        "post_office", "django-post-office, as installed", "post_office", command, "post_office", share=0.5
    )


def post_office_tuned() -> Contestant:
    return Contestant(
        "post_office_tuned",
        "django-post-office, tuned (batch 1000, 2 × 16 threads)",
        "post_office",
        (*MANAGE, "send_queued_mail", "--lockfile", "{folder}/lock", "--processes", "2"),
        "post_office",
        settings={
            "POST_OFFICE": {
                "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
                "BATCH_SIZE": 1000,
                "THREADS_PER_PROCESS": 16,
            }
        },
    )


def celery(pool: str, concurrency: int, label: str) -> Contestant:
    worker = ("--pool", pool, "--concurrency", str(concurrency), "--loglevel", "WARNING")
    quiet = ("--without-gossip", "--without-mingle")
    return Contestant(
        f"celery_{pool}",
        label,
        "celery",
        ("-m", "celery", "--app", "bench.peers.celery_app", "worker", *worker, *quiet),
        "celery",
        share=0.25,
        is_worker=True,
    )


def bare_loop(*, processes: int = 1) -> Contestant:
    return Contestant(
        f"bare_loop_{processes}",
        "bare loop, 16 threads, no queue" if processes == 1 else f"bare loop, {processes} processes × 16 threads",
        "bare",
        ("-m", "bench.peers.bare_loop", "{count}", "16", str(processes)),
    )


def raw_smtplib() -> Contestant:
    command = ("-m", "bench.peers.raw_smtplib", "{count}", "16")
    return Contestant("raw_smtplib", "raw smtplib, 16 threads, ready bytes", "bare", command)
