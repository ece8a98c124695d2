"""Structured logs: constant event names with fields, as text or as JSON. No addresses, subjects or bodies."""

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db import Error

from mailqueue.outbox.files import quotable_name
from mailqueue.queue.work import DATABASE_CLASSES

ADDRESS = re.compile(r'(?:"[^"]*"|[^\s<>,;:]+)@(?:\[[^\]]*\]|[^\s<>,;:]+)')
SPEAKING_CLASSES = DATABASE_CLASSES | {"28", "3D", "54", "55"}
"""SQLSTATE classes of errors about the database. All others are about a row, or a trigger's own, and may quote it."""

OUTSPOKEN = (Error, OSError, RuntimeError, MemoryError, ImportError, AttributeError, NameError, TypeError)
"""Exceptions whose texts are about programs and machines; those of all others quote values."""

QUOTING_REASON = re.compile(r"(data: [0-9]{3}) .*", re.DOTALL)
"""A mail service answers here, by an exception that may show what it was asked."""

PLAIN = re.compile(r'[^ "=\n\r\t]+')

package_logger = logging.getLogger("mailqueue")
logger = logging.getLogger("mailqueue.sender")


def instrument(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields; the one seam through which the sender speaks."""
    if not logger.isEnabledFor(level):
        return
    handler = _gathering_handler() if level == logging.INFO else None
    if handler is None:
        logger.log(level, event, extra={"fields": fields})
    else:
        # A sender says something of every mail: a record of the logging module takes as long as all the rest of that.
        handler.tell(event, fields)


def tell_fault(error: BaseException) -> None:
    """Log what nobody foresaw, with its traceback. Never raises: where there is no memory for it, it is left out."""
    with suppress(Exception):
        logger.error("sender.failed", exc_info=error, extra={"fields": {"error": type(error).__name__}})


def without_addresses(text: str) -> str:
    """Hide the addresses in what a server said: logs name nobody."""
    return ADDRESS.sub("<address>", text)


def told_reason(reason: str) -> str:
    """Say why a backend is shut, with nobody named: of what may quote a mail, the code alone."""
    return without_addresses(QUOTING_REASON.sub(r"\1", reason))


def told(error: BaseException) -> str:
    """Say what is wrong with nobody named: an exception's first line; empty for one that may quote a mail."""
    state = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    if state and state[:2] not in SPEAKING_CLASSES:
        return f"SQLSTATE {state}"
    if not state and not isinstance(error, OUTSPOKEN):
        return ""
    try:
        text = str(error).strip().partition("\n")[0]
        if isinstance(error, OSError) and isinstance(error.filename, str):
            text = text.replace(error.filename, quotable_name(error.filename))
        return without_addresses(text)
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
        text = told(error)
        frames = "".join(traceback.format_tb(error.__traceback__))
        lines.insert(0, f"Traceback (most recent call last):\n{frames}{kind}{': ' if text else ''}{text}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(lines)


class GatheringHandler(logging.StreamHandler[Any]):
    """Writes what is logged in one turn at once: a line by itself would let go of the interpreter each time."""

    def __init__(self, stream: Any, formatter: "TextFormatter | JsonFormatter") -> None:
        super().__init__(stream)
        self._line = formatter.line
        self._gathered: list[str] | None = None
        self.setFormatter(formatter)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Within, keep the lines; write them at the end."""
        self.acquire()
        try:
            self._gathered = []
            yield
        finally:
            lines, self._gathered = self._gathered, None
            try:
                self._write("".join(lines or ()))
            finally:
                self.release()

    def tell(self, event: str, fields: Mapping[str, Any]) -> None:
        """Log an event at INFO as if by the logging module."""
        self._take(self._line(time.time(), "INFO", event, fields))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._take(self.format(record))
        except MemoryError:
            self._emit_shortly(record)
        except Exception:  # noqa: BLE001 - as every handler
            self.handleError(record)

    def _emit_shortly(self, record: logging.LogRecord) -> None:
        """Say what there is memory for: the line without its traceback, or nothing."""
        record.exc_info = record.exc_text = None
        with suppress(MemoryError):
            self._take(self.format(record))

    def _take(self, line: str) -> None:
        with self.lock or nullcontext():
            if self._gathered is None:
                self._write(line + self.terminator)
            else:
                self._gathered.append(line + self.terminator)

    def _write(self, text: str) -> None:
        if self.stream is None:  # Python was started without one
            return
        with suppress(OSError, ValueError):  # nobody reads it any more
            self.stream.write(text)
            self.flush()


def _gathering_handler() -> GatheringHandler | None:
    """The handler of this process, where `set_up_logging` made it the only one."""
    handlers = package_logger.handlers
    is_alone = len(handlers) == 1 and not (package_logger.filters or logger.handlers or logger.filters)
    return handlers[0] if is_alone and isinstance(handlers[0], GatheringHandler) else None


def gathering() -> AbstractContextManager[None]:
    """Within, have what is logged written at once, at the end."""
    handler = _gathering_handler()
    return nullcontext() if handler is None else handler.gathering()


class TextFormatter(logging.Formatter):
    """2026-11-21T08:00:00.123Z INFO mail.sent email=1 attempt=1."""

    def line(self, created: float, level: str, event: str, fields: Mapping[str, Any]) -> str:
        told = "".join([f" {name}={_quoted(value)}" for name, value in fields.items()])
        return f"{_moment(created)} {level} {event}{told}"

    def format(self, record: logging.LogRecord) -> str:
        text = self.line(record.created, record.levelname, record.getMessage(), _fields(record))
        return f"{text}\n{_traceback(self, record)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def line(self, created: float, level: str, event: str, fields: Mapping[str, Any]) -> str:
        return json.dumps({"time": _moment(created), "level": level, "event": event, **fields}, default=str)

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        if record.exc_info:
            fields = {**fields, "exception": _traceback(self, record)}
        return self.line(record.created, record.levelname, record.getMessage(), fields)


FORMATTERS: dict[str, type[TextFormatter | JsonFormatter]] = {"text": TextFormatter, "json": JsonFormatter}


def set_up_logging(log_format: str) -> None:
    """Send mailqueue's events to standard error in this format, whatever LOGGING says about the rest."""
    handler = GatheringHandler(sys.stderr, FORMATTERS[log_format]())
    package_logger.handlers = [handler]
    package_logger.propagate = False
    if package_logger.level == logging.NOTSET:
        package_logger.setLevel(logging.INFO)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Tell the whole of an exception to those who asked for everything, and to all others what names nobody."""
    information: Any = record.exc_info
    if logger.isEnabledFor(logging.DEBUG):
        return formatter.formatException(information)
    return told_with_traceback(information[1])


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:-6]


def _moment(created: float) -> str:
    milliseconds = int(created * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


def _quoted(value: Any) -> str:
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)
