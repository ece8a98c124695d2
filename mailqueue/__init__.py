"""The mail outbox without a broker: Django mail, queued in Postgres in the caller's transaction.

The public names live in the rooms below and are loaded when first asked for, because Django imports this package
before its models may be loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mailqueue.version import __version__ as __version__

if TYPE_CHECKING:
    from mailqueue.api import cancel, hold, requeue, state
    from mailqueue.outbox.backend import AutonomousEmailBackend, EmailBackend
    from mailqueue.outbox.collect import collect
    from mailqueue.outbox.send import send, send_many
    from mailqueue.outbox.size import MessageTooLargeError

__all__ = [
    "AutonomousEmailBackend",
    "EmailBackend",
    "MessageTooLargeError",
    "cancel",
    "collect",
    "hold",
    "requeue",
    "send",
    "send_many",
    "state",
]

_HOMES = {
    "cancel": "mailqueue.api",
    "hold": "mailqueue.api",
    "requeue": "mailqueue.api",
    "state": "mailqueue.api",
    "AutonomousEmailBackend": "mailqueue.outbox.backend",
    "EmailBackend": "mailqueue.outbox.backend",
    "MessageTooLargeError": "mailqueue.outbox.size",
    "collect": "mailqueue.outbox.collect",
    "send": "mailqueue.outbox.send",
    "send_many": "mailqueue.outbox.send",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found
