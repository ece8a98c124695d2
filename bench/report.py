"""The figures as JSON."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.figures import Figure, Figures, Verdict


def write(path: Path, figures: Figures, *, machine: dict[str, str], at: datetime, arguments: list[str]) -> None:
    """Write a file that says everything about a call."""
    told = {
        "at": at.isoformat(timespec="seconds"),
        "arguments": arguments,
        "machine": machine,
        "figures": [described(figure, figures.verdict(figure)) for figure in figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=2) + "\n")


def described(figure: Figure, verdict: Verdict | None) -> dict[str, Any]:
    target = figure.target
    return {
        "section": figure.section,
        "key": figure.key,
        "label": figure.label,
        "unit": figure.unit,
        "better": figure.better.value,
        "runs": list(figure.runs.values()),
        "median": figure.median,
        "quietest": figure.quietest,
        "target": target.bound if target else None,
        "target_of": (target.of or None) if target else None,
        "reached": verdict.reached if verdict else None,
        "is_met": verdict.is_met if verdict else None,
        "not_measured": figure.not_measured or None,
    }
