"""The acceptance journal: what a killed process knew is found by those who live."""

import errno
import json
import logging
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mailqueue import syscalls
from mailqueue.models import AttemptOutcome
from mailqueue.queue.claim import Claim
from mailqueue.queue.settle import Settlement
from mailqueue.sender.journal import Acceptance, Journal, Unsent, dead_journals

SETTLEMENT = Settlement(
    attempt_id=1,
    email_id=2,
    token="0" * 32,
    outcome=AttemptOutcome.SENT,
    is_accepted=True,
    reply_code=250,
    reply="ok",
)


def abandon(journal: Journal) -> None:
    """Let go of the lock as a killed process does."""
    os.close(journal._fd)
    journal._fd = None


def test_what_a_dead_sender_accepted_is_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sender="dead")
    journal.write(Acceptance.of(SETTLEMENT))
    abandon(journal)
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert ("dead", [SETTLEMENT]) == (found.sender, [a.settlement() for a in found.acceptances])


def test_what_a_sender_could_not_hand_back_is_found_beside_what_was_accepted(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sender="gone")
    journal.write(Acceptance.of(SETTLEMENT))
    journal.write_unsent([Claim(attempt_id=7, email_id=8, number=1, token="f" * 32, backend="default", priority=1)])
    journal.close(is_settled=False)
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert [SETTLEMENT] == [a.settlement() for a in found.acceptances]
    assert ([Unsent(7, "f" * 32)], True) == (found.unsent, found.is_understood)


@pytest.mark.parametrize(
    "line", [b'{"unsent": 7}\n', b'{"unsent": 7, "token": "no uuid"}\n', b"[]\n", b'{"token": 3}\n']
)
def test_a_line_that_says_nothing_for_certain_proves_nothing_and_keeps_its_journal(
    line: bytes, tmp_path: Path
) -> None:
    (tmp_path / "odd.journal").write_bytes(line)
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert ([], [], False) == (found.acceptances, found.unsent, found.is_understood)


def test_the_journal_of_a_living_sender_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sender="alive")
    journal.write(Acceptance.of(SETTLEMENT))

    assert [] == list(dead_journals(tmp_path, besides=tmp_path / "own.journal"))
    journal.close(is_settled=True)


def test_only_one_of_two_readers_gets_a_dead_journal(tmp_path: Path) -> None:
    abandon(Journal(tmp_path, sender="dead"))
    first = list(dead_journals(tmp_path, besides=tmp_path / "own.journal"))

    assert [] == list(dead_journals(tmp_path, besides=tmp_path / "own.journal"))
    first[0].leave()
    assert len(list(dead_journals(tmp_path, besides=tmp_path / "own.journal"))) == 1


def test_a_journal_that_was_settled_is_removed(tmp_path: Path) -> None:
    abandon(Journal(tmp_path, sender="dead"))
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")
    found.remove()

    assert [] == list(tmp_path.iterdir())


def test_a_line_that_was_cut_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sender="dead")
    journal.write(Acceptance.of(SETTLEMENT))
    abandon(journal)
    path = tmp_path / "dead.journal"
    path.write_bytes(path.read_bytes() + b'{"attempt_id": 3, "em')
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert len(found.acceptances) == 1


def test_the_journal_goes_when_everything_is_settled_and_stays_otherwise(tmp_path: Path) -> None:
    settled, unsettled = Journal(tmp_path, sender="a"), Journal(tmp_path, sender="b")
    settled.close(is_settled=True)
    unsettled.close(is_settled=False)
    unsettled.close(is_settled=True)

    assert [tmp_path / "b.journal"] == list(tmp_path.iterdir())


def test_a_journal_that_has_grown_keeps_only_what_is_unsettled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailqueue.sender.journal.LIMIT_BYTES", 1000)
    journal = Journal(tmp_path, sender="a")
    for number in range(100):
        journal.write(Acceptance.of(replace(SETTLEMENT, attempt_id=number)))
    journal.forget(range(1, 100))
    size_of_one = journal.path.stat().st_size
    journal.write(Acceptance.of(replace(SETTLEMENT, attempt_id=100)))
    abandon(journal)
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert ([0, 100], True) == ([a.attempt_id for a in found.acceptances], size_of_one < 1000)


def test_a_journal_is_locked_before_anybody_can_see_it(tmp_path: Path) -> None:
    journals = [Journal(tmp_path, sender=f"s{number}") for number in range(20)]

    assert [] == list(dead_journals(tmp_path, besides=tmp_path / "own.journal"))
    for journal in journals:
        journal.close(is_settled=True)
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_used_is_said_loudly_and_nothing_else_happens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.ERROR, logger="mailqueue"):
        journal = Journal(tmp_path / "file" / "journals", sender="a")
    journal.write(Acceptance.of(SETTLEMENT))
    journal.forget([1])
    journal.close(is_settled=True)

    assert ["journal.failed"] == caplog.messages


