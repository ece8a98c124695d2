"""Calls as a sender makes them: by a task that shares its thread."""

from collections.abc import Callable
from typing import Any, TypeVar

from mailqueue.sender.hub import Hub

T = TypeVar("T")
LONG_SECONDS = 60.0


def in_hub(act: Callable[[], T]) -> T:
    """Call something in a hub of its own; return what it returns, or raise what it raises."""
    results: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        task.next_order()
        try:
            results.append((act(), None))
        except BaseException as error:  # noqa: BLE001 - it is for who has called
            results.append((None, error))

    hub = Hub(name="hub of a test", afterwards=lambda: None)
    task = hub.enter(run, name="task of a test")
    hub.start()
    task.put(None)
    hub.join(LONG_SECONDS)
    assert results, f"not done after {LONG_SECONDS} s"
    hub.end(timeout=LONG_SECONDS)
    (value, error) = results.pop()
    if error is not None:
        raise error
    returned: T = value
    return returned
