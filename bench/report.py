"""The figures as JSON."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.figures import Figure, Figures


def write(path: Path, figures: Figures, *, machine: dict[str, str], at: datetime, arguments: list[str]) -> None:
    """Write a file that says everything about a call."""
    medians = figures.medians()
    told = {
        "at": at.isoformat(timespec="seconds"),
        "arguments": arguments,
        "machine": machine,
        "figures": [described(figure, medians) for figure in figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=2) + "\n")


def described(figure: Figure, medians: dict[str, float]) -> dict[str, Any]:
    target = figure.target
    return {
        "section": figure.section,
        "key": figure.key,
        "label": figure.label,
        "unit": figure.unit,
        "better": figure.better.value,
        "values": figure.values,
        "median": figure.median,
        "quietest": figure.quietest,
        "target": target.threshold(medians) if target else None,
        "target_factor": target.bound if target and target.of else None,
        "target_of": (target.of or None) if target else None,
        "is_met": figure.is_met(medians),
        "not_measured": figure.not_measured or None,
    }
