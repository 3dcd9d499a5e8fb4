"""report.json from the sample rows alone: the 2×2, its effects and controls, and what became of the steps.

Every figure is a function of the rows, so a reader can take them again. Problems are the unit: a standard error is the
spread of a problem's values over the square root of their number, and effects are paired by problem.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ponder.journal import dumps
from ponder.measure.agreement import auroc
from ponder.measure.data import Draws
from ponder.measure.intervals import mean_interval, ratio_interval

Row = Mapping[str, Any]

CELLS = ("steer_off_prune_off", "steer_off_prune_on", "steer_on_prune_off", "steer_on_prune_on")
SURE = 3.0  # standard errors from which an effect is called one


def digest(rows: Sequence[Row]) -> str:
    """sha256 of the rows, sorted by (problem, sample), a line each."""
    whole = hashlib.sha256()
    for row in sorted(rows, key=lambda row: (row["problem"], row["sample"])):
        whole.update((dumps(row) + "\n").encode())
    return whole.hexdigest()


def figures(rows: Sequence[Row]) -> dict[str, Any]:
    """digest, two_by_two, effects, controls and rounds."""
    names = list(dict.fromkeys(arm for row in rows for arm in row["arms"]))
    problems = sorted({row["problem"] for row in rows})
    right = {arm: _right(rows, arm, problems) for arm in names}
    cells = {arm: _cell(rows, arm, right[arm]) for arm in names}
    return {
        "digest": digest(rows),
        "two_by_two": {arm: cells[arm] for arm in CELLS},
        "effects": effects(right),
        "controls": {arm: cells[arm] | _control(arm, right) for arm in names if arm not in CELLS},
        "rounds": [_round(number, name, rows) for number, name in enumerate(("base", "steered"))],
    }


def _right(rows: Sequence[Row], arm: str, problems: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """1 for each problem whose picked chain is correct, else 0."""
    found = {row["problem"] for row in rows if arm in row["picked"] and row["correct"] is True}
    return np.array([float(problem in found) for problem in problems])


def _cell(rows: Sequence[Row], arm: str, right: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    own = [row for row in rows if arm in row["arms"]]
    paid = sum(row["scorer_tokens"] for row in own) if arm.endswith("_prune_on") else 0
    return {
        "accuracy": float(right.mean()),
        "se": error(right),
        "problems": len(right),
        "seeds": len({row["seed"] for row in own}),
        "generated_per_problem": sum(row["tokens"] for row in own) / len(right),
        "scorer_per_problem": paid / len(right),
    }


def error(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    """The standard error of the mean; None for one value."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def effect(differences: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    """Points (100 × the mean), the standard error (a fraction) and whether the mean is `SURE` of them from 0."""
    mean, spread = float(differences.mean()), error(differences)
    told = spread is not None and mean != 0 and abs(mean) >= SURE * spread
    return {"points": 100 * mean, "se": spread, "verdict": "effect" if told else "no effect"}


def effects(right: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]) -> dict[str, Any]:
    """The main effects, each averaged over both settings of the other, and how much more one does with the other."""
    none, prune, steer, both = (right[cell] for cell in CELLS)
    return {
        "steer": effect((steer + both - none - prune) / 2),
        "prune": effect((prune + both - none - steer) / 2),
        "interaction": effect(both - steer - prune + none),
    }


def _control(arm: str, right: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]) -> dict[str, Any]:
    """What a control gains over the cell in which the part under test is off."""
    cell = f"{arm.removesuffix('random')}off" if arm.endswith("_random") else CELLS[0]
    return {"against": cell, "gain": effect(right[arm] - right[cell])}


def _round(number: int, policy: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A policy's unpruned chains: how many are right, how many of their steps are not, and what the reward model knows
    of either."""
    problems: dict[str, list[Row]] = {}
    for row in rows:
        if row["policy"] == policy:
            problems.setdefault(row["problem"], []).append(row)
    own = list(problems.values())
    checked = [
        [step["valid"] for row in chains for step in row["steps"] if step["valid"] is not None] for chains in own
    ]
    rates = [1 - sum(valid) / len(valid) if valid else math.nan for valid in checked]
    invalid = ratio_interval(rates, [len(valid) for valid in checked])
    passed = mean_interval([sum(row["correct"] is True for row in chains) / len(chains) for chains in own])
    depth = max((len(row["steps"]) for chains in own for row in chains), default=0)
    chains_by_step = [
        [[(row, row["steps"][k]) for row in chains if len(row["steps"]) > k] for chains in own] for k in range(depth)
    ]
    return {
        "round": number,
        "policy": policy,
        "pass_at_1": _interval(passed),
        "invalid_steps": _interval(invalid) | {"steps": sum(map(len, checked))},
        "auroc": {
            "outcome": _auroc([[(row["correct"], row["score"]) for row in chains] for chains in own]),
            "by_step": [
                {
                    "step": k + 1,
                    "chains": sum(map(len, there)),
                    "outcome": _auroc([[(row["correct"], step["score"]) for row, step in chains] for chains in there]),
                    "validity": _auroc([[(step["valid"], step["score"]) for _, step in chains] for chains in there]),
                }
                for k, there in enumerate(chains_by_step)
            ],
        },
    }


def _interval(found: Any) -> dict[str, Any]:
    return {"value": float(found.value), "low": float(found.low), "high": float(found.high)}


def _auroc(groups: Sequence[Sequence[tuple[bool | None, float | None]]]) -> dict[str, Any] | None:
    """Within problems, averaged by pairs; None if no problem has a pair."""
    own = [[(t, s) for t, s in group if t is not None and s is not None] for group in groups]
    own = [group for group in own if len({t for t, _ in group}) == 2]
    if not own:
        return None
    truth, scores = ([[pair[i] for pair in group] for group in own] for i in range(2))
    return _interval(auroc(Draws.of([[None] * len(group) for group in own], truth, scores)))
