"""One run of the loop, from a recipe to its report."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from ponder.folder import Folder
from ponder.loop import pool, report
from ponder.loop.recipe import Recipe
from ponder.train.once import Watch, metrics


def run(recipe: Recipe, folder: Folder, watch: Watch, command: str = "", jobs: int = 1) -> dict[str, Any]:
    """Does what is not done yet, writes what readers need and returns the report. `jobs`: phases at a time. Raises
    UsageError if the folder holds a run of another recipe."""
    folder.begin(recipe.as_dict(), report.LABEL, report.facts(recipe))
    found = pool.alone(recipe, folder, watch) if jobs == 1 else pool.together(recipe, folder, watch, jobs)
    learned = {name: metrics(folder.path / name) for name in found}
    rules = {"off": found["settle"]["off"], "on": f"{recipe.measure.on}/guide"}
    return report.write(folder, _samples(folder.path, list(found)), learned, found, rules, command)


def _samples(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """The rows of the phases that test, numbered within their problems."""
    tests = ["measure", *(name for name in names if name.startswith("compare-"))]
    rows = [
        json.loads(line)
        for phase in tests
        for line in (folder / phase / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    count: Counter[str] = Counter()
    for row in rows:
        row["sample"] = count[row["problem"]]
        count[row["problem"]] += 1
    return rows
