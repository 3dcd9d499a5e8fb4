"""Advice on a run of the loop, followed: is what was said what came? And how far each heuristic keeps it on track.

    OMP_NUM_THREADS=1 python benchmarks/followed.py RUN [--problems 300] [--samples 128] [--out DIR] [--json FILE]

RUN is the folder of a finished `ponder loop`. Advice is given from the chains that the run recorded for its first test
problems. Then fresh chains are drawn for each of these, `samples` of the base and a quarter of that of the steered
policy (DIR/base.jsonl, DIR/steered.jsonl; those that are there are not drawn again), and each lever is followed:

    samples    2 N chains of the base, best by the same scorer
    taste      the same N chains, picked by the run's guide where the policy's confidence picked before
    steering   N chains of the steered policy
    length     1.5 N chains of the base: the room that shorter chains would make (the loop makes none shorter)

The loop's taste and steering change more than the noise ÷ 2 and the odds × 1.5 that `ponder advise` states, so both are
said: the standard change, and the change by the measured factor (d' of the two scorers on the recorded chains; the
odds that would give the steered policy's pass@1). What came is the difference of exact curves over the fresh chains,
with its 95 % interval over problems; `once` is the gain of one try a problem.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ponder.engines.hf.engine import HFEngine
from ponder.folder import Folder
from ponder.loop import recipe
from ponder.loop.advised import TASTES, track
from ponder.loop.rounds import Run
from ponder.loop.tastes import rated
from ponder.measure.agreement import d_prime
from ponder.measure.curves import estimator
from ponder.measure.data import Draws
from ponder.measure.fitted import Setting, fit, simulate
from ponder.measure.intervals import difference_interval
from ponder.measure.levers import NOISE, Lever, levers
from ponder.measure.samples import draws_of_rows
from ponder.measure.words import figure
from ponder.scorers import SCORERS
from ponder.scorers.base import Seen
from ponder.train.rollouts import Group, groups
from ponder.types import Problem

Row = dict[str, Any]
PART = 40  # problems sampled at once


def fresh(run: Run, policy: str, asked: Sequence[Problem], samples: int) -> Iterator[Row]:
    """Rows of chains that no phase has seen, with the scores of every taste."""
    task, engine = run.task("test"), run.engine(policy)
    cap = run.recipe.measure.max_tokens
    found = groups(engine, task, asked, samples, cap=cap, seed=run.recipe.seed, label=f"followed/{policy}")
    guide = iter(rated(run, run.last, [chain for group in found for chain in group.chains]))
    others = [SCORERS.build(name) for name in TASTES[:2]]
    for group in found:
        seen = Seen(group.problem, run.recipe.seed)
        scores = [*(list(other.rate(seen, group.chains)) for other in others), [next(guide) for _ in group.chains]]
        yield from _rows(run, engine, group, scores)


def _rows(run: Run, engine: HFEngine, group: Group, scores: Sequence[Sequence[Any]]) -> Iterator[Row]:
    task = run.task("test")
    rules, problem = task.rules(group.problem.id), group.problem.id
    for i, (chain, verdict) in enumerate(zip(group.chains, group.verdicts, strict=True)):
        texts, valid = rules.steps(chain.reply), task.valid_steps(problem, chain.reply) or ()
        labels = valid if len(valid) == len(texts) else [None] * len(texts)
        yield {
            "problem": problem, "sample": i, "policy": engine.name, "answer": chain.answer, "correct": verdict.correct,
            "tokens": chain.tokens, "finish": chain.finish, "seed": run.recipe.seed,
            "scores": {name: own[i].value for name, own in zip(TASTES, scores, strict=True)},
            "steps": [{"text": text, "valid": ok} for text, ok in zip(texts, labels, strict=True)],
        }  # fmt: skip


def drawn(run: Run, policy: str, problems: int, samples: int, out: Path) -> list[Row]:
    """The chains that are kept for the first problems, and those that are missing, drawn now."""
    path = out / f"{policy}.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    have = {row["problem"] for row in rows}
    asked = list(run.task("test").problems(problems))
    missing = [problem for problem in asked if problem.id not in have]
    for start in range(0, len(missing), PART):
        more = list(fresh(run, policy, missing[start : start + PART], samples))
        with path.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in more))
        rows += more
        print(f"{policy}: {len(asked) - len(missing) + min(start + PART, len(missing))} problems", flush=True)
    wanted = {problem.id for problem in asked}
    return [row for row in rows if row["problem"] in wanted and row["sample"] < samples]


def recorded(run: Run, problems: set[str]) -> dict[str, list[Row]]:
    """By policy the chains that the run's 2×2 drew for these problems."""
    found: dict[str, list[Row]] = {"base": [], "steered": []}
    arms = {"steer_off_prune_off": "base", "steer_on_prune_off": "steered"}
    for row in map(json.loads, run.folder.samples.read_text().splitlines()):
        for arm in arms.keys() & set(row["arms"]):
            if row["problem"] in problems:
                found[arms[arm]].append(row)
    return found


def draws(rows: Sequence[Row], scorer: str | None, chains: slice = slice(None)) -> Draws:
    """Of some chains of each problem; without a scorer, for the vote."""
    first, last, _ = chains.indices(10**6)
    kept = [row for row in rows if first <= row["sample"] < last]
    if scorer is None:
        kept = [{key: value for key, value in row.items() if key not in ("score", "scores")} for row in kept]
    return draws_of_rows(kept, scorer=scorer).draws


