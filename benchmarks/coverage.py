"""Does the nominal 95 % interval cover? Simulated studies for every estimator, k, world and number of problems.

    python benchmarks/coverage.py [--studies 2000] [--problems 30,100,500] [--bank 10000] [--quick]
                                  [--json FILE] [--markdown FILE]

A world is a bank of problems: each has a chance of success, wrong answers with their own spread, abstentions, and
scores; its n samples are drawn once and every estimator is computed on them by ponder's own code. A study draws M
problems from the bank with replacement, and asks whether the interval holds the bank's mean, which is the exact
truth for that population. Worlds and k are the constants below, fixed before the first full run; three worlds of nine
are beta-binomial. Real worlds: game24 draws 32 of each puzzle's 100 samples without replacement, CRUXEval 10 of each
problem's 10 with replacement; their scores are simulated.

A cell is LOW if its own 99 % interval lies below 93 %, HIGH if the truth lies in [.1, .9] (for differences, its size)
and coverage exceeds 97.5 %; HIGH* if that excess lies within the cell's own 99 % interval.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ponder.measure.agreement import auroc_by_problem
from ponder.measure.estimators import (
    Draws,
    best_of_n_at_k,
    expected_guesses,
    maj_at_k,
    pass_at_k,
    pass_hat_k,
    weighted_at_k,
)
from ponder.measure.intervals import Interval, mean_interval, ratio_interval, wilson

Floats = NDArray[np.float64]
Random = np.random.Generator
SAMPLES = 32
KS = (1, 4, 16, 32)
REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "samples"
SEED = 31  # the interval's constants were chosen with other seeds


class World(NamedTuple):
    """p(random, size): chances of success. wrong: classes and concentration of wrong answers. real: a file instead."""

    name: str
    kind: str
    p: Callable[[Random, int], Floats] | None
    wrong: tuple[int, float] = (5, 1.0)
    real: tuple[str, int] | None = None


def two_point(low: float, high: float, share: float) -> Callable[[Random, int], Floats]:
    return lambda random, size: np.where(random.random(size) < share, high, low)


def mixed(
    share: float, first: tuple[float, float] | None, second: tuple[float, float]
) -> Callable[[Random, int], Floats]:
    """Beta(*first) (None: 0) with this share, else Beta(*second)."""

    def draw(random: Random, size: int) -> Floats:
        low = random.beta(*first, size) if first else np.zeros(size)
        return np.where(random.random(size) < share, low, random.beta(*second, size))

    return draw


WORLDS = (
    World("Beta(.5, .9)", "beta-binomial", lambda r, s: r.beta(0.5, 0.9, s), (5, 1.0)),
    World("Beta(2, 2)", "beta-binomial", lambda r, s: r.beta(2, 2, s), (2, 5.0)),
    World("Beta(.2, 4)", "beta-binomial", lambda r, s: r.beta(0.2, 4, s), (8, 0.5)),
    World(".2 or .8", "two-point", two_point(0.2, 0.8, 0.5), (3, 1.0)),
    World(".05, a tenth .9", "two-point", two_point(0.05, 0.9, 0.1), (10, 0.3)),
    World("near 0 or 1", "bimodal", mixed(0.6, (1, 30), (30, 1)), (4, 1.0)),
    World("15 % solvable", "heavy, rare", mixed(0.85, None, (0.5, 2)), (6, 0.5)),
    World("game24, GPT-4", "real", None, real=("game24_gpt4_direct.jsonl", SAMPLES)),
    World("CRUXEval, CodeLlama", "real", None, real=("cruxeval_codellama7b_input.jsonl", 10)),
)


def simulated(world: World, size: int, random: Random) -> tuple[list[NDArray[np.int64]], list[NDArray[np.bool_]]]:
    """Class ids (0 is correct, -1 abstains) and correctness of SAMPLES draws a problem."""
    assert world.p is not None
    classes, correct = [], []
    for p in world.p(random, size):
        count, spread = world.wrong
        right = random.random(SAMPLES) < p
        answers = 1 + random.choice(count, size=SAMPLES, p=random.dirichlet(np.full(count, spread)))
        label = np.where(right, 0, np.where(random.random(SAMPLES) < 0.05, -1, answers))
        classes.append(label.astype(np.int64))
        correct.append(right)
    return classes, correct


def resampled(world: World, size: int, random: Random) -> tuple[list[NDArray[np.int64]], list[NDArray[np.bool_]]]:
    """Problems of a real file with replacement; samples without replacement where there are more than needed."""
    assert world.real is not None
    name, n = world.real
    pool: dict[str, list[tuple[str, bool]]] = {}
    with (REAL / name).open() as file:
        for line in file:
            row = json.loads(line)
            pool.setdefault(row["problem"], []).append((row["answer"], row["correct"]))
    problems = []
    for rows in pool.values():
        ids = {pair: i for i, pair in enumerate(dict.fromkeys(rows))}  # answers that disagree stay apart
        problems.append((np.array([ids[pair] for pair in rows]), np.array([good for _, good in rows])))
    classes, correct = [], []
    for i in random.integers(len(problems), size=size).tolist():
        label, right = problems[i]
        chosen = random.choice(len(label), size=n, replace=len(label) <= n)
        classes.append(label[chosen])
        correct.append(right[chosen])
    return classes, correct


def scores(classes: list[NDArray[np.int64]], correct: list[NDArray[np.bool_]], random: Random) -> list[Floats]:
    """Informative and noisy: logistic of difficulty + taste·(correct) + noise of the class + noise of the chain; taste
    differs from problem to problem."""
    out = []
    for label, right in zip(classes, correct, strict=True):
        shared = random.normal(0, 0.5, int(label.max(initial=0)) + 2)[label]
        taste = random.gamma(2.0, 0.5)
        logits = random.normal(0, 1) + taste * (right - 0.5) + shared + random.normal(0, 1, len(label))
        out.append(1 / (1 + np.exp(-logits)))
    return out


class Quantity(NamedTuple):
    """One per-problem value over the bank; weights for ratios; bounds of the values."""

    estimator: str
    k: int
    values: Floats
    bounds: tuple[float, float] = (0.0, 1.0)
    weights: Floats | None = None


def bank(world: World, size: int, seed: int = SEED) -> list[Quantity]:
    random = np.random.default_rng([seed, WORLDS.index(world)])
    classes, correct = (simulated if world.real is None else resampled)(world, size, random)
    draws = Draws.of(classes, correct, scores(classes, correct, random))
    n = SAMPLES if world.real is None else world.real[1]
    ks = (*(k for k in KS if k < n), n)
    curves = {
        "pass": pass_at_k(draws, ks).values,
        "maj": maj_at_k(draws, ks).values,
        "best_of_n": best_of_n_at_k(draws, ks).values,
        "weighted": weighted_at_k(draws, ks).values,
        "pass^k": pass_hat_k(draws, ks).values,
    }
    found = [Quantity(name, k, table[:, i]) for name, table in curves.items() for i, k in enumerate(ks)]
    found += [Quantity("guesses, capped", k, expected_guesses(draws, cap=k).values, (1.0, float(k))) for k in ks[1:]]
    area, pairs = auroc_by_problem(draws)
    found.append(Quantity("AUROC", n, area, weights=pairs.astype(np.float64)))
    for i, k in enumerate(ks[1:], start=1):
        apart = {
            "maj - pass@1": curves["maj"][:, i] - curves["pass"][:, 0],
            "pass - maj": curves["pass"][:, i] - curves["maj"][:, i],
            "best_of_n - maj": curves["best_of_n"][:, i] - curves["maj"][:, i],
        }
        # pass@k is never below maj@k where all samples are verified: the gap lies in [0, 1]
        found += [Quantity(name, k, v, (float(name != "pass - maj") * -1.0, 1.0)) for name, v in apart.items()]
    return found


class Cell(NamedTuple):
    world: str
    kind: str
    estimator: str
    k: int
    problems: int
    truth: float
    coverage: float
    below: float  # share of studies whose interval lies below the truth
    above: float
    width: float
    zero_width: int
    certain: int  # intervals [1, 1]
    verdict: str


def student(values: Floats, weights: Floats | None = None) -> Interval:
    """The control, which most tools print: mean ± t · s/√M. values, weights [studies, M], as for ratio_interval."""
    if weights is not None:
        share = np.where(np.isnan(values), 0.0, weights)
        share = share / share.mean(axis=-1, keepdims=True)
        ratio = np.nansum(share * values, axis=-1, keepdims=True) / share.sum(axis=-1, keepdims=True)
        values = ratio + share * (np.nan_to_num(values) - ratio)
    count = values.shape[-1]
    mean, half = values.mean(axis=-1), stdtrit(count - 1, 0.975) * values.std(axis=-1, ddof=1) / np.sqrt(count)
    return Interval(mean, mean - half, mean + half, np.full(mean.shape, count))


def study(
    world: World, quantity: Quantity, problems: int, studies: int, method: str = "ponder", seed: int = SEED
) -> Cell:
    values, weights, bounds = quantity.values, quantity.weights, quantity.bounds
    same = [seed, WORLDS.index(world), problems]  # the same problems for every quantity
    chosen = np.random.default_rng(same).integers(len(values), size=(studies, problems))
    found: Interval
    if weights is None:
        truth = float(values.mean())
        found = student(values[chosen]) if method == "student" else mean_interval(values[chosen], bounds=bounds)
    else:
        truth = float(np.nansum(values * weights) / weights[~np.isnan(values)].sum())
        both = values[chosen], weights[chosen]
        found = student(*both) if method == "student" else ratio_interval(*both)
    slack = 1e-12  # a truth at the very end of the scale is a sum of 10,000 rounded terms
    below, above = found.high < truth - slack, found.low > truth + slack
    hits = int(studies - below.sum() - above.sum())
    own = wilson(hits, studies, 0.99)
    low, high = bounds
    place = abs(truth) if low < 0 else (truth - low) / (high - low)
    verdict = "ok"
    if own.high < 0.93:
        verdict = "LOW"
    elif 0.1 <= place <= 0.9 and hits / studies > 0.975:
        verdict = "HIGH" if own.low > 0.975 else "HIGH*"
    width = found.high - found.low
    return Cell(
        world.name, world.kind, quantity.estimator, quantity.k, problems, truth, hits / studies, float(below.mean()),
        float(above.mean()), float(width.mean()), int(np.sum(width <= 0)), int(np.sum(found.low >= high)), verdict,
    )  # fmt: skip


def markdown(cells: list[Cell], studies: int, sizes: list[int], seconds: float) -> str:
    """Outcome, a table of estimator × problems, and the table of all cells."""
    bad = {name: sum(c.verdict == name for c in cells) for name in ("LOW", "HIGH", "HIGH*")}
    lines = [
        "<!-- written by benchmarks/coverage.py; do not edit -->",
        f"{len(cells)} cells of {studies} studies each, nominal 95 %, {seconds:.0f} s. "
        f"LOW {bad['LOW']}, HIGH {bad['HIGH']}, HIGH* {bad['HIGH*']}; "
        f"zero widths {sum(c.zero_width for c in cells)}, intervals [1, 1] {sum(c.certain for c in cells)}.",
        "",
        "Least to greatest coverage over worlds and k (%):",
        "",
        "| estimator | " + " | ".join(f"{m} problems" for m in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    for name in dict.fromkeys(c.estimator for c in cells):
        spans = []
        for m in sizes:
            found = [100 * c.coverage for c in cells if c.estimator == name and c.problems == m]
            spans.append(f"{min(found):.1f} to {max(found):.1f}")
        lines.append(f"| {name} | " + " | ".join(spans) + " |")
    lines += ["", "| world | estimator | k | truth | " + " | ".join(f"{m}" for m in sizes) + " | verdict |",
              "|---|---|---|---|" + "---|" * len(sizes) + "---|"]  # fmt: skip
    for key in dict.fromkeys((c.world, c.estimator, c.k) for c in cells):
        group = [c for c in cells if (c.world, c.estimator, c.k) == key]
        shown = " | ".join(f"{100 * c.coverage:.1f}" for c in group)
        verdicts = ", ".join(dict.fromkeys(c.verdict for c in group if c.verdict != "ok")) or "ok"
        name = f"{group[0].world} ({group[0].kind})"
        lines.append(f"| {name} | {key[1]} | {key[2]} | {group[0].truth:.4f} | {shown} | {verdicts} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--problems", default="30,100,500")
    parser.add_argument("--bank", type=int, default=10000, help="problems a world")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--method", choices=["ponder", "student"], default="ponder", help="student: the control")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--quick", action="store_true", help="small banks, 200 studies, 30 and 100 problems")
    options = parser.parse_args()
    if options.quick:
        options.studies, options.problems, options.bank = 200, "30,100", 500
    sizes = [int(m) for m in options.problems.split(",")]
    start, cells = time.perf_counter(), []
    for world in WORLDS:
        if world.real and not (REAL / world.real[0]).exists():
            print(f"{world.name}: {REAL / world.real[0]} is absent; left out")
            continue
        quantities = bank(world, options.bank, options.seed)
        cells += [study(world, q, m, options.studies, options.method, options.seed) for q in quantities for m in sizes]
        print(f"{world.name}: {time.perf_counter() - start:.0f} s", flush=True)
    table = markdown(cells, options.studies, sizes, time.perf_counter() - start)
    print(table)
    if options.markdown:
        options.markdown.write_text(table)
    if options.json:
        options.json.write_text(json.dumps({"studies": options.studies, "cells": [c._asdict() for c in cells]}) + "\n")


if __name__ == "__main__":
    main()
