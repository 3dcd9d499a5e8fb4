"""One run of the loop, from a recipe to its report."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

from ponder.engines.hf.loading import quiet
from ponder.folder import Folder
from ponder.loop import report
from ponder.loop.phases import phases
from ponder.loop.recipe import Recipe
from ponder.loop.rounds import Run
from ponder.train.once import Watch, metrics, perform


def run(recipe: Recipe, folder: Folder, watch: Watch, command: str = "") -> dict[str, Any]:
    """Does what is not done yet, writes what readers need and returns the report. Raises UsageError if the folder holds
    a run of another recipe."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        with quiet():
            facts = {"device": "cpu", "dtype": "float32", "threads": recipe.threads}
            folder.begin(recipe.as_dict(), report.LABEL, facts)
            shared = Run(recipe, folder, watch)
            work = {name: partial(phase, shared) for name, phase in phases(recipe).items()}
            found = {name: perform(shared.path(name), phase, watch) for name, phase in work.items()}
            learned = {name: metrics(shared.path(name)) for name in found}
            rules = {"off": found["settle"]["off"], "on": f"{recipe.measure.on}/guide"}
            return report.write(folder, _samples(shared), learned, found, rules, command)
    finally:
        torch.set_num_threads(before)


def _samples(run: Run) -> list[dict[str, Any]]:
    """The rows of both phases that test, numbered within their problems."""
    rows = [
        json.loads(line)
        for phase in ("measure", "compare")
        for line in (run.path(phase) / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    count: Counter[str] = Counter()
    for row in rows:
        row["sample"] = count[row["problem"]]
        count[row["problem"]] += 1
    return rows
