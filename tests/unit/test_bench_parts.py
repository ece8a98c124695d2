"""What the benchmark counts and compares, without the processes around it."""

import asyncio

import pytest

from bench.__main__ import parse
from bench.laps import in_laps
from bench.mails import HTML, TEXT, content
from bench.options import FULL, SMALL
from bench.processes import BrokenError
from bench.sections import SECTIONS
from bench.sections.idle import count_statements
from bench.sections.latency import delays
from bench.sink import Server, Session
from bench.sink_client import Accepted

LOG = """
12 bench LOG:  statement: BEGIN
12 bench LOG:  execute _pg3_0: SELECT 1
12 bench DETAIL:  Parameters: $1 = 'statement: SELECT'
13 other LOG:  statement: SELECT 2
12 bench LOG:  statement: SELECT 3
    FROM bench
12 bench LOG:  duration: 3 ms
"""


LIMIT_SECONDS = 10


class Wire(asyncio.Transport):
    """Keeps what the server writes, one entry for each write, until it hangs up."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed.set()


def converse(*chunks: bytes, latency: float = 0) -> tuple[Server, Wire]:
    """Let a session of the sink read these chunks, one arrival each, and QUIT."""

    async def act() -> tuple[Server, Wire]:
        server, wire = Server(), Wire()
        server.tally.latency = latency
        session = Session(server)
        session.connection_made(wire)
        for chunk in (*chunks, b"QUIT\r\n"):
            session.data_received(chunk)
        await asyncio.wait_for(wire.is_closed.wait(), LIMIT_SECONDS)
        return server, wire

    return asyncio.run(act())


def mail(number: int, *, message_id: str = "") -> list[bytes]:
    """Return a mail as a pipelining client sends it: the commands together, and then the content."""
    commands = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b%d@x.example>\r\nDATA\r\n" % number
    head = f"Message-ID: <{message_id or number}>\r\n\r\n".encode()
    return [commands, head + b"Hello\r\n..dot\r\n.\r\n"]


def test_the_sink_counts_a_message() -> None:
    server, _ = converse(*mail(1))

    assert (1, 0, ["b1@x.example"]) == (
        server.tally.accepted_count,
        server.tally.duplicate_count,
        list(server.tally.moments),
    )


def test_the_sink_answers_commands_that_come_together_together() -> None:
    _, wire = converse(*mail(1))

    assert [1, 3, 1, 1] == [data.count(b"\r\n") for data in wire.writes]


def test_commands_that_come_together_wait_for_one_latency() -> None:
    _, wire = converse(*mail(1), latency=0.01)

    assert [b"220", b"250", b"250", b"221"] == [data[:3] for data in wire.writes]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_sink_takes_a_message_in_any_pieces(size: int) -> None:
    whole = b"".join([*mail(1), *mail(2)])
    server, _ = converse(*(whole[start : start + size] for start in range(0, len(whole), size)))

    assert ["b1@x.example", "b2@x.example"] == list(server.tally.moments)


@pytest.mark.parametrize("again", [mail(1, message_id="other"), mail(2, message_id="1")], ids=["recipient", "id"])
def test_a_recipient_or_a_message_id_that_comes_again_is_a_duplicate(again: list[bytes]) -> None:
    server, _ = converse(*mail(1), *again)

    assert (2, 1) == (server.tally.accepted_count, server.tally.duplicate_count)


@pytest.mark.parametrize(("accepted", "duplicates"), [(9, 0), (11, 0), (10, 1)])
def test_mail_that_is_lost_or_doubled_breaks_the_benchmark(accepted: int, duplicates: int) -> None:
    found = Accepted(accepted, duplicates, 1, 0.0, 1.0, 0.0)

    with pytest.raises(BrokenError):
        found.check(10, who="somebody")


def test_a_rate_counts_the_time_between_the_first_message_and_the_last() -> None:
    found = Accepted(11, 0, 1, 5.0, 7.0, 0.0)

    assert found.rate == 5


def test_a_delay_is_matched_by_recipient_and_never_less_than_nothing() -> None:
    found = delays({"a": 1.0, "b": 2.0}, {"b": 1.9, "a": 1.5, "c": 3.0})

    assert [0.5, 0.0] == found


def test_a_mail_that_never_came_breaks_the_benchmark() -> None:
    with pytest.raises(BrokenError):
        delays({"a": 1.0}, {})


def test_statements_of_one_database_are_counted_each_once() -> None:
    assert count_statements(LOG, "bench") == 3


def test_all_mails_are_of_one_size_and_have_recipients_of_their_own() -> None:
    first, second = content(1), content(2)

    assert first.recipient != second.recipient
    assert (1024, 2048) == (pytest.approx(len(TEXT), abs=100), pytest.approx(len(HTML), abs=100))


def test_without_names_all_sections_run() -> None:
    options = parse([])

    assert (tuple(section.name for section in SECTIONS), FULL) == (options.sections, options.sizes)


def test_a_small_benchmark_runs_once() -> None:
    options = parse(["--small"])

    assert (1, SMALL) == (options.runs, options.sizes)


def test_the_number_of_mails_may_be_chosen() -> None:
    assert parse(["--small", "--mails", "7"]).sizes.mails == 7


def test_a_section_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["drian"])

    assert "drian" in capsys.readouterr().err


def test_each_contestant_works_once_a_lap_forwards_and_backwards_by_turns() -> None:
    assert ["a", "b", "b", "a", "a", "b"] == list(in_laps(["a", "b"], 3))
