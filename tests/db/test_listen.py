"""LISTEN, proven by a NOTIFY of our own, and the databases on which it can't work."""

from typing import Any

import pytest
from django.db import connection, connections

from mailqueue.conf import Configuration
from mailqueue.outbox.notice import CHANNEL
from mailqueue.sender import listen
from mailqueue.sender.listen import Listener, listen_alias
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listener() -> Any:
    made = Listener("default", sender="me", is_shared=True)
    made.attach()
    yield made
    connection.close()


def notify(payload: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])


def test_a_note_of_new_mail_is_taken_once(listener: Listener) -> None:
    notify("")

    wait_until(listener.take_notice)
    assert not listener.take_notice()


def test_the_proof_of_another_sender_is_no_news(listener: Listener) -> None:
    notify("somebody else")
    notify("")
    wait_until(listener.take_notice)

    assert not listener.is_proven


def test_a_notify_of_our_own_proves_that_listening_works(listener: Listener) -> None:
    listener.prove()

    assert wait_until(lambda: listener.take_notice() or listener.is_proven)


def test_a_proof_that_does_not_come_in_time_lets_polling_take_over(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener.prove()
    wait_until(lambda: listener.take_notice() or listener.is_proven)
    monkeypatch.setattr(listen, "PROVE_EVERY_SECONDS", 1000)
    monkeypatch.setattr(listen, "PROOF_TIMEOUT_SECONDS", -1)
    with connection.cursor() as cursor:
        cursor.execute(f"UNLISTEN {CHANNEL}")
    listener._prove_at = 0.0
    listener.prove()
    listener.prove()

    assert not listener.is_proven


def test_attaching_twice_listens_once(listener: Listener) -> None:
    before = listener.fileno()
    listener.attach()

    assert before == listener.fileno()


def test_without_an_alias_nothing_is_listened_to() -> None:
    listener = Listener(None, sender="me", is_shared=False)
    listener.attach()
    listener.prove()

    assert (None, False, False) == (listener.fileno(), listener.take_notice(), listener.is_proven)


def test_the_database_to_listen_on_is_the_mails_own_unless_a_setting_says_otherwise() -> None:
    named = Configuration(LISTEN_DATABASE="direct")
    none = Configuration(LISTEN_DATABASE=None)

    assert ("default", "direct", None) == tuple(
        listen_alias(configuration, using="default") for configuration in (Configuration(), named, none)
    )


def test_behind_a_pooler_in_transaction_mode_nothing_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)

    assert None is listen_alias(Configuration(), using="default")
