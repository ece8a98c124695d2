"""What a real sender says to Postgres, read off the wire."""

import re
from collections import Counter
from pathlib import Path

from mailqueue.testing.smtp_server import SmtpServer
from tests.support.senders import Senders, queue_mails, statuses
from tests.support.statements import UNENCRYPTED, Statements, as_a_pooler
from tests.support.tcp_proxy import TcpProxy, target_of, url_through
from tests.support.waiting import wait_until

SENT = 0


def drain(database_url: str, server: SmtpServer, tmp_path: Path, proxy: TcpProxy, *arguments: str) -> None:
    """Let a sender send everything by way of the proxy."""
    way = url_through(proxy, database_url, **UNENCRYPTED)
    with Senders(database_url=way, server=server, state_dir=tmp_path).start("--until-empty", *arguments) as sender:
        assert sender.wait() == 0, sender.said()


def test_a_hundred_mails_take_few_statements(
    database_url: str, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    """The first turns have few mails, for a sender begins with one connection; those that follow have up to eight."""
    heard = Statements()
    queue_mails(400)
    with TcpProxy(target_of(database_url), asked=heard.overhear) as proxy:
        drain(database_url, server, tmp_path, proxy, "--concurrency", "16")

    assert {SENT: 400} == statuses()
    assert 0 < len(heard.executed) <= 4 * 125, Counter(heard.executed).most_common(12)


def test_what_is_said_again_and_again_is_prepared(
    database_url: str, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    heard = Statements()
    queue_mails(50)
    with TcpProxy(target_of(database_url), asked=heard.overhear) as proxy:
        drain(database_url, server, tmp_path, proxy)
    repeated = [text for text, count in Counter(heard.executed).items() if count > 10 and "mailqueue" in text]

    assert 0 < len(repeated) <= heard.prepared_count
    assert {SENT: 50} == statuses()


def test_behind_a_pooler_nothing_is_prepared_and_nothing_set_for_longer_than_a_transaction(
    database_url: str, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    """A pooler tells its clients another process number than that of the session it lends them."""
    heard = Statements()
    queue_mails(50)
    with TcpProxy(target_of(database_url), asked=heard.overhear, answered=lambda: as_a_pooler) as proxy:
        drain(database_url, server, tmp_path, proxy)
    session_wide = [text for text in heard.executed if re.match("SET (?!LOCAL)", text) and "_timeout" in text]

    assert (0, []) == (heard.prepared_count, session_wide)
    assert {SENT: 50} == statuses()


def test_an_idle_sender_looks_with_one_statement_and_opens_no_transaction(
    database_url: str, server: SmtpServer, tmp_path: Path, queueing: None
) -> None:
    """Beside its looks it gives a sign of life every fifteen seconds, and looks for the dead every thirty."""
    heard = Statements()
    with TcpProxy(target_of(database_url), asked=heard.overhear) as proxy:
        way = url_through(proxy, database_url, **UNENCRYPTED)
        with Senders(database_url=way, server=server, state_dir=tmp_path).start():
            wait_until(lambda: sum(map(is_look, heard.executed)) >= 5, seconds=60)
    looks = [position for position, text in enumerate(heard.executed) if is_look(text)]
    idle = heard.executed[looks[2] : looks[4]]

    assert (False, True) == ("BEGIN" in idle, len(idle) <= 4), idle


def is_look(text: str) -> bool:
    return text.startswith("WITH RECURSIVE")
