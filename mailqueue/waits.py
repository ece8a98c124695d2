"""Waiting for a descriptor, and calls that may take long, in a thread that may be shared by many who take turns.

In a thread of its own, who waits blocks it. Where the thread has a host, the others run meanwhile.
"""

import select
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")
READABLE = select.POLLIN
WRITABLE = select.POLLOUT


class Host(Protocol):
    """Runs many in one thread, each until it waits."""

    def wait(self, fd: int, event: int, seconds: float) -> bool:
        """Let the others run until the descriptor is ready or the time is over; say whether it may be ready."""
        ...

    def in_thread(self, act: Callable[[], T]) -> T:
        """Let the others run while another thread does this. Returns what it returns and raises what it raises."""
        ...

    def forget(self, fd: int) -> None:
        """Ask no more about a descriptor: it is about to be closed."""
        ...


class _Here(threading.local):
    host: Host | None = None


here = _Here()


def wait(fd: int, event: int, seconds: float) -> None:
    """Wait until a descriptor may be READABLE or WRITABLE: the call that follows may still find that it is not.

    Raises:
        TimeoutError: it was not, for so long.
    """
    host = here.host
    if host is not None:
        is_ready = host.wait(fd, event, seconds)
    else:
        poll = select.poll()
        poll.register(fd, event)
        is_ready = bool(poll.poll(max(seconds, 0.0) * 1_000))
    if not is_ready:
        raise TimeoutError("timed out")


def blocking(act: Callable[[], T]) -> T:
    """Call what may take long, or may wait without asking us: a resolver, a handshake, a project's own code."""
    host = here.host
    return act() if host is None else host.in_thread(act)


def forget(fd: int) -> None:
    """Say that a descriptor is about to be closed, in the thread that has waited for it."""
    if here.host is not None:
        here.host.forget(fd)
