"""Which number type and how many threads are fastest here, by a measurement that is made once and kept.

On a GPU it is bfloat16. On a CPU it depends on the instructions it has (bfloat16 without them is several times slower
than float32) and on how many cores are really free. The answer is kept in a file of the user's cache, so that runs
stay comparable: another type or number of threads rounds otherwise, and would end another run.
"""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from ponder.errors import StorageError
from ponder.whole import cache_folder, write_whole

WIDTH, INNER, ROWS = 576, 1536, 64  # the shapes of a small model's decoding step
ROUNDS, REPEATS = 5, 8
CLEARLY = 1.15  # times faster before fewer threads or a shorter type are taken


def probe(again: bool = False) -> dict[str, Any]:
    """{"dtype", "threads", "ms": {"float32 × 2": milliseconds of a layer's products, …}, "file"} for this CPU and this
    version of torch. `again`: measures even if an answer is kept."""
    path = _file()
    machine = f"{platform.node()} {platform.machine()} {_cores()} cores, torch {metadata.version('torch')}"
    if not again:
        try:
            kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if kept.get("machine") == machine:
                return {**kept, "file": str(path)}
        except (OSError, ValueError):
            pass
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > _cores() / 2
    found = {"machine": machine, **measure(_cores())}
    if busy and not again:  # it says more of the neighbours than of the machine
        return {**found, "file": "not kept: the machine was busy"}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(found) + "\n")
    except (OSError, StorageError):  # a read-only home: it is measured again next time
        pass
    return {**found, "file": str(path)}


def measure(cores: int) -> dict[str, Any]:
    """Times each type with all cores and with one. Needs about half a second."""
    import torch

    before = torch.get_num_threads()
    times: dict[tuple[str, int], float] = {}
    try:
        for threads in sorted({cores, 1}, reverse=True):
            torch.set_num_threads(threads)
            for name in ("float32", "bfloat16"):
                times[name, threads] = _milliseconds(getattr(torch, name))
    finally:
        torch.set_num_threads(before)
    threads = 1 if times["float32", 1] * CLEARLY < times["float32", cores] else cores
    dtype = "bfloat16" if times["bfloat16", threads] * CLEARLY < times["float32", threads] else "float32"
    shown = {f"{name} × {threads}": round(value, 3) for (name, threads), value in times.items()}
    return {"dtype": dtype, "threads": threads, "ms": shown}


def _milliseconds(dtype: Any) -> float:
    """The least time of a layer's matrix products, of several rounds."""
    import torch

    x = torch.ones(ROWS, WIDTH, dtype=dtype)
    weights = [torch.ones(INNER, WIDTH, dtype=dtype), torch.ones(WIDTH, INNER, dtype=dtype)]
    best = float("inf")
    with torch.inference_mode():
        for _ in range(ROUNDS):
            start = perf_counter()
            for _ in range(REPEATS):
                torch.nn.functional.linear(torch.nn.functional.linear(x, weights[0]), weights[1])
            best = min(best, perf_counter() - start)
    return best / REPEATS * 1e3


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _file() -> Path:
    return cache_folder() / "probe.json"
