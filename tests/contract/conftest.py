from functools import partial
from typing import Any

import pytest

from mailqueue import waits
from mailqueue.delivery.smtp import SmtpCarrier
from tests.support.hubs import in_hub
from tests.support.sender_fixtures import queueing, senders, server

__all__ = ["as_in_a_sender", "queueing", "senders", "server"]


@pytest.fixture(autouse=True)
def as_in_a_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let carriers that take turns be called where they would have to."""
    for name in ("deliver", "expire", "close"):
        own = getattr(SmtpCarrier, name)

        def call(self: SmtpCarrier, *args: Any, own: Any = own) -> Any:
            return own(self, *args) if waits.here.host else in_hub(partial(own, self, *args))

        monkeypatch.setattr(SmtpCarrier, name, call)
