from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mailqueue import waits
from mailqueue.delivery.outcomes import Stage
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.delivery.smtp_line import SmtpLine
from tests.support.hubs import in_hub
from tests.support.sender_fixtures import queueing, senders, server

SHORT_SECONDS = 0.3
LONG_SECONDS = 30.0

__all__ = ["as_in_a_sender", "impatient", "queueing", "senders", "server"]


@pytest.fixture(autouse=True)
def as_in_a_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let carriers that take turns be called where they would have to."""
    for name in ("deliver", "expire", "close"):
        own = getattr(SmtpCarrier, name)

        def call(self: SmtpCarrier, *args: Any, own: Any = own) -> Any:
            return own(self, *args) if waits.here.host else in_hub(partial(own, self, *args))

        monkeypatch.setattr(SmtpCarrier, name, call)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the time-out of backends be short in some stages alone: elsewhere a busy machine is not a silent server.

    Commands that are written ahead of their replies have that of the first of them.
    """

    def impatient(*stages: Stage) -> None:
        own = SmtpLine.enter

        def enter(self: SmtpLine, stage: Stage, seconds: float) -> None:
            self._backend.timeout = SHORT_SECONDS if stage in stages else LONG_SECONDS
            own(self, stage, seconds)

        monkeypatch.setattr(SmtpLine, "enter", enter)

    return impatient
