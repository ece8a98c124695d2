"""What tests of sender processes share: a server, senders of the test database, and the site's own mail settings."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailqueue.testing.smtp_server import SmtpServer
from tests.support.outbox import queueing
from tests.support.senders import Senders

__all__ = ["queueing", "senders", "server"]


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


@pytest.fixture
def senders(database_url: str, server: SmtpServer, tmp_path: Path, queueing: None) -> Callable[..., Senders]:
    """Make `Senders` with settings of MAILQUEUE."""

    def make(**mailqueue: Any) -> Senders:
        return Senders(database_url=database_url, server=server, state_dir=tmp_path / "state", **mailqueue)

    return make
