"""report.json from the sample rows alone: the 2×2, its effects and controls, the searches, and the rounds.

Every figure is a function of the rows, so a reader can take them again. Problems are the unit: a standard error is the
spread of a problem's values over the square root of their number, and effects are paired by problem. The problems of
several training seeds carry the seed in their id; what the seeds differ in is `over_seeds`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from ponder.journal import dumps
from ponder.loop.steps import rounds
from ponder.measure.data import Floats

Row = Mapping[str, Any]

CELLS = ("steer_off_prune_off", "steer_off_prune_on", "steer_on_prune_off", "steer_on_prune_on")
PAID = ("rerank", "weighted", "beam", "random", "steered")
"""Searches that a scorer has read for."""
SURE = 3.0  # standard errors from which an effect is called one
LEVEL = 0.99  # of the interval over training seeds


def written(rows: Sequence[Row]) -> str:
    """The rows as samples.jsonl holds them: sorted by (problem, sample), a line each."""
    return "".join(dumps(row) + "\n" for row in sorted(rows, key=lambda row: (row["problem"], row["sample"])))


def digest(text: str) -> str:
    """sha256 of samples.jsonl."""
    return hashlib.sha256(text.encode()).hexdigest()


def figures(rows: Sequence[Row]) -> dict[str, Any]:
    """All of them but what phases say of themselves."""
    arms = Arms(rows)
    cells = {arm: arms.cell(arm) for arm in arms.names}
    right = {arm: arms.right(arm) for arm in arms.names}
    found = {
        "two_by_two": {arm: cells[arm] for arm in CELLS},
        "effects": effects(right, CELLS),
        "controls": {arm: cells[arm] | _control(arm, right) for arm in arms.names if _controls(arm)},
        "rounds": rounds(rows),
        "distilled": _distilled(rows),
        "searches": {arm: cells[arm] for arm in arms.names if "/" in arm},
    }
    found["comparisons"] = _comparisons(arms)
    found["charged"] = _charged(arms)
    if len(seeds := sorted({row["seed"] for row in rows})) > 1:
        found["over_seeds"] = _over_seeds([figures([r for r in rows if r["seed"] == seed]) for seed in seeds])
    return found


# --- arms ---------------------------------------------------------------------------------------------------------


class Arms:
    """What each arm came to, problem by problem."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows: dict[str, list[Row]] = {}
        self._problems: dict[str, set[str]] = {}
        for row in rows:
            for arm in row["arms"]:
                self._rows.setdefault(arm, []).append(row)
                self._problems.setdefault(arm, set()).add(row["problem"])

    @property
    def names(self) -> list[str]:
        return list(self._rows)

    def right(self, arm: str) -> Floats:
        """1 for each problem whose picked chain is correct, else 0."""
        found = {row["problem"] for row in self._rows[arm] if arm in row["picked"] and row["correct"] is True}
        return np.array([float(problem in found) for problem in sorted(self._problems[arm])])

    def cell(self, arm: str) -> dict[str, Any]:
        own, right = self._rows[arm], self.right(arm)
        paid = arm.endswith("_prune_on") or ("/" in arm and arm.split("/")[1] in PAID)
        return {
            "accuracy": float(right.mean()),
            "se": error(right),
            "problems": len(right),
            "seeds": len({row["seed"] for row in own}),
            "generated_per_problem": sum(row["tokens"] for row in own) / len(right),
            "scorer_per_problem": sum(row["scorer_tokens"] for row in own) / len(right) if paid else 0.0,
        }

    def difference(self, arm: str, against: str) -> Floats:
        """By problem; both must have tried the same ones."""
        assert self._problems[arm] == self._problems[against], (arm, against)
        return self.right(arm) - self.right(against)


