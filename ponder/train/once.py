"""Work that is done once: it has a folder of its own and writes `done.json` there last. What was killed is taken up
again; what is done is read."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ponder.errors import PonderError
from ponder.train.parallel import Processes
from ponder.whole import write_whole

Watch = Callable[[str, int, int, dict[str, float]], None]
"""Told (phase, step, steps, figures) as a phase goes on, and once, with step = steps, of a phase that is done; or, with
steps = 0, a line that another process has said."""


def done(folder: Path) -> dict[str, Any] | None:
    """What finished work found; None if it is not finished."""
    path = folder / "done.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def perform(
    folder: Path, work: Callable[[Path], dict[str, Any]], watch: Watch, processes: Processes | None = None
) -> dict[str, Any]:
    """Does the work in `folder`, whose name is the phase's, unless it is done already; all `processes` do it, and one
    writes. `seconds` counts the attempt that finished it. Raises PonderError where training broke down."""
    place = processes or Processes()
    found = done(folder)
    if not place.most(float(found is not None and place.main)):  # the same for all of them, and none goes ahead
        began = time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = work(folder)
        except FloatingPointError as error:
            raise PonderError(
                f"{folder.name}: {error}; lower its learning rate (optimiser.lr), or check the engine"
            ) from None
        found["seconds"] = time.perf_counter() - began
        place.most(0.0)
        if place.main:
            write_whole(folder / "done.json", json.dumps(found, indent=1) + "\n")
    assert found is not None
    watch(folder.name, 1, 1, {k: v for k, v in found.items() if isinstance(v, (int, float))} | {"done": 1})
    return found


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The figures of each step of work that trained; none if it did not."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def anew(path: Path) -> Path:
    """Makes room for a checkpoint that killed work may have left."""
    if path.exists():
        shutil.rmtree(path)
    return path
