"""Runs the loop in forked processes that are killed at random instants, over and over, and prints the digests.

    python kills.py RECIPE FOLDER RUNS KILLS      → {"whole": DIGEST, "killed": [DIGEST, …], "kills": N, "seconds": S}

A fork has everything imported already, so that instants fall into the work and not into starting up. This is a process
of its own, so that no thread has been started when it forks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from ponder.cli import main
from ponder.cli.group import guarded
from ponder.loop import phases, run


def start(recipe: Path, folder: Path) -> int:
    """The process that runs, or goes on with, the loop."""
    if pid := os.fork():
        return pid
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os._exit(guarded(main, ["loop", str(recipe), "--out", str(folder), "--jobs", "1", "--resume"]))


def digest(folder: Path) -> str:
    found: str = json.loads((folder / "report.json").read_text())["digest"]
    return found


def finished(recipe: Path, folder: Path) -> str:
    _, status = os.waitpid(start(recipe, folder), 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    return digest(folder)


def killed(recipe: Path, folder: Path, kills: int, seconds: float, draw: random.Random) -> tuple[str, int]:
    """Kills come after an equal share of the whole time, more or less, so that they spread over the run."""
    hit = 0
    for _ in range(kills):
        pid = start(recipe, folder)
        time.sleep(draw.uniform(0.2, 1.8) * seconds / kills)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        hit += os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    return finished(recipe, folder), hit


def everything() -> None:
    recipe, folder, runs, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    assert phases and run  # imported before the first fork
    began = time.monotonic()
    whole = finished(recipe, folder / "whole")
    seconds = time.monotonic() - began
    draw = random.Random(time.time_ns())
    found = [killed(recipe, folder / f"killed-{i}", kills, seconds, draw) for i in range(runs)]
    told = {"whole": whole, "killed": [d for d, _ in found], "kills": sum(n for _, n in found), "seconds": seconds}
    print(json.dumps(told))


if __name__ == "__main__":
    everything()
