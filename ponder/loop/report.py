"""What a run leaves for readers: samples.jsonl, metrics.jsonl, report.json and report.html."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ponder.folder import Folder
from ponder.loop.advised import advised
from ponder.loop.figures import digest, figures, written
from ponder.loop.page import page
from ponder.loop.recipe import Recipe
from ponder.models.native.library import state
from ponder.whole import write_whole

LABEL = "schedule"
"""Float32 on the CPU, in lockstep, with threads said: the same machine and versions give the same digest again."""


def facts(recipe: Recipe) -> dict[str, Any]:
    """What a run's figures depend on beside its recipe and the versions."""
    return {"device": "cpu", "dtype": "float32", "threads": recipe.threads, "passes": state()}


def write(
    folder: Folder,
    rows: Sequence[dict[str, Any]],
    learned: Mapping[str, Sequence[Mapping[str, Any]]],
    phases: Mapping[str, Mapping[str, Any]],
    rules: Mapping[str, str],
    command: str,
) -> dict[str, Any]:
    """`learned`: the figures of each training step by phase; `phases`: what each found. Returns the report."""
    ordered = sorted(rows, key=lambda row: (row["problem"], row["sample"]))
    samples = written(ordered)
    write_whole(folder.samples, samples)
    lines = [json.dumps({"phase": name, **row}) for name, own in learned.items() for row in own]
    folder.write("metrics.jsonl", "".join(line + "\n" for line in lines))
    report = {
        "schema": 1,
        "seconds": sum(phase["seconds"] for phase in phases.values()),
        "label": LABEL,
        "rules": dict(rules),
        "digest": digest(samples),
        **figures(ordered),
        **advised(ordered),
        "phases": dict(phases),
    }
    folder.write("report.json", json.dumps(report, indent=1) + "\n")
    folder.write("report.html", page(report, ordered, learned, command))
    return report
