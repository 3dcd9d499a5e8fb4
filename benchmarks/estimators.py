"""Times all four curves on 500 problems × 1,024 samples at k = 1, 2, 4, …, 1024, on one core.

    OMP_NUM_THREADS=1 python benchmarks/estimators.py [--problems 500] [--samples 1024] [--json FILE]

Beside them, in the same run, the peer package `scorio` where it computes the same thing (pass@k and pass^k over a 0/1
matrix; its maj@k is another quantity, 'more than half correct'). It is no dependency: without it the line says so.
The world: p ~ Beta(0.6, 0.9) a problem; wrong answers fall on 2 to 40 classes by a Dirichlet; 3 % abstain; scores are
logistic with noise. Building `Draws` from per-problem arrays is timed too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ponder.measure.estimators import (
    Draws,
    best_of_n_at_k,
    doublings,
    maj_at_k,
    pass_at_k,
    pass_hat_k,
    weighted_at_k,
)


def world(
    problems: int, samples: int, seed: int = 0
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.bool_]], list[NDArray[np.float64]]]:
    """Class ids, correctness and scores, one array a problem."""
    random = np.random.default_rng(seed)
    classes, correct, scores = [], [], []
    for _ in range(problems):
        p = random.beta(0.6, 0.9)
        wrong = random.dirichlet(np.full(int(random.integers(2, 41)), 0.3))
        right = random.random(samples) < p
        label = np.where(right, 0, 1 + random.choice(len(wrong), size=samples, p=wrong))
        label[~right & (random.random(samples) < 0.03)] = -1
        classes.append(label.astype(np.int64))
        correct.append(right)
        scores.append(1 / (1 + np.exp(-random.normal(np.where(right, 0.6, -0.6), 1.0))))
    return classes, correct, scores


def timed(call: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """(first, best) seconds: the first call fills the caches."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[0], min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    raw = world(options.problems, options.samples)
    ks = doublings(options.samples)
    draws = Draws.of(*raw)
    curves: dict[str, Callable[[], object]] = {
        "build Draws": lambda: Draws.of(*raw),
        "pass": lambda: pass_at_k(draws, ks),
        "maj": lambda: maj_at_k(draws, ks),
        "best_of_n": lambda: best_of_n_at_k(draws, ks),
        "weighted": lambda: weighted_at_k(draws, ks),
    }
    found = {name: timed(call) for name, call in curves.items()}
    print(f"{options.problems} problems x {options.samples} samples, k = 1, 2, 4, ..., {ks[-1]}")
    print("  seconds        first  best of 3")
    for name, (first, best) in found.items():
        print(f"  {name:<12} {first:7.3f} {best:7.3f}")
    print(f"  {'all':<12} {sum(f for f, _ in found.values()):7.3f} {sum(b for _, b in found.values()):7.3f}")
    error = weighted_at_k(draws, ks).mean_stderr
    print(f"  weighted vote: standard error of the mean from its subsets at most {100 * error.max():.2f} points")
    found |= peers(np.array(raw[1]), ks)
    if options.json:
        options.json.write_text(json.dumps({name: {"first": a, "best": b} for name, (a, b) in found.items()}) + "\n")


def peers(correct: NDArray[np.bool_], ks: tuple[int, ...]) -> dict[str, tuple[float, float]]:
    """scorio's pass@k and pass^k on the same data, and ours; empty if it is not installed."""
    try:
        from scorio import eval as scorio  # type: ignore[import-not-found]
    except ImportError:
        print("  scorio: not installed (pip install scorio in an environment of its own puts it beside)")
        return {}
    table = correct.astype(int)
    draws = Draws.of([np.where(row, 0, 1) for row in correct], list(correct))
    found = {
        "scorio pass@k": timed(lambda: [scorio.pass_at_k(table, k) for k in ks]),
        "ours pass@k": timed(lambda: pass_at_k(draws, ks)),
        "scorio pass^k": timed(lambda: [scorio.pass_hat_k(table, k) for k in ks]),
        "ours pass^k": timed(lambda: pass_hat_k(draws, ks)),
    }
    for name, (first, best) in found.items():
        print(f"  {name:<14} {first:7.4f} {best:7.4f}")
    theirs = [scorio.pass_at_k(table, k) for k in ks]
    means = [x[0] if isinstance(x, tuple) else x for x in theirs]
    print(f"  largest difference of pass@k: {np.max(np.abs(np.array(means) - pass_at_k(draws, ks).mean)):.1e}")
    return found


if __name__ == "__main__":
    main()
