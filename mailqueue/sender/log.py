"""Structured logs: constant event names with fields, as text or as JSON. No addresses, subjects or bodies."""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

from django.db import Error

ADDRESS = re.compile(r'(?:"[^"]*"|[^\s<>,;:]+)@(?:\[[^\]]*\]|[^\s<>,;:]+)')
ROW_CLASSES = ("22", "23", "P0", "XX")
"""SQLSTATE classes of errors about a row, or of a trigger's own: their texts may quote what stands in it."""

OUTSPOKEN = (Error, OSError, RuntimeError, MemoryError, ImportError, AttributeError, NameError, TypeError)
"""Exceptions whose texts are about programs and machines; those of all others quote values."""

logger = logging.getLogger("mailqueue.sender")


def instrument(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields; the one seam through which the sender speaks."""
    if logger.isEnabledFor(level):
        # Not by log(), which looks for its caller's file and line each time; the event's name says where it is from.
        logger.handle(logger.makeRecord(logger.name, level, "", 0, event, (), None, extra={"fields": fields}))


def without_addresses(text: str) -> str:
    """Hide the addresses in what a server said: logs name nobody."""
    return ADDRESS.sub("<address>", text)


def told(error: BaseException) -> str:
    """Say what is wrong with nobody named: an exception's first line, unless it is one that may quote a mail."""
    state = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    if state and state.startswith(ROW_CLASSES):
        return f"SQLSTATE {state}"
    try:
        return without_addresses(str(error).strip().partition("\n")[0])
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return ""


def told_with_traceback(error: BaseException | None) -> str:
    """Return a traceback that shows the way of an exception, and of those before it, without their texts.

    A text that may quote a mail is left out.
    """
    lines: list[str] = []
    seen: list[int] = []
    while error is not None and id(error) not in seen:
        seen.append(id(error))
        kind = type(error).__qualname__
        text = told(error) if isinstance(error, OUTSPOKEN) or hasattr(error, "sqlstate") else ""
        frames = "".join(traceback.format_tb(error.__traceback__))
        lines.insert(0, f"Traceback (most recent call last):\n{frames}{kind}{': ' if text else ''}{text}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(lines)


class GatheringHandler(logging.StreamHandler[Any]):
    """Writes what is logged in one turn at once: a line by itself would let go of the interpreter each time."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._gathered: list[str] | None = None

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Within, keep the lines; write them at the end."""
        self.acquire()
        try:
            self._gathered = []
            yield
        finally:
            lines, self._gathered = self._gathered, None
            with suppress(OSError, ValueError):  # nobody reads it any more
                self.stream.write("".join(lines or ()))
                self.flush()
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        if self._gathered is None:
            super().emit(record)
            return
        try:
            self._gathered.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - as every handler
            self.handleError(record)


def gathering() -> AbstractContextManager[None]:
    """Within, have what is logged written at once, at the end."""
    handlers = logging.getLogger("mailqueue").handlers
    found = next((handler for handler in handlers if isinstance(handler, GatheringHandler)), None)
    return nullcontext() if found is None else found.gathering()


class TextFormatter(logging.Formatter):
    """2026-11-21T08:00:00.123Z INFO mail.sent email=1 attempt=1."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        text = f"{_moment(record)} {record.levelname} {record.getMessage()}{fields}"
        return f"{text}\n{_traceback(self, record)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": _moment(record), "level": record.levelname, "event": record.getMessage(), **_fields(record)}
        if record.exc_info:
            entry["exception"] = _traceback(self, record)
        return json.dumps(entry, default=str)


FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}


def set_up_logging(log_format: str) -> None:
    """Send mailqueue's events to standard error in this format, whatever LOGGING says about the rest."""
    handler = GatheringHandler(sys.stderr)
    handler.setFormatter(FORMATTERS[log_format]())
    root = logging.getLogger("mailqueue")
    root.handlers = [handler]
    root.propagate = False
    if root.level == logging.NOTSET:
        root.setLevel(logging.INFO)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Tell the whole of an exception to those who asked for everything, and to all others what names nobody."""
    information: Any = record.exc_info
    if logger.isEnabledFor(logging.DEBUG):
        return formatter.formatException(information)
    return told_with_traceback(information[1])


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n\r\t') else text
