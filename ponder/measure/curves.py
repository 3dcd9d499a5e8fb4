"""Curves of accuracy under repeated sampling: from samples to the document of `curves --json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ponder.measure import estimators
from ponder.measure.data import Draws, Estimates, Floats, doublings
from ponder.measure.intervals import difference_interval, mean_interval
from ponder.measure.names import CURVES, SCORED
from ponder.measure.samples import Samples

Estimator = Callable[[Draws, Sequence[int]], Estimates]


def estimator(name: str) -> Estimator:
    if name == "weighted":
        return lambda draws, ks: estimators.weighted_at_k(draws, ks, zeros="vote")
    return {
        "pass": estimators.pass_at_k,
        "maj": estimators.maj_at_k,
        "best_of_n": estimators.best_of_n_at_k,
        "pass_hat": estimators.pass_hat_k,
        "gap": estimators.gap,
    }[name]


def possible(samples: Samples) -> tuple[list[str], list[str]]:
    """(the curves that these samples give, why others are left out)."""
    names, why = ["pass", "maj"], []
    scores = samples.draws.scores
    if scores is not None:
        names.append("best_of_n")
        if np.any((scores < 0) & np.isfinite(scores)):
            why.append(
                f"no weighted vote: {samples.scorer!r} has negative scores; map them to weights >= 0 (the sigmoid)"
            )
        else:
            names.append("weighted")
    return names, why


def document(samples: Samples, level: float = 0.95) -> dict[str, Any]:
    """The document of `curves --json` (schema 1)."""
    draws = samples.draws
    ks = doublings(int(draws.n.max()))
    names, why = possible(samples)
    settled = draws.as_wrong() if draws.unverified.any() else None
    cost = tokens(samples)
    found = {name: _points(name, draws, settled, ks, cost[name], level) for name in names}
    return {
        "schema": 1,
        "problems": draws.problems,
        "samples": samples.rows,
        "curves": found,
        "pass_hat": _points("pass_hat", draws, settled, ks, cost["pass"], level),
        "gap": _points("gap", draws, settled, ks, cost["pass"], level),
        "expected_guesses": guesses(draws, level),
        "unverified": int(draws.unverified.sum()),
        "abstained": int(draws.abstentions.sum()),
        "scorer": samples.scorer,
        "scorers": list(samples.scorers),
        "level": level,
        "remarks": [*samples.remarks, *why],
    }


def tokens(samples: Samples) -> dict[str, Floats]:
    """Mean tokens a chain and problem [P], by curve: curves that use scores pay for them."""
    scoring = np.where(np.isnan(samples.scoring), 0.0, samples.scoring)
    return {name: samples.generated + (scoring if name in SCORED else 0.0) for name in CURVES}


def mean_tokens(values: Floats, cost: Floats, k: int) -> float | None:
    """k × mean tokens a chain, over the problems that have a value at k and known tokens."""
    use = ~np.isnan(values) & ~np.isnan(cost)
    return float(k * cost[use].mean()) if use.any() else None


def number(value: Any) -> float | None:
    """A float for JSON: None for NaN."""
    found = float(value)
    return None if np.isnan(found) else found


def guesses(draws: Draws, level: float) -> dict[str, Any]:
    """Expected guesses to the first success of someone who gives up after n, the fewest samples a problem has."""
    cap = max(1, int(draws.verified.min()))
    found = estimators.expected_guesses(draws, cap)
    scale = max(1, cap - 1)
    interval = mean_interval((found.values - 1) / scale, level)
    value, low, high = (number(1 + scale * x) for x in (interval.value, interval.low, interval.high))
    return {
        "cap": cap,
        "value": value,
        "low": 1.0 if cap == 1 else low,
        "high": 1.0 if cap == 1 else high,
        "problems": found.problems,
        "never": int(found.censored.sum()),
    }


def _points(
    name: str, draws: Draws, settled: Draws | None, ks: Sequence[int], cost: Floats, level: float
) -> list[dict[str, Any]]:
    found = estimator(name)(draws, ks)
    every = estimator(name)(settled, ks).mean if settled is not None else found.mean
    zero = np.zeros(draws.problems)
    points = []
    for column, k in enumerate(ks):
        values = found.values[:, column]
        interval = difference_interval(values, zero, level) if name == "gap" else mean_interval(values, level)
        known = int(interval.problems) > 0
        point = {
            "k": k,
            "value": number(found.mean[column]),
            "low": number(interval.low) if known else None,
            "high": number(interval.high) if known else None,
            "tokens": mean_tokens(values, cost, k),
            "problems": int(interval.problems),
            "extrapolated": False,
        }
        if settled is not None:
            point["value_all"] = number(every[column])
        if found.stderr is not None and known:
            point["subset_se"] = number(found.mean_stderr[column])
        points.append(point)
    return points
