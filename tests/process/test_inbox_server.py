"""The development inbox for real: mail goes in by SMTP and lies in its folder."""

import smtplib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.dev.maildir import Maildir
from tests.support.processes import RunningProcess, run, running

INBOX = (sys.executable, "-m", "project.dev.inbox")


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[RunningProcess]:
    with running(*INBOX, "--port", "0", "--folder", str(tmp_path / "inbox")) as process:
        process.wait_for("listens on")
        yield process


def send(inbox: RunningProcess, message: bytes, *, to: list[str]) -> dict[str, tuple[int, bytes]]:
    """Hand in a mail, and return what was said of each recipient that was refused."""
    port = int(inbox.wait_for(r"listens on 127\.0\.0\.1:(\d+)")[1])
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        return client.sendmail("bounce@example.com", to, message, mail_options=["SMTPUTF8", "BODY=8BITMIME"])


def test_a_mail_is_kept_byte_for_byte_below_its_envelope(inbox: RunningProcess, tmp_path: Path) -> None:
    message = "Subject: Grüße\r\n\r\n.dots\r\n..more\r\n".encode()
    send(inbox, message, to=["ann@example.com", "jürgen@example.com"])
    (mail,) = Maildir(tmp_path / "inbox").newest(limit=10)

    expected = (
        "X-Envelope-From: <bounce@example.com>\r\n"
        "X-Envelope-To: <ann@example.com>\r\n"
        "X-Envelope-To: <jürgen@example.com>\r\n"
    ).encode() + message
    assert expected == mail.source()


def test_a_recipient_that_begins_so_is_refused_or_put_off_and_the_others_get_the_mail(
    inbox: RunningProcess, tmp_path: Path
) -> None:
    to = ["ann@example.com", "Refuse-me@example.com", "later@example.com", "ann.refuse@later.example"]
    refused = send(inbox, b"Subject: x\r\n\r\n", to=to)
    (mail,) = Maildir(tmp_path / "inbox").newest(limit=10)

    codes = {address: (code, text.split()[0]) for address, (code, text) in refused.items()}
    assert {"Refuse-me@example.com": (550, b"5.1.1"), "later@example.com": (451, b"4.7.1")} == codes
    assert (True, True, False) == tuple(b"<%b>" % one.encode() in mail.source() for one in (to[0], to[3], to[2]))


def test_a_mail_that_cannot_be_kept_is_not_accepted(inbox: RunningProcess, tmp_path: Path) -> None:
    (tmp_path / "inbox").write_text("a file where the folder should be")

    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(inbox, b"Subject: x\r\n\r\n", to=["ann@example.com"])
    assert refused.value.smtp_code == 451


def test_it_ends_when_told_to(inbox: RunningProcess) -> None:
    assert inbox.stop() == 0


def test_a_busy_port_gets_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        result = run(*INBOX, "--port", port, "--folder", str(tmp_path))

    assert result.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}" in result.stderr
    assert "Traceback" not in result.stderr
