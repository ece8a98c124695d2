"""How often a process that writes mail wakes the senders."""

import threading

import pytest

from mailqueue.outbox.pace import QUIET_SECONDS, SAVED_SECONDS, Pace


class Writer:
    """Commits mail on a clock of its own. Waking the senders takes it that long."""

    def __init__(self, *, takes: float = 0.0003) -> None:
        self.takes = takes
        self.now = 1_000.0
        self._pace = Pace(clock=lambda: self.now)

    def commit(self) -> bool:
        if not self._pace.may_wake():
            return False
        self.now += self.takes
        self._pace.note_cost()
        return True

    def wakes_in(self, seconds: float, *, per_second: float) -> int:
        """Commit mail for so long, and return how often the senders were woken."""
        count = 0
        for number in range(round(seconds * per_second)):
            due = 1_000.0 + number / per_second
            self.now = max(self.now, due)
            count += self.commit()
        return count


def test_each_of_twenty_mails_a_second_wakes_the_senders() -> None:
    assert 200 == Writer().wakes_in(10, per_second=20)


def test_so_do_mails_that_come_close_together_now_and_then() -> None:
    writer = Writer()
    found = []
    for _ in range(20):
        writer.now += 0.5
        found += [writer.commit() for _ in range(8)]

    assert all(found)


@pytest.mark.parametrize("per_second", [110, 1_000, 20_000])
def test_a_busy_writer_wakes_them_four_times_a_second(per_second: float) -> None:
    saved = SAVED_SECONDS / 0.0003

    assert 40 <= Writer().wakes_in(10, per_second=per_second) <= 41 + saved * 10


def test_the_busier_the_writer_the_fewer() -> None:
    counts = [Writer().wakes_in(10, per_second=per_second) for per_second in (70, 90, 110, 500, 2_000)]

    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 2_000 * 10 / 200


def test_where_waking_takes_long_it_is_done_less_often() -> None:
    counts = [Writer(takes=takes).wakes_in(10, per_second=20) for takes in (0.001, 0.003, 0.016, 0.1)]

    assert counts == sorted(counts, reverse=True)
    assert (200, 40) == (counts[0], counts[-1])


def test_one_that_took_long_is_not_taken_for_a_busy_machine() -> None:
    writer = Writer()
    writer.wakes_in(1, per_second=20)
    writer.takes = 0.02
    writer.commit()
    writer.takes = 0.0003
    writer.now += 0.05

    assert writer.commit()


def test_no_mail_waits_longer_than_a_woken_sender_looks_around() -> None:
    writer = Writer(takes=1.0)
    writer.commit()
    writer.now += QUIET_SECONDS

    assert writer.commit()


def test_after_a_rest_the_senders_are_woken_at_once() -> None:
    writer = Writer()
    writer.wakes_in(1, per_second=5_000)
    writer.now += 0.05

    assert writer.commit()


def test_many_threads_share_one_account() -> None:
    pace = Pace()
    woken: list[bool] = []

    def write() -> None:
        for _ in range(200):
            if pace.may_wake():
                pace.note_cost()
                woken.append(True)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 <= len(woken) < 8 * 200
