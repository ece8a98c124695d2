"""Figures: what was measured, in each lap of each run, and what it is to be."""

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
    runs: dict[int, list[float]] = field(default_factory=dict)
    """The values by the number of the run, in the order of its laps."""
    not_measured: str = ""
    """Why there are no values."""

    @property
    def values(self) -> list[float]:
        return [value for run in self.runs.values() for value in run]

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.runs else None

    @property
    def quietest(self) -> float | None:
        """The best of the values: what else goes on in the machine only makes figures worse."""
        if not self.runs:
            return None
        return max(self.values) if self.better is Better.HIGHER else min(self.values)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a figure stands to its target."""

    reached: list[list[float]]
    """What is held against the bound, by run and lap: values, or multiples of the other figure in the same lap."""
    is_met: list[bool]
    """Of each run, by its median."""

    @property
    def median(self) -> float:
        return statistics.median(one for run in self.reached for one in run)

    @property
    def medians(self) -> list[float]:
        """Of each run."""
        return [statistics.median(run) for run in self.reached]


class Figures:
    """All figures of a call, in the order in which they were first noted."""

    def __init__(self) -> None:
        self.run = 0
        """The number of the run that is under way."""
        self._by_key: dict[str, Figure] = {}

    def __iter__(self) -> "Any":
        return iter(self._by_key.values())

    def note(self, figure: Figure, value: float) -> None:
        """Add the value of a lap to the run under way. The first description of the figure stays."""
        self._by_key.setdefault(figure.key, figure).runs.setdefault(self.run, []).append(value)

    def miss(self, figure: Figure, reason: str) -> None:
        self._by_key.setdefault(figure.key, figure).not_measured = reason

    def verdict(self, figure: Figure) -> Verdict | None:
        """Hold a figure against its target; None where there is none, or nothing to compare with.

        A multiple is that of the other figure in the same lap: machines change their speed from minute to minute.
        """
        target = figure.target
        if target is None:
            return None
        reached = list(figure.runs.values())
        if target.of:
            other = self._by_key.get(target.of)
            others = other.runs if other else {}
            pairs = [(run, others[number]) for number, run in figure.runs.items() if number in others]
            # A call that was broken off may have ended within a lap.
            reached = [[one / beside for one, beside in zip(run, laps, strict=False)] for run, laps in pairs]
        reached = [run for run in reached if run]
        if not reached:
            return None
        verdict = Verdict(reached, [])
        for median in verdict.medians:
            verdict.is_met.append(median >= target.bound if figure.better is Better.HIGHER else median <= target.bound)
        return verdict


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the values that at least this share of them (0 to 1) does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
