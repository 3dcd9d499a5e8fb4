"""Phases that do not wait for each other run side by side, each in a process of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from ponder.folder import Folder
from ponder.loop.phases import phases
from ponder.loop.recipe import Recipe
from ponder.loop.rounds import Run
from ponder.train.once import Watch, perform

_told: Any = None  # in a worker: the queue of what it has to say


def alone(recipe: Recipe, folder: Folder, watch: Watch) -> dict[str, dict[str, Any]]:
    """Every phase in this process, one after the other: {name: what it found}."""
    import torch

    from ponder.engines.hf.loading import quiet

    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        with quiet():
            run = Run(recipe, folder, watch)
            return {n: perform(run.path(n), partial(phase.work, run), watch) for n, phase in phases(recipe).items()}
    finally:
        torch.set_num_threads(before)


def together(recipe: Recipe, folder: Folder, watch: Watch, jobs: int) -> dict[str, dict[str, Any]]:
    """The same, up to `jobs` phases at a time. What a phase finds is a function of the disk alone, so the order in
    which they end has no say. If one fails, those that run are stopped, and what it raised is raised here."""
    wanted = phases(recipe)
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")  # it tells of stopped workers' locks
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(told, watch), daemon=True)
    listener.start()
    found: dict[str, dict[str, Any]] = {}
    running: dict[Future[dict[str, Any]], str] = {}
    pool = ProcessPoolExecutor(jobs, context, _ready, (os.getpid(), told))
    try:
        while len(found) < len(wanted):
            for name in _free(wanted, found, running)[: jobs - len(running)]:
                running[pool.submit(_work, recipe, folder.path, name)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                found[running.pop(future)] = future.result()
    except BaseException:
        for process in (getattr(pool, "_processes", None) or {}).values():
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        told.put(None)
        listener.join()
    return {name: found[name] for name in wanted}


def _free(wanted: Mapping[str, Any], found: Mapping[str, Any], running: Mapping[Any, str]) -> list[str]:
    """The phases that may begin now, in order."""
    begun = {*found, *running.values()}
    return [n for n, phase in wanted.items() if n not in begun and all(need in found for need in phase.needs)]


def _listen(told: Any, watch: Watch) -> None:
    while (event := told.get()) is not None:
        watch(*event)


def _ready(parent: int, told: Any) -> None:
    """A worker leaves interrupts to its parent, and does not outlive it: a run that goes on would meet it."""
    global _told
    _told = told
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _work(recipe: Recipe, path: Path, name: str) -> dict[str, Any]:
    import torch

    from ponder.engines.hf.loading import quiet

    torch.set_num_threads(recipe.threads)

    def watch(phase: str, step: int, steps: int, figures: dict[str, float]) -> None:
        _told.put((phase, step, steps, figures))

    with quiet():
        run = Run(recipe, Folder(path), watch)
        return perform(run.path(name), partial(phases(recipe)[name].work, run), watch)
