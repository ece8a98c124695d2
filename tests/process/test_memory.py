"""What a sender needs does not grow with what it has sent, nor with what waits."""

from pathlib import Path

import pytest
from django.db import connection

from mailqueue.testing.smtp_server import SmtpServer
from tests.support.senders import Senders, statuses, wait_until_sent

WARM_UP = 2_000
SIZES = [pytest.param(8_000, id="some"), pytest.param(50_000, id="many", marks=pytest.mark.nightly)]
GROWTH_KB = 4_096
LIMIT_KB = 90 * 1024
"""The target of a sender process with any backlog."""
QUEUE = """
INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status, priority, created,
    last_updated, backend_alias, message_id, headers)
SELECT 'shop@example.com', 'user-' || n || '@example.com', '', '', 'Order ' || n, repeat('Thank you. ', 90),
    repeat('<p>Thank you.</p>', 120), 2, 1, now(), now(), '', '<' || n || '@example.com>',
    '{"Date": "Sat, 21 Nov 2026 12:00:00 +0000"}'
FROM generate_series(1, %s) n
"""


@pytest.mark.parametrize("count", SIZES)
def test_a_sender_does_not_grow(count: int, database_url: str, tmp_path: Path, queueing: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(QUEUE, [count])
    with (
        SmtpServer() as server,
        Senders(database_url=database_url, server=server, state_dir=tmp_path).start() as sender,
    ):
        wait_until_sent(WARM_UP, seconds=120)
        before = memory_kb(sender.pid, "VmRSS")
        wait_until_sent(count, seconds=600)
        after, most = memory_kb(sender.pid, "VmRSS"), memory_kb(sender.pid, "VmHWM")

    assert {0: count} == statuses()
    assert (True, True) == (after - before < GROWTH_KB, most < LIMIT_KB), (before, after, most)


def memory_kb(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:"))
