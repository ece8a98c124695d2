"""Figures: what was measured, over all runs, and what it is to be."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Better(StrEnum):
    """In which direction a figure is better."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to be: a fixed bound, or a multiple of another figure of the same call."""

    bound: float
    of: str = ""
    """The key of the other figure."""

    def threshold(self, medians: "dict[str, float]") -> float | None:
        """Return the bound in the figure's own unit; None while the other figure is missing."""
        if not self.of:
            return self.bound
        other = medians.get(self.of)
        return None if other is None else self.bound * other


@dataclass(slots=True)
class Figure:
    """One line of the table."""

    section: str
    key: str
    label: str
    unit: str
    better: Better = Better.HIGHER
    target: Target | None = None
    digits: int = 0
    values: list[float] = field(default_factory=list)
    not_measured: str = ""
    """Why there are no values."""

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def quietest(self) -> float | None:
        """The best of the runs: what else goes on in the machine only makes figures worse."""
        if not self.values:
            return None
        return max(self.values) if self.better is Better.HIGHER else min(self.values)

    def is_met(self, medians: dict[str, float]) -> bool | None:
        """Whether the median reaches the target; None where there is none, or nothing to compare with."""
        threshold = self.target.threshold(medians) if self.target else None
        if threshold is None or self.median is None:
            return None
        return self.median >= threshold if self.better is Better.HIGHER else self.median <= threshold


class Figures:
    """All figures of a call, in the order in which they were first noted."""

    def __init__(self) -> None:
        self._by_key: dict[str, Figure] = {}

    def __iter__(self) -> "Any":
        return iter(self._by_key.values())

    def note(self, figure: Figure, value: float) -> None:
        """Add the value of one run. The first run's description of the figure stays."""
        self._by_key.setdefault(figure.key, figure).values.append(value)

    def miss(self, figure: Figure, reason: str) -> None:
        self._by_key.setdefault(figure.key, figure).not_measured = reason

    def medians(self) -> dict[str, float]:
        return {figure.key: figure.median for figure in self._by_key.values() if figure.median is not None}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the values that at least this share of them (0 to 1) does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
