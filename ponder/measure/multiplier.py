"""How many samples of A are worth one of B: the compute-equivalence multiplier of `ponder compare`.

'The best of 10 of the better model equals the best of 100 of the worse.' Along the exact curves of the problems that
both have, each value that both reach is looked up in ln k; the multiplier is the mean ratio of the k that A needs to
the k that B needs, and its interval is from the Bayesian bootstrap over problems, the same weights for both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ponder.measure.curves import estimator, possible
from ponder.measure.data import Draws, Floats, Ints
from ponder.measure.length import independent
from ponder.measure.names import CURVES
from ponder.measure.samples import Samples
from ponder.measure.taste import common, fine, weights

REPLICATES = 1000
LEVELS = 33  # values between the ends of the overlap
OVERLAP = 0.02  # of accuracy, that both curves must pass through


def multipliers(a: Samples, b: Samples) -> dict[str, Any]:
    """{curve: {value, low, high, bound, tokens}} for the curves that both have. tokens: the multiplier of the tokens
    spent. Where the curves do not overlap, the bound that this gives, or 'omitted' with the reason."""
    where = {key: i for i, key in enumerate(b.draws.keys)}
    pairs = [(i, where[key]) for i, key in enumerate(a.draws.keys) if key in where]
    rows_a, rows_b = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    names = [name for name in CURVES if name in possible(a)[0] and name in possible(b)[0] and name != "weighted"]
    cost = [float(np.nanmean(side.generated[rows])) if np.isfinite(side.generated[rows]).any() else None
            for side, rows in ((a, rows_a), (b, rows_b))]  # fmt: skip
    found = {}
    for name in names:
        one = multiplier(*_curve(name, a.draws, rows_a), *_curve(name, b.draws, rows_b))
        if "value" in one and cost[0] is not None and cost[1]:
            one["tokens"] = one["value"] * cost[0] / cost[1]
        found[name] = one
    return found


def flat(a: Samples, b: Samples) -> dict[str, Any] | None:
    """Tokens a sample on both sides, where they hold different numbers of samples a problem: independent chains would
    cost the same each (length.independent). None where tokens or a difference are missing."""
    n = [common(side.draws.n) for side in (a, b)]
    cost = [float(np.nanmean(s.generated)) if np.isfinite(s.generated).any() else 0.0 for s in (a, b)]
    if n[0] == n[1] or not all(cost):
        return None
    found = independent((cost[0] * n[0], cost[1] * n[1]), (n[0], n[1]))
    return {
        "a": found.few,
        "b": found.many,
        "samples_a": n[0],
        "samples_b": n[1],
        "ratio": found.ratio,
        "fits": found.fits,
    }


def _curve(name: str, draws: Draws, rows: Ints) -> tuple[Floats, tuple[int, ...]]:
    ks = fine(common(draws.n[rows]), 20 if name == "maj" else 32)
    return estimator(name)(draws, ks).values[rows], ks


def multiplier(a: Floats, ks_a: tuple[int, ...], b: Floats, ks_b: tuple[int, ...]) -> dict[str, Any]:
    """a [P, Ka], b [P, Kb]: exact values of the same problems. Problems with too few samples on a side are left out."""
    known = ~(np.isnan(a).any(axis=1) | np.isnan(b).any(axis=1))
    if not known.any():
        return {"omitted": "no problem has enough samples on both sides"}
    w = weights(int(known.sum()), REPLICATES)
    one, two = w @ a[known], w @ b[known]
    if max(one[0, -1], two[0, -1]) - min(one[0, 0], two[0, 0]) < OVERLAP:
        return {"omitted": f"both curves are flat: they rise by less than {OVERLAP:.0%}"}
    if one[0, -1] <= two[0, 0]:
        return _bound(one, two, ks_a[-1], "lower", "B with one sample is at least as good as A with")
    if two[0, -1] <= one[0, 0]:
        return _bound(two, one, ks_b[-1], "upper", "A with one sample is at least as good as B with")
    shifts = np.array([_shift(x, ks_a, y, ks_b) for x, y in zip(one, two, strict=True)])
    if np.isnan(shifts[0]):
        return {"omitted": f"the curves share less than {OVERLAP:.0%} of accuracy: they are flat, or barely meet"}
    low, high = np.exp(np.nanquantile(shifts[1:], [0.025, 0.975]))
    value = float(np.exp(shifts[0]))
    return {"value": value, "low": float(min(low, value)), "high": float(max(high, value)), "bound": None}


def _bound(worse: Floats, better: Floats, n: int, bound: str, words: str) -> dict[str, Any]:
    sure = float(np.mean(worse[1:, -1] <= better[1:, 0]))
    if sure < 0.9:
        return {"omitted": f"the curves barely meet: {words} {n}, but not beyond noise"}
    value = float(n) if bound == "lower" else 1.0 / n
    low, high = (value, None) if bound == "lower" else (None, value)
    return {"value": value, "low": low, "high": high, "bound": bound}


def _shift(a: Floats, ks_a: tuple[int, ...], b: Floats, ks_b: tuple[int, ...]) -> float:
    """Mean of ln k_A - ln k_B over the values that both curves pass through; NaN if these are too few."""
    a, b = np.maximum.accumulate(a), np.maximum.accumulate(b)
    low, high = max(a[0], b[0]), min(a[-1], b[-1])
    if high - low < OVERLAP:
        return float("nan")
    # Even in ln k of the curve with more points there: the ends of saturated curves would count too much else.
    x = np.log(np.asarray(ks_b, dtype=np.float64))
    ends = np.interp([low, high], b, x)
    values = np.interp(np.linspace(ends[0], ends[1], LEVELS), x, b)
    return float(np.mean(np.interp(values, a, np.log(np.asarray(ks_a, dtype=np.float64))) - np.interp(values, b, x)))
