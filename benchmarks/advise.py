"""Is the advice right? Simulated worlds, advice from recorded samples, each lever followed with fresh draws.

    OMP_NUM_THREADS=1 python benchmarks/advise.py [--worlds 200] [--seed 0] [--json FILE]

For each world and lever: does the realised gain lie in the stated 95 % interval? Realised on the same problems, drawn
afresh many times before and after (the advice followed), and on new problems of the same population; and does the gain
seen in one try a problem, before and after, lie in the wider interval stated for that (`once`)? The first half of the
worlds have the fitted forms (beta p, normal scores of equal spread), the other half violate them: p bimodal, fixed,
logit-normal or partly 0; errors with t(3) tails, shared by equal answers, wider for wrong chains, skewed, a gap that
differs by problem, scores squashed to [0, 1]. A third of all worlds has no scores: the lever is pulled on the vote.
Fails (exit 1) if less than 90 % of the gains realised on the same problems lie within their intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.measure.curves import estimator
from ponder.measure.data import Draws
from ponder.measure.levers import NAMES, levers

Floats = NDArray[np.float64]
Random = np.random.Generator

CHANCES: dict[str, Callable[[Random, int], Floats]] = {
    "bimodal": lambda r, m: np.where(r.random(m) < 0.5, r.beta(2, 38, m), r.beta(18, 2, m)),
    "fixed": lambda r, m: np.full(m, r.uniform(0.08, 0.5)),
    "logit-normal": lambda r, m: 1 / (1 + np.exp(-r.normal(-1.0, 1.8, m))),
    "partly 0": lambda r, m: r.beta(0.8, 1.5, m) * (r.random(m) > 0.3),
}
ERRORS = ("t(3)", "shared", "wider wrong", "skewed", "gap varies", "squashed")


@dataclass(frozen=True)
class World:
    """Problems with their truth. rivals [P, J]: chances of the wrong answers; own [P, J]: their shared error."""

    p: Floats
    rivals: Floats
    own: Floats
    gap: Floats
    error: str
    scored: bool

    def draw(self, random: Random, n: int, odds: float = 1.0, noise: float = 1.0) -> Draws:
        m = len(self.p)
        p = odds * self.p / (1 - self.p + odds * self.p)
        right = random.random((m, n)) < p[:, None]
        table = np.cumsum(self.rivals, axis=1)
        wrong = 1 + (random.random((m, n))[..., None] > table[:, None, :-1]).sum(axis=-1)
        answer = np.where(right, 0, wrong)
        if not self.scored:
            return Draws.of(list(answer), list(right))
        e = random.standard_t(3, (m, n)) if self.error == "t(3)" else random.standard_normal((m, n))
        if self.error == "skewed":
            e = random.gamma(2.0, 1 / np.sqrt(2), (m, n)) - np.sqrt(2)
        if self.error == "wider wrong":
            e = np.where(right, 0.8, 1.5) * e
        if self.error == "shared":
            e = 0.8 * e + np.where(right, 0.0, 0.6 * np.take_along_axis(self.own, wrong - 1, axis=1))
        score = self.gap[:, None] * right + noise * e
        if self.error == "squashed":
            score = 1 / (1 + np.exp(-1.5 * score))
        return Draws.of(list(answer), list(right), list(score))


def population(random: Random, violate: bool) -> Callable[[Random, int], World]:
    name, error = (str(random.choice(list(CHANCES))), str(random.choice(ERRORS))) if violate else ("", "normal")
    a, b = random.uniform(0.3, 1.5), random.uniform(0.6, 2.5)
    rivals, heap = int(random.integers(2, 16)), random.uniform(0.2, 2.0)
    gap, scored = random.uniform(0.2, 2.0), bool(random.random() < 2 / 3)

    def problems(r: Random, m: int) -> World:
        p = CHANCES[name](r, m) if violate else r.beta(a, b, m)
        shift = r.normal(0, 0.6, m) if error == "gap varies" else np.zeros(m)
        return World(
            p, r.dirichlet(np.full(rivals, heap), m), r.standard_normal((m, rivals)), gap + shift, error, scored
        )

    return problems


def followed(world: World, random: Random, select: str, n: int, times: int = 16) -> dict[str, float]:
    """The accuracy of fresh draws before and with each lever pulled, from `times` as many chains as are picked from."""
    settings = {"base": (n, 1.0, 1.0), "samples": (2 * n, 1.0, 1.0), "taste": (n, 1.0, 0.5), "steering": (n, 1.5, 1.0)}
    settings["length"] = (int(1.5 * n), 1.0, 1.0)
    return {
        name: float(estimator(select)(world.draw(random, times * k, odds, noise), [k]).mean[0])
        for name, (k, odds, noise) in settings.items()
        if not (name == "taste" and select == "maj")
    }


def one(seed: int, violate: bool) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    problems = population(random, violate)
    world = problems(random, int(random.choice([60, 120, 240])))
    size = int(random.choice([8, 16, 32]))
    n = int(size * random.choice([0.25, 0.5, 1.0, 2.0]))
    recorded = world.draw(random, size)
    found = levers(recorded, n, seed=seed)
    same = followed(world, random, found.select, n)
    once = followed(world, random, found.select, n, times=1)
    new = followed(problems(random, len(world.p)), random, found.select, n)
    rows = []
    for lever in found.levers:
        if lever.gain is None or lever.low is None or lever.high is None:
            rows.append({"lever": lever.lever, "violates": violate, "omitted": lever.omitted})
            continue
        row = {"lever": lever.lever, "violates": violate, "gain": lever.gain, "low": lever.low, "high": lever.high}
        for name, after in (("same", same), ("new", new)):
            gain = after[lever.lever] - after["base"]
            row |= {name: gain, f"in_{name}": lever.low <= gain <= lever.high}
        if lever.once is not None:
            row["in_once"] = lever.once[0] <= once[lever.lever] - once["base"] <= lever.once[1]
        rows.append(row | {"how": lever.how, "error": world.error, "select": found.select, "n": n, "size": size})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    rows = [
        row for i in range(options.worlds) for row in one(1000 * options.seed + i, violate=i >= options.worlds // 2)
    ]
    said = [row for row in rows if "gain" in row]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in said:
        form = "violated" if row["violates"] else "fitted"
        for key in ((row["lever"], form), (row["lever"], "all"), ("all", form), ("all", "all")):
            groups[key].append(row)
    print(f"{options.worlds} worlds, {len(said)} levers said, {len(rows) - len(said)} omitted")
    names = f"{'same problems':>14} {'new problems':>13} {'tried once':>11}"
    print(f"{'lever':9} {'form':9} {'levers':>6} {names} {'bias':>8} {'width':>6}")
    for lever in (*NAMES, "all"):
        for form in ("fitted", "violated", "all"):
            some = groups[lever, form]
            if some:
                same, new, once = (np.mean([row[key] for row in some]) for key in ("in_same", "in_new", "in_once"))
                bias = np.mean([row["gain"] - row["same"] for row in some])
                width = np.mean([row["high"] - row["low"] for row in some])
                print(
                    f"{lever:9} {form:9} {len(some):6} {same:14.1%} {new:13.1%} {once:11.1%} {bias:+8.4f} {width:6.3f}"
                )
    print(f"{time.perf_counter() - start:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(rows))
    sys.exit(int(np.mean([row["in_same"] for row in said]) < 0.9))


if __name__ == "__main__":
    main()
