"""What a site's tests of its mail can use: an outbox to assert on, and a mail server that says what they want.

Importing this needs neither settings nor pytest; what works on the database, asks for Django when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailqueue.testing.draining import Drained, drain
    from mailqueue.testing.outbox import Outbox, QueuedMail, queueing
    from mailqueue.testing.smtp_limits import Limits
    from mailqueue.testing.smtp_script import Command, CutBody, Drop, Script, Silence, Unanswered
    from mailqueue.testing.smtp_server import Accepted, SmtpServer
    from mailqueue.testing.smtp_session import Session

__all__ = [
    "Accepted",
    "Command",
    "CutBody",
    "Drained",
    "Drop",
    "Limits",
    "Outbox",
    "QueuedMail",
    "Script",
    "Session",
    "Silence",
    "SmtpServer",
    "Unanswered",
    "drain",
    "queueing",
]

_HOMES = {
    "Accepted": "smtp_server",
    "Command": "smtp_script",
    "CutBody": "smtp_script",
    "Drained": "draining",
    "Drop": "smtp_script",
    "Limits": "smtp_limits",
    "Outbox": "outbox",
    "QueuedMail": "outbox",
    "Script": "smtp_script",
    "Session": "smtp_session",
    "Silence": "smtp_script",
    "SmtpServer": "smtp_server",
    "Unanswered": "smtp_script",
    "drain": "draining",
    "queueing": "outbox",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
