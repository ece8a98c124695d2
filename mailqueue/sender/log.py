"""Structured logs: constant event names with fields, as text or as JSON. No addresses, subjects or bodies."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

ADDRESS = re.compile(r"[^\s<>,;:]+@[^\s<>,;:]+")

logger = logging.getLogger("mailqueue.sender")


def instrument(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields; the one seam through which the sender speaks."""
    logger.log(level, event, extra={"fields": fields})


def without_addresses(text: str) -> str:
    """Hide the addresses in what a server said: logs name nobody."""
    return ADDRESS.sub("<address>", text)


class TextFormatter(logging.Formatter):
    """2026-11-21T08:00:00.123Z INFO mail.sent email=1 attempt=1."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        text = f"{_moment(record)} {record.levelname} {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": _moment(record), "level": record.levelname, "event": record.getMessage(), **_fields(record)}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}


def set_up_logging(log_format: str) -> None:
    """Send mailqueue's events to standard error in this format, whatever LOGGING says about the rest."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATTERS[log_format]())
    root = logging.getLogger("mailqueue")
    root.handlers = [handler]
    root.propagate = False
    if root.level == logging.NOTSET:
        root.setLevel(logging.INFO)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n\r\t') else text
