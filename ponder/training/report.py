"""report.json of `ponder train`: before and after on the same test problems, and what the steps of training said.

Every figure of accuracy is a function of the sample rows. Problems are the unit: a problem's value is the share of its
chains that are correct, intervals are over problems, and the gain is paired by problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.loop.figures import digest, effect, written
from ponder.measure.agreement import auroc
from ponder.measure.data import Draws
from ponder.measure.intervals import Interval, difference_interval, mean_interval

Row = Mapping[str, Any]
PARTS = 8  # of the steps, each with its means


def report(
    method: str, rows: Sequence[Row], found: Mapping[str, Mapping[str, Any]], learned: Sequence[Row]
) -> dict[str, Any]:
    """`found`: what each phase left; `learned`: the figures of the steps of training."""
    return {
        "schema": 1,
        "method": method,
        "seconds": sum(phase["seconds"] for phase in found.values()),
        "tokens": sum(phase.get("tokens", 0) for phase in found.values()),
        "digest": digest(written(rows)),
        **(_picked(rows) if method == "prune" else _policies(rows)),
        "by_step": by_step(learned),
        "phases": dict(found),
    }


def _policies(rows: Sequence[Row]) -> dict[str, Any]:
    """before, after and gain; the same of greedy chains, if they were drawn."""
    arms = [arm for arm in ("before", "after") if any(arm in row["arms"] for row in rows)]
    names = sorted({row["problem"] for row in rows})
    found: dict[str, Any] = {}
    for suffix, title in (("", ""), ("_greedy", "greedy_")):
        values = {arm: shares(rows, f"{arm}{suffix}", names) for arm in arms}
        if all(np.isnan(own).all() for own in values.values()):
            continue
        cells = {f"{title}{arm}": cell(rows, f"{arm}{suffix}", own) for arm, own in values.items()}
        found |= cells | {f"{title}gain": gain(values["after"], values["before"])}
    return found


def _picked(rows: Sequence[Row]) -> dict[str, Any]:
    """What each rule picks: the vote, which needs no reward model, is `before`, the vote that it weighs `after`."""
    names = sorted({row["problem"] for row in rows})
    arms = list(dict.fromkeys(arm for row in rows for arm in row["arms"]))
    right = {
        arm: np.array([float(name in hits) for name in names])
        for arm in arms
        for hits in [{row["problem"] for row in rows if arm in row["picked"] and row["correct"] is True}]
    }
    cells = {arm: cell(rows, arm, own) for arm, own in right.items()}
    groups = [[row for row in rows if row["problem"] == name and row["correct"] is not None] for name in names]
    truth = [[row["correct"] for row in group] for group in groups]
    area = auroc(Draws.of([[None] * len(own) for own in truth], truth, [[r["score"] for r in g] for g in groups]))
    return {
        "before": cells["vote"],
        "after": cells["weighted/prm"],
        "gain": gain(right["weighted/prm"], right["vote"]),
        "rules": {arm: cells[arm] | {"gain": gain(right[arm], right["vote"])} for arm in arms},
        "auroc": _interval(area) if not np.isnan(area.value) else None,
        "pass_at_1": _interval(mean_interval(shares(rows, "vote", names))),
    }


def shares(rows: Sequence[Row], arm: str, names: Sequence[str]) -> NDArray[np.float64]:
    """Of each problem the share of an arm's verified chains that is correct; NaN where there is none."""
    own: dict[str, list[bool]] = {name: [] for name in names}
    for row in rows:
        if arm in row["arms"] and row["correct"] is not None:
            own[row["problem"]].append(row["correct"])
    return np.array([np.mean(own[name]) if own[name] else np.nan for name in names])


def cell(rows: Sequence[Row], arm: str, values: NDArray[np.float64]) -> dict[str, Any]:
    """Accuracy with its 95 % interval, and what an arm's chains were like."""
    own = [row for row in rows if arm in row["arms"]]
    found = mean_interval(values)
    return {
        "accuracy": float(found.value),
        "low": float(found.low),
        "high": float(found.high),
        "problems": int(found.problems),
        "chains": len(own),
        "tokens": sum(row["tokens"] for row in own),
        "truncated": sum(row["finish"] in ("length", "budget") for row in own) / len(own),
        "unanswered": sum(row["answer"] is None for row in own) / len(own),
        "unverified": sum(row["correct"] is None for row in own) / len(own),
    }


def gain(after: NDArray[np.float64], before: NDArray[np.float64]) -> dict[str, Any]:
    """Points (100 × the mean paired difference), its standard error (a fraction), its 95 % interval (fractions), and
    whether it is three standard errors from 0."""
    both = ~(np.isnan(after) | np.isnan(before))
    found = difference_interval(after, before)
    return effect((after - before)[both]) | {"low": float(found.low), "high": float(found.high)}


def by_step(learned: Sequence[Row]) -> list[dict[str, float]]:
    """Means of the figures over equal parts of the steps; `step` is the last of each part."""
    found = []
    for part in np.array_split(np.arange(len(learned)), min(PARTS, len(learned))) if learned else ():
        own = [learned[i] for i in part]
        keys = [key for key in own[0] if key != "step"]
        means = {key: float(np.mean([row[key] for row in own if key in row])) for key in keys}
        found.append({"step": own[-1]["step"], **means})
    return found


def _interval(found: Interval) -> dict[str, float]:
    return {"value": float(found.value), "low": float(found.low), "high": float(found.high)}
