"""The mail outbox without a broker: Django mail, queued in Postgres in the caller's transaction.

The public names live in the rooms below and are loaded when first asked for, because Django imports this package
before its models may be loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailqueue.outbox.backend import EmailBackend
    from mailqueue.outbox.collect import collect

__version__ = "0.1.0"
__all__ = ["EmailBackend", "collect"]

_HOMES = {
    "EmailBackend": "mailqueue.outbox.backend",
    "collect": "mailqueue.outbox.collect",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
