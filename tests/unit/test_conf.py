"""MAILQUEUE is validated: unknown keys and bad values are named, with what to do."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from mailqueue.conf import KEYS, configuration, default_state_folder, problems


def test_without_a_setting_the_defaults_hold(settings: Settings) -> None:
    settings.MAILQUEUE = {}
    found = configuration()

    assert (120, 8, 1, "resend", 600) == (
        found.LEASE_SECONDS,
        found.CONCURRENCY,
        found.POLL_SECONDS,
        found.UNKNOWN_OUTCOME,
        found.UNKNOWN_RESEND_AFTER,
    )


def test_lists_and_paths_take_their_own_types(settings: Settings) -> None:
    settings.MAILQUEUE = {"RETRY_DELAYS": [1, 2.5], "STATE_DIR": "/somewhere"}

    assert ((1, 2.5), Path("/somewhere")) == (configuration().RETRY_DELAYS, configuration().STATE_DIR)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("LEASE_SECONDS", 0),
        ("LEASE_SECONDS", "120"),
        ("LEASE_SECONDS", True),
        ("LEASE_SECONDS", float("nan")),
        ("CONCURRENCY", 0),
        ("CONCURRENCY", 2.5),
        ("POLL_SECONDS", -1),
        ("RETRY_DELAYS", []),
        ("RETRY_DELAYS", 60),
        ("RETRY_DELAYS", [60, -1]),
        ("UNKNOWN_OUTCOME", "ignore"),
        ("LISTEN_DATABASE", "nowhere"),
        ("STATE_DIR", 7),
        ("STATE_DIR", ""),
        ("RETENTION_DAYS", 0),
        ("RETENTION_DAYS", "90"),
        ("RETENTION_DAYS", {"sent": -1}),
        ("RETENTION_DAYS", {"held": 30}),
        ("RETENTION_DAYS", 40_000),
        ("ALLOWED_RECIPIENTS", "example.com"),
        ("ALLOWED_RECIPIENTS", []),
        ("ALLOWED_RECIPIENTS", ["jane@"]),
        ("ALLOWED_RECIPIENTS", ["*@*"]),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_the_remedy(key: str, value: Any, settings: Settings) -> None:
    settings.MAILQUEUE = {key: value}

    with pytest.raises(ImproperlyConfigured) as raised:
        configuration()
    assert f'MAILQUEUE["{key}"]: {value!r} is not allowed. Set it to ' in str(raised.value)


@pytest.mark.parametrize("key", ["RETENTION_DAYS", "BODY_RETENTION_DAYS"])
@pytest.mark.parametrize("value", [0, -1, 1e9, {"sent": 0}, {"failed": 1e9}])
def test_days_out_of_bounds_are_told_the_bounds(key: str, value: Any, settings: Settings) -> None:
    settings.MAILQUEUE = {key: value}

    with pytest.raises(ImproperlyConfigured, match=r"a number of days greater than 0 \(and at most 36,500\)"):
        configuration()


@pytest.mark.parametrize("value", [None, "default", ""])
def test_listen_database_may_be_an_alias_or_none(value: str | None, settings: Settings) -> None:
    settings.MAILQUEUE = {"LISTEN_DATABASE": value}

    assert value == configuration().LISTEN_DATABASE


def test_an_unknown_key_is_answered_with_those_there_are() -> None:
    (problem,) = problems({"LEASE": 120})

    assert ("LEASE", True) == (problem.key, all(key in problem.remedy for key in KEYS))


def test_a_setting_that_is_no_dict_is_refused() -> None:
    (problem,) = problems(["LEASE_SECONDS"])

    assert "is not a dict" in problem.message


def test_the_state_folder_is_the_one_that_systemd_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/shop:/var/lib/other")

    assert Path("/var/lib/shop") == default_state_folder()


def test_the_state_folder_is_otherwise_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/jane/.state")

    assert Path("/home/jane/.state/mailqueue") == default_state_folder()
