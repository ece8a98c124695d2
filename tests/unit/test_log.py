"""How the sender's events look."""

import json
import logging
import re
from io import StringIO

import pytest

from mailqueue.sender.log import GatheringHandler, JsonFormatter, TextFormatter, told, told_reason, without_addresses


def record(**fields: object) -> logging.LogRecord:
    made = logging.LogRecord("mailqueue.sender", logging.INFO, "", 0, "mail.sent", (), None)
    made.fields = fields
    return made


def test_text_is_the_event_and_its_fields() -> None:
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO mail\.sent email=1 text="two words" none=""',
        TextFormatter().format(record(email=1, text="two words", none="")),
    )


def test_json_is_one_object() -> None:
    found = json.loads(JsonFormatter().format(record(email=1, path=pytest)))

    assert ("mail.sent", "INFO", 1) == (found["event"], found["level"], found["email"])


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_exception_is_told_with_its_traceback(formatter: logging.Formatter) -> None:
    made = record()
    made.exc_info = (RuntimeError, RuntimeError("no jane@example.com"), None)

    assert "RuntimeError: no <address>" in formatter.format(made)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_exception_that_quotes_values_is_quoted_to_those_alone_who_asked_for_everything(
    formatter: logging.Formatter, caplog: pytest.LogCaptureFixture
) -> None:
    made = record()
    made.exc_info = (ValueError, ValueError("Your order, jane@example.com"), None)

    assert "Your order" not in formatter.format(made)
    with caplog.at_level(logging.DEBUG, logger="mailqueue.sender"):
        assert "ValueError: Your order, jane@example.com" in formatter.format(made)


class StarvedFormatter(TextFormatter):
    """There is no memory for a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info:
            raise MemoryError
        return super().format(record)


def test_without_memory_for_a_traceback_the_event_is_told_without_it() -> None:
    made = record(error="MemoryError")
    made.exc_info = (MemoryError, MemoryError(), None)
    stream = StringIO()
    GatheringHandler(stream, StarvedFormatter()).handle(made)

    assert re.fullmatch(r".* mail\.sent error=MemoryError\n", stream.getvalue())


def test_a_field_cannot_break_the_line() -> None:
    assert "\n" not in TextFormatter().format(record(text="a\nb"))


def test_the_words_of_a_server_are_logged_without_addresses() -> None:
    said = "mail: 553 5.7.1 <Shop.Owner+x@example.com>: not owned by user jane@example.com"

    assert "mail: 553 5.7.1 <<address>>: not owned by user <address>" == without_addresses(said)


class StorageError(Exception):
    """What a project's own code raises."""


def of_state(state: str) -> Exception:
    error = RuntimeError("no: Your order, Jane Doe")
    error.sqlstate = state  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("Your order"), ""),
        (StorageError("Your order"), ""),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (FileNotFoundError(2, "No such file", "/media/0a1b.Jane_Doe"), "[Errno 2] No such file: '/media/0a1b'"),
        (FileNotFoundError(2, "No such file", "/media/0a1b.pdf"), "[Errno 2] No such file: '/media/0a1b.pdf'"),
        (of_state("57P01"), "no: Your order, Jane Doe"),
        (of_state("P0001"), "SQLSTATE P0001"),
        (of_state("AB123"), "SQLSTATE AB123"),
    ],
)
def test_an_exception_is_quoted_only_where_it_speaks_of_programs_and_machines(error: Exception, expected: str) -> None:
    assert expected == told(error)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("data: 401 Sending to Jane Doe <jane@x>\nYour order", "data: 401"),
        ("auth: 535 5.7.8 jane@example.com must log in", "auth: 535 5.7.8 <address> must log in"),
        ("connect: ConnectionRefusedError", "connect: ConnectionRefusedError"),
    ],
)
def test_a_reason_is_told_without_what_a_service_may_quote(reason: str, expected: str) -> None:
    assert expected == told_reason(reason)