def odds_to(before: Draws, passed: float) -> float:
    """The factor on the odds of each problem's p that makes the mean of p `passed`, in the world fitted to `before`."""
    world = fit(before)
    low, high = 0.1, 100.0
    for _ in range(12):
        middle = float(np.sqrt(low * high))
        (right,) = simulate(world, [Setting(1, odds=middle)], best=False, outer=40, inner=4)
        low, high = (middle, high) if right.mean() < passed else (low, middle)
    return float(np.sqrt(low * high))


def gain(before: tuple[Draws, int], after: tuple[Draws, int], select: str) -> dict[str, float]:
    """Of exact curves, paired by problem."""
    values = [estimator(select)(own, [k]).values[:, 0] for own, k in (before, after)]
    found = difference_interval(values[1], values[0])
    return {"gain": float(found.value), "low": float(found.low), "high": float(found.high)}


def follow(
    told: dict[str, list[Row]], own: dict[str, list[Row]], chosen: str | None, n: int
) -> Iterator[dict[str, Any]]:
    """For each lever what was said from the recorded chains (told) and what came of the fresh ones (own). chosen: the
    scorer, None for the vote. n: chains a problem."""
    base = draws(told["base"], chosen)
    odds = odds_to(base, float(np.mean([row["correct"] is True for row in told["steered"]])))
    noise, sharp = None, None
    if chosen == "confidence":
        noise = float(d_prime(base).value) / float(d_prime(draws(told["base"], "guide")).value)
        sharp = draws(own["base"], "guide")
    select = "maj" if chosen is None else "best_of_n"
    whole, steered = draws(own["base"], chosen), draws(own["steered"], chosen)
    said = {lever.lever: lever for lever in levers(base, n).levers}
    by = {lever.lever: lever for lever in levers(base, n, noise=noise or NOISE, odds=odds).levers}
    more = int(1.5 * n)
    came = {"samples": (whole, "base", 2 * n), "steering": (steered, "steered", n), "length": (whole, "base", more)}
    if sharp is not None:
        came["taste"] = (sharp, "base", n)
    first = draws(own["base"], chosen, slice(0, n)), n
    for name, (every, policy, k) in came.items():
        scorer = "guide" if name == "taste" else chosen
        again = draws(own[policy], scorer, slice(n, n + k)), k
        yield {
            "scorer": chosen or "vote", "lever": name, "n": n, "came": gain((whole, n), (every, k), select),
            "came_once": gain(first, again, select)["gain"],
            "said": [said[name], *([by[name]] if name in ("taste", "steering") else [])],
        }  # fmt: skip


def shown(row: dict[str, Any]) -> str:
    came = row["came"]
    words = [f"{row['scorer']:10} {row['lever']:8}"]
    for lever in row["said"]:
        assert isinstance(lever, Lever)
        if lever.gain is None or lever.low is None or lever.high is None or lever.once is None:
            words.append(f"  nothing said: {lever.omitted}")
            continue
        inside = "inside" if lever.low <= came["gain"] <= lever.high else "OUTSIDE"
        once = "inside" if lever.once[0] <= row["came_once"] <= lever.once[1] else "OUTSIDE"
        words.append(
            f"  said ({lever.change}) {100 * lever.gain:+.1f} ({100 * lever.low:+.1f} to {100 * lever.high:+.1f}): "
            f"{inside}; once {once}"
        )
    words.append(
        f"  came {100 * came['gain']:+.1f} ({100 * came['low']:+.1f} to {100 * came['high']:+.1f}), "
        f"once {100 * row['came_once']:+.1f} points"
    )
    return "\n".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--samples", type=int, default=128, help="of the base; of the steered policy a quarter")
    parser.add_argument("--out", type=Path, help="where the fresh chains are kept [default: RUN/followed]")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.samples < 64:
        parser.error("--samples: give at least 64; each lever is tried with other chains than it is measured on")
    run = Run(recipe.read(options.run / "recipe.toml"), Folder(options.run), lambda *_: None)
    out = options.out or options.run / "followed"
    sizes = {"base": options.samples, "steered": options.samples // 4}
    own = {policy: drawn(run, policy, options.problems, size, out) for policy, size in sizes.items()}
    print(f"{options.problems} problems, fresh chains: {sizes['base']} of the base, {sizes['steered']} of the steered")
    told, rows = recorded(run, {row["problem"] for row in own["base"]}), []
    for chosen in (None, "confidence", "guide"):
        for row in follow(told, own, chosen, run.recipe.measure.samples):
            print(f"N = {row['n']}: {shown(row)}", flush=True)
            rows.append(row)
    # Both policies with as many chains, then the base with all of them.
    some = [row for row in own["base"] if row["sample"] < sizes["steered"]]
    print(f"{'policy':8} {'of':>4} {'taste':10} {'AUROC':18} {'reach':14} {'N*':14} {'hazard a step':24} L*")
    found = []
    for policy, chains, n in (
        ("base", some, sizes["steered"]),
        ("steered", own["steered"], sizes["steered"]),
        ("base", own["base"], sizes["base"]),
    ):
        for row in track(policy, chains, TASTES):
            star = figure(row["n_star"], "{:.0f}", f"none to {n}")
            cells = [figure(row["auroc"], "{:.2f}"), figure(row["reach"], "{:.0f}"), star]
            cells += [figure(row["hazard"], "{:.3f}"), figure(row["l_star"], "{:.0f}")]
            print(
                f"{policy:8} {n:4} {row['taste']:10} "
                f"{cells[0]:18} {cells[1]:14} {cells[2]:14} {cells[3]:24} {cells[4]}",
                flush=True,
            )
            found.append(row | {"chains": n})
    if options.json:
        plain = [row | {"said": [lever.document() for lever in row["said"]]} for row in rows]
        options.json.write_text(json.dumps({"track": found, "followed": plain}))


if __name__ == "__main__":
    main()