def test_a_full_disk_is_said_loudly_and_sending_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path, sender="a")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._fd)
    os.close(full)
    with caplog.at_level(logging.ERROR, logger="mailqueue"):
        journal.write(Acceptance.of(SETTLEMENT))

    assert ["journal.failed"] == caplog.messages
    journal.close(is_settled=True)


def test_lines_that_say_nothing_we_understand_are_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sender="dead")
    for nonsense in ({"token": "nonsense"}, {"outcome": "teleported"}):
        journal.write(replace(Acceptance.of(SETTLEMENT), **nonsense))
    journal.write(Acceptance.of(SETTLEMENT))
    abandon(journal)
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert [SETTLEMENT] == [a.settlement() for a in found.acceptances]


def test_what_a_later_version_adds_to_a_line_is_passed_over_and_the_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "later.journal"
    path.write_bytes(json.dumps({**asdict(Acceptance.of(SETTLEMENT)), "new": {"in": "2.0"}}).encode() + b"\n")
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert ([SETTLEMENT], True) == ([a.settlement() for a in found.acceptances], found.is_understood)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"", True),
        (b'{"attempt_id": 3, "em', True),
        (b'{"attempt_id": 3, "email_id": 4}\n', False),
        (b"[]\n", False),
        (b"nonsense\n\n", False),
    ],
)
def test_a_whole_line_that_nobody_could_read_is_told_from_one_that_was_cut(
    lines: bytes, expected: bool, tmp_path: Path
) -> None:
    journal = Journal(tmp_path, sender="dead")
    journal.write(Acceptance.of(SETTLEMENT))
    abandon(journal)
    journal.path.write_bytes(journal.path.read_bytes() + lines)
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert ([SETTLEMENT], expected) == ([a.settlement() for a in found.acceptances], found.is_understood)


def test_a_journal_that_cannot_be_read_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.journal").mkdir()
    journal = Journal(tmp_path, sender="dead")
    journal.write(Acceptance.of(SETTLEMENT))
    abandon(journal)
    with caplog.at_level(logging.ERROR, logger="mailqueue"):
        found = list(dead_journals(tmp_path, besides=tmp_path / "own.journal"))

    assert (["dead"], ["journal.failed"]) == ([journal.sender for journal in found], caplog.messages)


def test_a_folder_that_became_read_only_does_not_keep_the_process_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(path)

    journal, dead = Journal(tmp_path, sender="a"), Journal(tmp_path, sender="dead")
    abandon(dead)
    (found,) = dead_journals(tmp_path, besides=journal.path)
    monkeypatch.setattr(Path, "unlink", refuse)
    with caplog.at_level(logging.ERROR, logger="mailqueue"):
        journal.close(is_settled=True)
        found.remove()

    assert ["journal.failed", "journal.failed"] == caplog.messages


def test_a_journal_that_cannot_be_rewritten_goes_on_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mailqueue.sender.journal.LIMIT_BYTES", 0)
    journal = Journal(tmp_path, sender="dead")
    journal.write(Acceptance.of(SETTLEMENT))

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "rename", refuse)
    with caplog.at_level(logging.ERROR, logger="mailqueue"):
        journal.forget([])
    journal.write(Acceptance.of(SETTLEMENT))
    abandon(journal)
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert (2, ["journal.failed"]) == (len(found.acceptances), caplog.messages)


def test_half_a_line_for_which_there_was_no_room_garbles_no_other_and_nothing_is_missing_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path, sender="a")
    write, room = syscalls.write, 10

    def write_what_fits(fd: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(fd, data[:room])
        room -= written
        return written

    monkeypatch.setattr(syscalls, "write", write_what_fits)
    monkeypatch.setattr("mailqueue.sender.journal.RETRY_SECONDS", 0)
    with caplog.at_level(logging.INFO, logger="mailqueue"):
        for number in range(3):
            journal.write(Acceptance.of(replace(SETTLEMENT, attempt_id=number)))
        size_when_full = journal.path.stat().st_size
        room = 100_000
        for number in range(3, 5):
            journal.write(Acceptance.of(replace(SETTLEMENT, attempt_id=number)))
    abandon(journal)
    (found,) = dead_journals(tmp_path, besides=tmp_path / "own.journal")

    assert (0, list(range(5))) == (size_when_full, [a.attempt_id for a in found.acceptances])
    assert ["journal.failed", "journal.back"] == caplog.messages


def test_a_disk_that_stays_full_is_not_tried_for_every_mail_and_said_again_after_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.ERROR, logger="mailqueue"):
        journal = Journal(tmp_path / "file" / "journals", sender="a")
        for number in range(10):
            journal.write(Acceptance.of(replace(SETTLEMENT, attempt_id=number)))
        now = time.monotonic() + 61
        monkeypatch.setattr(time, "monotonic", lambda: now)
        journal.write(Acceptance.of(SETTLEMENT))

    assert ["journal.failed", "journal.failed"] == caplog.messages
