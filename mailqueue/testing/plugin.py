"""Fixtures for pytest. They are there wherever mailqueue is installed, and cost nothing until a test asks for one."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mailqueue.testing import Outbox, SmtpServer


@pytest.fixture
def mailqueue_backend() -> str:
    """The backend that `mailqueue_outbox` delivers by; override it to name another one."""
    return "django.core.mail.backends.locmem.EmailBackend"


@pytest.fixture
def mailqueue_outbox(db: None, settings: Any, mailqueue_backend: str) -> "Outbox":  # noqa: ARG001 - mail is rows
    """The outbox: Django's mail API queues, as on the site, and `drain()` delivers into `sent`."""
    from mailqueue.testing import Outbox

    _queue(settings, backend=mailqueue_backend)
    return Outbox()


@pytest.fixture
def smtp_server_options() -> dict[str, Any]:
    """The arguments of `smtp_server`; override it to give some."""
    return {}


@pytest.fixture
def smtp_server(
    mailqueue_outbox: "Outbox",  # noqa: ARG001 - its settings come first
    settings: Any,
    smtp_server_options: dict[str, Any],
) -> "Iterator[SmtpServer]":
    """A scripted SMTP server to which `drain()` delivers what the test queues."""
    from mailqueue.testing import SmtpServer
    from mailqueue.testing.outbox import trusting

    with SmtpServer(**smtp_server_options) as server, trusting(server):
        _queue(settings, server=server)
        yield server


def _queue(settings: Any, **how: Any) -> None:
    """Do what `queueing` does by pytest-django's fixture: a test that uses it too can't undo things out of order."""
    from mailqueue.testing.outbox import queueing_settings, quietly

    for name, value in queueing_settings(**how).items():
        quietly(partial(setattr, settings, name, value))
