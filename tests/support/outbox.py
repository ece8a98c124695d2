"""The site's own mail settings, which the test runner of Django replaces with a mailbox in memory."""

import pytest
from pytest_django import Settings

from tests import settings as given


@pytest.fixture
def queueing(settings: Settings) -> None:
    """Let Django's mail API write to the outbox, as it does on the site."""
    for name in ("MAILERS", "EMAIL_BACKEND"):
        if hasattr(given, name):
            setattr(settings, name, getattr(given, name))
