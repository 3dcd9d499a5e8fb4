"""One run of the loop, from a recipe to its report."""

from __future__ import annotations

import json
from typing import Any

from ponder.engines.hf.loading import quiet
from ponder.folder import Folder
from ponder.loop.figures import figures
from ponder.loop.page import page
from ponder.loop.phases import Run, Watch, metrics, perform, phases
from ponder.loop.recipe import Recipe

LABEL = "schedule"
"""Float32 on the CPU, in lockstep, with threads said: the same machine and versions give the same digest again."""


def run(recipe: Recipe, folder: Folder, watch: Watch, command: str = "") -> dict[str, Any]:
    """Does what is not done yet, writes samples.jsonl, metrics.jsonl, report.json and report.html, and returns the
    report. Raises UsageError if the folder holds a run of another recipe."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        with quiet():
            folder.begin(recipe.as_dict(), LABEL, {"device": "cpu", "dtype": "float32", "threads": recipe.threads})
            shared = Run(recipe, folder, watch)
            found = {name: perform(shared, name, phase) for name, phase in phases(recipe).items()}
            return _report(shared, found, command)
    finally:
        torch.set_num_threads(before)


def _report(run: Run, found: dict[str, dict[str, Any]], command: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in run.folder.samples.read_text(encoding="utf-8").splitlines()]
    learned = {name: metrics(run.path(name)) for name in found}
    lines = [json.dumps({"phase": name, **row}) for name, own in learned.items() for row in own]
    run.folder.write("metrics.jsonl", "".join(line + "\n" for line in lines))
    report = {
        "schema": 1,
        "seconds": sum(phase["seconds"] for phase in found.values()),
        "label": LABEL,
        **figures(rows),
        "rules": {"off": found["settle"]["off"], "on": f"{run.recipe.measure.on}/prm"},
        "phases": found,
    }
    run.folder.write("report.json", json.dumps(report, indent=1) + "\n")
    run.folder.write("report.html", page(report, rows, found, learned, command))
    return report
