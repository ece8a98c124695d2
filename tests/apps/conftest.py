"""As for all tests, and a sender with the settings of this folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from pytest_django import Settings

from tests.conftest import database_url, django_db_modify_db_settings, postgres_url
from tests.support.sender_fixtures import queueing, senders, server
from tests.support.senders import Senders

__all__ = ["database_url", "django_db_modify_db_settings", "postgres_url", "queueing", "senders", "server"]


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """allauth counts there what it has sent to an address."""
    cache.clear()


@pytest.fixture
def changed(settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """Settings of the senders that a test starts; this process has them too."""
    changes: dict[str, Any] = {"MEDIA_ROOT": str(tmp_path / "media")}
    settings.MEDIA_ROOT = changes["MEDIA_ROOT"]
    return changes


@pytest.fixture
def deliver(senders: Callable[..., Senders], changed: dict[str, Any]) -> Callable[[], None]:
    """Send with a real sender what may be sent now."""

    def run() -> None:
        env = {"DJANGO_SETTINGS_MODULE": "tests.apps.settings", "SETTINGS_JSON": json.dumps(changed)}
        with senders().start("--until-empty", env=env) as sender:
            assert sender.wait(seconds=60) == 0, sender.said()

    return run
