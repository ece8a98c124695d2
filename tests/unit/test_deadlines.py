"""Nothing that a sender's process waits for is waited for without end."""

import socket
from typing import Any

import pytest
from django.db import connections

from mailqueue.sender.deadlines import SOCKET_SECONDS, deadlines, limited
from mailqueue.sender.journal import journal_folder


def test_sockets_of_somebody_elses_have_a_limit_while_a_sender_runs() -> None:
    before = socket.getdefaulttimeout()
    with deadlines(databases=["default"]):
        during = socket.getdefaulttimeout()

    assert (None, SOCKET_SECONDS, None) == (before, during, socket.getdefaulttimeout())


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 5), ({"connect_timeout": 10}, 5), ({"connect_timeout": "3"}, 3), ({"connect_timeout": 0}, 5)],
)
def test_a_try_to_connect_has_a_limit_and_a_shorter_one_stands(given: dict[str, Any], expected: int) -> None:
    assert expected == limited(given)["connect_timeout"]


def test_what_a_project_says_about_keeping_alive_stands_and_a_pool_is_left_out() -> None:
    found = limited({"keepalives_idle": 99, "pool": {"min_size": 4}, "application_name": "shop"})

    assert (99, 5, "shop", False) == (
        found["keepalives_idle"],
        found["keepalives_interval"],
        found["application_name"],
        "pool" in found,
    )


def test_limits_hold_for_what_connects_meanwhile_and_are_gone_afterwards() -> None:
    before = connections["default"].settings_dict.get("OPTIONS")
    with deadlines(databases=["default"]):
        during = connections["default"].settings_dict["OPTIONS"]

    assert (5, before) == (during["connect_timeout"], connections["default"].settings_dict.get("OPTIONS"))


def test_two_senders_of_one_process_use_the_same_folder_for_their_journals(tmp_path: Any) -> None:
    before = journal_folder(tmp_path, using="default")
    with deadlines(databases=["default"]):
        pass

    assert before == journal_folder(tmp_path, using="default")
