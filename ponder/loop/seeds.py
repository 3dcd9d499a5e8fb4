"""One recipe under several training seeds: each a run of its own below the folder, and one report of all.

The claim 'it helps' is about training, so what another seed would have learned belongs in the interval.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ponder.errors import PonderError
from ponder.folder import Folder
from ponder.loop.recipe import Recipe
from ponder.loop.report import LABEL, facts, write
from ponder.train.once import Watch


def run(recipe: Recipe, folder: Folder, watch: Watch, command: str, jobs: int) -> dict[str, Any]:
    """Runs seeds recipe.seed, …, at most `jobs` at a time, each in a process of its own, and reports them as one.
    Raises UsageError if the folder holds a run of another recipe, PonderError with what a process said if it failed."""
    folder.begin(recipe.as_dict(), LABEL, facts(recipe))
    seeds = range(recipe.seed, recipe.seed + recipe.seeds)
    processes: dict[int, subprocess.Popen[str]] = {}
    stopped = threading.Event()

    def work(seed: int) -> None:
        if stopped.is_set():
            return
        words = [
            "loop",
            str(folder.recipe),
            "--seed",
            str(seed),
            "--seeds",
            "1",
            "--jobs",
            "1",
            "--out",
            str(_part(folder, seed)),
        ]
        with subprocess.Popen(
            [sys.executable, "-m", "ponder", *words, "--resume"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
            text=True,
        ) as process:  # fmt: skip
            processes[seed] = process
            last: deque[str] = deque(maxlen=1)
            for line in process.stderr or ():
                last.append(line.strip())
                watch(f"seed {seed}: {line.strip()}", 0, 0, {})
        if process.returncode != 0 and not stopped.is_set():
            stopped.set()
            raise PonderError(f"seed {seed}: {last[0].removeprefix('ponder: ') if last else 'ended without a word'}")

    try:
        with ThreadPoolExecutor(jobs) as pool:
            for done in [pool.submit(work, seed) for seed in seeds]:
                done.result()
    except BaseException:
        stopped.set()
        for process in processes.values():
            process.terminate()
        raise
    return _reported(folder, seeds, command)


def _part(folder: Folder, seed: int) -> Path:
    return folder.path / f"seed-{seed}"


def _reported(folder: Folder, seeds: Sequence[int], command: str) -> dict[str, Any]:
    parts = [Folder(_part(folder, seed)) for seed in seeds]
    reports = [json.loads((part.path / "report.json").read_text(encoding="utf-8")) for part in parts]
    rows = [row for seed, part in zip(seeds, parts, strict=True) for row in _rows(seed, part)]
    learned: dict[str, list[dict[str, Any]]] = {}
    for line in parts[0].path.joinpath("metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        learned.setdefault(row.pop("phase"), []).append(row)
    phases = {name: _added([report["phases"][name] for report in reports]) for name in reports[0]["phases"]}
    rules = {key: ", ".join(dict.fromkeys(report["rules"][key] for report in reports)) for key in ("off", "on")}
    return write(folder, rows, learned, phases, rules, command)


def _rows(seed: int, part: Folder) -> Iterator[dict[str, Any]]:
    """A seed's rows; the problem's id carries the seed, for each seed's problems are its own."""
    for line in part.samples.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield row | {"problem": f"seed-{seed}/{row['problem']}"}


def _added(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a phase cost over all seeds; the rest is the first seed's."""
    costs = ("seconds", "tokens", "scorer_tokens", "rows", "chains", "demonstrations")
    return found[0] | {
        key: sum(own[key] for own in found)
        for key in costs
        if key in found[0] and all(isinstance(own[key], (int, float)) for own in found)
    }
