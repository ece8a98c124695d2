"""What tests of the loop share."""

from collections.abc import Iterator

import pytest
from django.db import connection

from mailqueue.queue import work


@pytest.fixture(params=["a lent session", "a session of its own"])
def each_session(request: pytest.FixtureRequest, db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a test twice: as behind a pooler, and with prepared statements, as on a direct connection."""
    monkeypatch.setattr(work.own, "direct", None)
    if request.param == "a session of its own":
        assert work.settle_in("default")
    yield
    if not connection.in_atomic_block:
        connection.close()  # what was set for the session ends with it
