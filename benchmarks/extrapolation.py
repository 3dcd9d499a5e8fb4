"""Do extrapolated curves hold on real samples? Random splits: what few samples a problem say of many.

    OMP_NUM_THREADS=1 python benchmarks/extrapolation.py [--splits 20] [--scorio PYTHON] [--run FOLDER] [--json FILE]

Sets (../shared/data/samples, skipped where absent): Game of 24, GPT-4, 100 problems, 12 of 100 samples → pass@96;
CRUXEval, CodeLlama-7B, 800 problems, 2 of 10 → pass@10. --run: a run folder with at least 128 samples a problem, 16 →
128. In each split every problem keeps some of its samples at random; the truth is the exact pass@k of all.

Beside ours stands the posterior mean under Beta(1, 1) for each problem alone, in closed form, and with --scorio (a
Python that has the package) the package's own: `tailpass(R, k).discovery()`, mean ± 1.96 sd. Fails (exit 1) if |bias|
exceeds 3 points + 2 SE or fewer than 90 % of our intervals cover.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.measure.extrapolate import coverage
from ponder.measure.fits import missed, pass_curve
from ponder.measure.samples import read

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "samples"
SETS = (("game24_gpt4_direct.jsonl", 12, 96), ("cruxeval_codellama7b_input.jsonl", 2, 10))
POINTS = 100

PEER = """
import json, sys
import numpy as np
from scorio.eval import tailpass
for line in sys.stdin:
    n, k, counts = json.loads(line)
    R = (np.arange(n)[None, :] < np.array(counts)[:, None]).astype(int)
    mean, sd = tailpass(R, k).discovery()
    print(json.dumps([float(mean), float(mean - 1.96 * sd), float(mean + 1.96 * sd)]))
"""


def peer(python: str, jobs: list[tuple[int, int, list[int]]]) -> list[list[float]]:
    lines = "".join(json.dumps(job) + "\n" for job in jobs)
    done = subprocess.run([python, "-c", PEER], input=lines, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        print(f"scorio failed: {done.stderr.strip().splitlines()[-1]}")
        return []
    return [json.loads(line) for line in done.stdout.splitlines()]


def one(name: str, path: Path, few: int, many: int, splits: int, scorio: str | None) -> dict[str, Any]:
    draws = read([path]).draws
    size = int(draws.verified.min())
    truth = float(pass_curve(draws.verified, draws.successes, [many])[0])
    found: dict[str, list[list[float]]] = {"ponder": [], "beta posteriors": [], "scorio": []}
    jobs, silent, start = [], 0, time.perf_counter()
    for split in range(splits):
        random = np.random.default_rng(split)
        some = random.hypergeometric(draws.successes, draws.verified - draws.successes, few)
        point = coverage(np.full(len(some), few), some, [many], seed=split).points[0]
        if point.value is None or point.low is None or point.high is None:
            silent += 1
        else:
            found["ponder"].append([point.value, point.low, point.high])
        mean = float(np.mean(1 - missed(1.0 + some, 1.0 + few - some, many)))
        found["beta posteriors"].append([mean, np.nan, np.nan])
        jobs.append((few, many, some.tolist()))
    spent = (time.perf_counter() - start) / splits
    if scorio:
        found["scorio"] = peer(scorio, jobs)
    print(f"{name}: {draws.problems} problems, {few} of {size} samples → pass@{many}, truth {truth:.3f}; "
          f"{splits} splits, {silent} cannot be told, {spent:.2f} s each")  # fmt: skip
    rows = {}
    for method, values in found.items():
        if not values:
            continue
        table: NDArray[np.float64] = np.array(values)
        off = table[:, 0] - truth
        bias, se = float(off.mean()), float(off.std(ddof=1) / np.sqrt(len(off)))
        row: dict[str, Any] = {"bias": bias, "se": se, "rmse": float(np.sqrt(np.mean(off**2)))}
        words = f"bias {POINTS * bias:+5.1f} ± {POINTS * se:.1f}, root mean square {POINTS * row['rmse']:4.1f} points"
        if np.isfinite(table[:, 1]).all():
            inside = (table[:, 1] <= truth) & (truth <= table[:, 2])
            row |= {"covers": float(inside.mean()), "width": float(np.mean(table[:, 2] - table[:, 1]))}
            words += f"; intervals cover {row['covers']:.0%}, width {row['width']:.2f}"
        print(f"  {method:16} {words}")
        rows[method] = row
    return {"set": name, "truth": truth, "splits": splits, "silent": silent, **rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--scorio", metavar="PYTHON", help="a Python that has the package scorio")
    parser.add_argument("--run", type=Path, help="a run folder or sample file with 128 samples a problem")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = [(name, DATA / name, few, many) for name, few, many in SETS]
    if options.run:
        path = options.run / "samples.jsonl" if options.run.is_dir() else options.run
        wanted.append((str(options.run), path, 16, 128))
    results = []
    for name, path, few, many in wanted:
        if path.exists():
            results.append(one(name, path, few, many, options.splits, options.scorio))
        else:
            print(f"{name}: not here, skipped")
    if options.json:
        options.json.write_text(json.dumps(results))
    sys.exit(any(
        abs(r["ponder"]["bias"]) > 0.03 + 2 * r["ponder"]["se"]
        or r["ponder"]["covers"] * (r["splits"] - r["silent"]) < 0.9 * r["splits"]
        for r in results
    ))  # fmt: skip


if __name__ == "__main__":
    main()
