"""Laps: who is compared works in turn, so that a machine that gets slower is no one's fault."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_laps(contestants: Sequence[T], laps: int) -> Iterator[T]:
    """Give each contestant once a lap, forwards and backwards by turns."""
    for lap in range(laps):
        yield from contestants if lap % 2 == 0 else reversed(contestants)
