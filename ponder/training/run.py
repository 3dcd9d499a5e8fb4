"""A run of `ponder train`: phases, each in a folder of its own and done once, and the report.

    sft, steer    before → the method → after
    distill       before → sample (unless rows are given) → distill → after
    prune         sample (unless rows are given) → prune → measure

`before` and `after` draw the same numbers of chains for the same test problems, with the same seeds, and differences
are paired by problem. What a phase reads of another it reads from the disk, so where a run was interrupted changes
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ponder.engines.hf import loading
from ponder.errors import UsageError
from ponder.folder import Folder
from ponder.train.once import Watch, metrics, perform
from ponder.train.parallel import here
from ponder.training import adapter, data, report
from ponder.training.phases import Run, phases
from ponder.training.problems import Split, split
from ponder.training.recipe import Recipe


def run(recipe: Recipe, parts: Split, folder: Folder, watch: Watch) -> dict[str, Any]:
    """Does what is not done yet, writes samples.jsonl, metrics.jsonl and report.json, and returns the report. `parts`:
    of `problems.split`. Raises UsageError for bad data, or if the folder holds a run of another recipe."""
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        with loading.quiet():
            written, rows = prepared(recipe, parts)
            place = here()
            if place.main:
                facts = {"device": recipe.machine.device, "threads": recipe.threads, "processes": place.count}
                folder.begin(recipe.as_dict(), "schedule", facts)
            shared = Run(recipe, folder, watch if place.main else _unseen, parts, written, rows, place)
            found = {
                name: perform(shared.path(name), partial(phase, shared), shared.watch, place)
                for name, phase in phases(shared).items()
            }
            return _finish(shared, found)
    finally:
        torch.set_num_threads(before)


def opened(out: str | None, method: str, resume: bool) -> Folder:
    """The run folder, the same for all processes. Raises UsageError as `Folder.open`, and if several have no name for
    it."""
    place = here()
    if place.count == 1:
        return Folder.open(out, method, resume)
    if not out:
        raise UsageError("training in several processes needs a run folder: add --out DIR")
    folder = Folder.open(out, method, resume) if place.main else Folder(Path(out))
    place.most(0.0)  # none writes there before it is opened
    return folder


def _unseen(phase: str, step: int, steps: int, figures: dict[str, float]) -> None:
    """Of several processes one reports."""


def prepared(recipe: Recipe, parts: Split) -> tuple[Sequence[data.Written], Sequence[data.Drawn]]:
    """What training reads beside problems. Raises UsageError."""
    adapter.installed(recipe)
    if recipe.method == "sft":
        return data.completions(recipe, parts), ()
    return (), data.rows(recipe, parts) if getattr(recipe.own, "samples", "") else ()


def checked(recipe: Recipe) -> Split:
    """All that can be refused before weights are loaded. Raises UsageError."""
    parts = split(recipe)
    prepared(recipe, parts)
    path = Path(recipe.model).expanduser()
    if (recipe.model.startswith((".", "/", "~")) or recipe.model.count("/") != 1) and not path.is_dir():
        raise recipe.refuse("", "model", "no such folder; give a checkpoint's folder, or a hub id OWNER/NAME")
    return parts


def _finish(run: Run, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    method = run.recipe.method
    rows: list[dict[str, Any]] = []
    for name in ("before", "after", "measure"):
        if name in found:
            rows += [json.loads(line) for line in (run.path(name) / "samples.jsonl").read_text("utf-8").splitlines()]
    numbers: dict[str, int] = {}
    for row in rows:
        row["sample"] = numbers[row["problem"]] = numbers.get(row["problem"], -1) + 1
    rows.sort(key=lambda row: (row["problem"], row["sample"]))
    learned = metrics(run.path(method))
    whole = report.report(method, rows, found, learned)
    if run.place.main:
        run.write(run.folder.path, rows)
        run.folder.write("metrics.jsonl", "".join(json.dumps({"phase": method, **row}) + "\n" for row in learned))
        run.folder.write("report.json", json.dumps(whole, indent=1) + "\n")
    return whole
