"""Two sets of samples on the same problems: the paired difference of each curve, for `ponder compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ponder.errors import UsageError
from ponder.measure.curves import estimator, mean_tokens, number, possible, tokens
from ponder.measure.data import Ints, doublings
from ponder.measure.intervals import difference_interval
from ponder.measure.names import CURVES
from ponder.measure.samples import Samples


def document(a: Samples, b: Samples, names: tuple[str, str], level: float = 0.95) -> dict[str, Any]:
    """The document of `compare --json` (schema 1). `difference` is B minus A. Raises UsageError without a common
    problem."""
    rows_a, rows_b = _common(a.draws.keys, b.draws.keys, names)
    ks = doublings(int(min(a.draws.n[rows_a].max(), b.draws.n[rows_b].max())))
    can_a, can_b = possible(a)[0], possible(b)[0]
    shared = [name for name in CURVES if name in can_a and name in can_b]
    one_sided = [name for name in CURVES if (name in can_a) != (name in can_b)]
    return {
        "schema": 1,
        "a": _side(a, names[0], b),
        "b": _side(b, names[1], a),
        "problems": len(rows_a),
        "differences": {name: _points(name, a, b, rows_a, rows_b, ks, level) for name in shared},
        "only_a": sorted(set(a.draws.keys) - set(b.draws.keys)),
        "only_b": sorted(set(b.draws.keys) - set(a.draws.keys)),
        "level": level,
        "remarks": [
            *(f"A: {remark}" for remark in a.remarks),
            *(f"B: {remark}" for remark in b.remarks),
            *(f"no {CURVES[name]}: only one side has scores for it" for name in one_sided),
        ],
    }


def _common(a: Sequence[str], b: Sequence[str], names: tuple[str, str]) -> tuple[Ints, Ints]:
    where = {key: i for i, key in enumerate(b)}
    pairs = [(i, where[key]) for i, key in enumerate(a) if key in where]
    if not pairs:
        raise UsageError(
            f"{names[0]} and {names[1]} have no problem in common ({a[0]!r}, … and {b[0]!r}, …); "
            "compare two runs of one task"
        )
    found = np.array(pairs, dtype=np.int64)
    return found[:, 0], found[:, 1]


def _side(samples: Samples, name: str, other: Samples) -> dict[str, Any]:
    return {
        "name": name,
        "problems": samples.draws.problems,
        "samples": samples.rows,
        "unverified": int(samples.draws.unverified.sum()),
        "scorer": samples.scorer,
    }


def _points(
    name: str, a: Samples, b: Samples, rows_a: Ints, rows_b: Ints, ks: Sequence[int], level: float
) -> list[dict[str, Any]]:
    left = estimator(name)(a.draws, ks).values[rows_a]
    right = estimator(name)(b.draws, ks).values[rows_b]
    cost_a, cost_b = tokens(a)[name][rows_a], tokens(b)[name][rows_b]
    points = []
    for column, k in enumerate(ks):
        x, y = left[:, column], right[:, column]
        both = ~(np.isnan(x) | np.isnan(y))
        x, y = np.where(both, x, np.nan), np.where(both, y, np.nan)
        interval = difference_interval(y, x, level)
        known = bool(both.any())
        low, high = (float(interval.low), float(interval.high)) if known else (None, None)
        points.append(
            {
                "k": k,
                "a": number(np.nanmean(x)) if known else None,
                "b": number(np.nanmean(y)) if known else None,
                "difference": number(interval.value),
                "low": low,
                "high": high,
                "problems": int(both.sum()),
                "tokens_a": mean_tokens(x, cost_a, k),
                "tokens_b": mean_tokens(y, cost_b, k),
                "verdict": _verdict(low, high),
            }
        )
    return points


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "unknown"
    return "B is better" if low > 0 else "A is better" if high < 0 else "no effect"