def error(values: Floats) -> float | None:
    """The standard error of the mean; None for one value."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def effect(differences: Floats) -> dict[str, Any]:
    """Points (100 × the mean), the standard error (a fraction) and whether the mean is `SURE` of them from 0."""
    mean, spread = float(differences.mean()), error(differences)
    told = spread is not None and mean != 0 and abs(mean) >= SURE * spread
    return {"points": 100 * mean, "se": spread, "verdict": "effect" if told else "no effect"}


def effects(right: Mapping[str, Floats], cells: Sequence[str]) -> dict[str, Any]:
    """The main effects, each averaged over both settings of the other, how much more one does with the other, and what
    each does where the other is on already. `cells`: neither, pruning, steering, both."""
    none, prune, steer, both = (right[cell] for cell in cells)
    return {
        "steer": effect((steer + both - none - prune) / 2),
        "prune": effect((prune + both - none - steer) / 2),
        "interaction": effect(both - steer - prune + none),
        "steer_when_pruned": effect(both - prune),
        "prune_when_steered": effect(both - steer),
    }


def _controls(arm: str) -> bool:
    return arm.startswith("steer_") and arm not in CELLS


def _control(arm: str, right: Mapping[str, Floats]) -> dict[str, Any]:
    """What a control gains over the cell in which the part under test is off."""
    cell = f"{arm.removesuffix('random')}off" if arm.endswith("_random") else CELLS[0]
    return {"against": cell, "gain": effect(right[arm] - right[cell])}


# --- searches at equal tokens -------------------------------------------------------------------------------------


def _comparisons(arms: Arms) -> list[dict[str, Any]]:
    """Paired differences of searches of one policy and one budget: the tree against everything else, and what the
    others differ in."""
    pairs = [("beam", "weighted"), ("beam", "rerank"), ("beam", "random"), ("beam", "vote"), ("beam", "confident"),
             ("rerank", "vote"), ("weighted", "vote"), ("steered", "greedy"), ("steered", "vote"),
             ("steered", "rerank")]  # fmt: skip
    found = []
    for policy, samples in dict.fromkeys((n.split("/")[0], n.split("/")[2]) for n in arms.names if "/" in n):
        for one, other in pairs:
            arm, against = (f"{policy}/{name}/{samples}" for name in (one, other))
            if arm in arms.names and against in arms.names:
                found.append({"arm": arm, "against": against} | effect(arms.difference(arm, against)))
    return found


def _charged(arms: Arms) -> dict[str, Any]:
    """{samples: the 2×2 and its effects} where what the scorers read is paid for: the cells without pruning draw more
    chains instead. Once with the vote that the guide weighs as 'on', once with the tree."""
    policies = list(dict.fromkeys(name.split("/")[0] for name in arms.names if "/" in name))
    found: dict[str, Any] = {}
    for samples in dict.fromkeys(name.split("/")[2] for name in arms.names if "/" in name):
        for on in ("weighted", "beam"):
            names = [f"{policy}/{name}/{samples}" for policy in policies for name in ("off", on)]
            if len(policies) == 2 and all(name in arms.names for name in names):
                right = {name: arms.right(name) for name in names}
                cells = dict(zip(CELLS, (arms.cell(name) for name in names), strict=True))
                found.setdefault(samples, {})[on] = {"two_by_two": cells, "effects": effects(right, names)}
    return found


# --- students and seeds -------------------------------------------------------------------------------------------


def _distilled(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each student: its chains' accuracy, one by one, and what it gains over its start and its control."""
    shares: dict[str, dict[str, list[bool]]] = {}
    for row in rows:
        if not any("/" in arm for arm in row["arms"]):
            shares.setdefault(row["policy"], {}).setdefault(row["problem"], []).append(row["correct"] is True)
    single = {policy: np.array([np.mean(own[p]) for p in sorted(own)]) for policy, own in shares.items()}
    found, start = [], "base"
    for name in single:
        if name.startswith("student") and not name.startswith("student-random"):
            control = name.replace("student", "student-random", 1)
            found.append({
                "student": name, "start": start, "control": control,
                "pass_at_1": {policy: float(single[policy].mean()) for policy in (start, name, control)},
                "gain": effect(single[name] - single[start]),
                "control_gain": effect(single[control] - single[start]),
                "over_control": effect(single[name] - single[control]),
            })  # fmt: skip
            start = name
    return found


def _over_seeds(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over training seeds with t-intervals: another seed would have learned otherwise."""
    found: dict[str, Any] = {
        name: spread([own["effects"][name]["points"] for own in each]) for name in each[0]["effects"]
    }
    found["cells"] = {cell: spread([own["two_by_two"][cell]["accuracy"] for own in each]) for cell in CELLS}
    found["comparisons"] = [
        {"arm": first["arm"], "against": first["against"]} | spread([own["comparisons"][i]["points"] for own in each])
        for i, first in enumerate(each[0]["comparisons"])
    ]
    gains = ("gain", "control_gain", "over_control")
    found["distilled"] = [
        {key: spread([own["distilled"][i][key]["points"] for own in each]) for key in gains}
        for i in range(len(each[0]["distilled"]))
    ]
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The mean of a figure over seeds, its standard error, the t-interval and the values."""
    own = np.array(values)
    se = error(own) or 0.0
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(own) - 1)) * se
    mean = float(own.mean())
    return {"mean": mean, "se": se, "level": LEVEL, "low": mean - half, "high": mean + half, "by_seed": list(values)}
