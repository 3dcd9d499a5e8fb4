"""How far a scorer's taste reaches, read off recorded chains.

Everything is within problems: a scorer that knows only which problem is hard gets an AUROC of .5 and a reach of 1.
Curves are the exact ones of estimators.py; what lies beyond the samples drawn is a bound, not a number. Intervals are
from the Bayesian bootstrap over problems (Rubin 1981), a quantile on either side.
Shapes: P problems, S samples, K values of k, B replicates, N numbers of guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import UNSCORED, Draws, Floats, Ints, doublings, miss_table
from ponder.measure.intervals import Interval

EPSILON = 0.01  # of accuracy, a doubling
TAU = 0.9
REPLICATES = 1000


@dataclass(frozen=True, slots=True)
class Told:
    """A figure and its 95 % interval. bound: 'lower' if the true value may be anything above, 'upper' if below."""

    value: float | None
    low: float | None
    high: float | None
    bound: str | None = None

    @classmethod
    def of(cls, interval: Interval) -> Told:
        value, low, high = (
            number if np.isfinite(number := float(x)) else None for x in (interval.value, interval.low, interval.high)
        )
        return cls(value, low, high) if value is not None else cls(None, None, None)

    def document(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "bound": self.bound}

    def over(self, n: float) -> Told:
        value, low, high = (None if x is None else x / n for x in (self.value, self.low, self.high))
        return Told(value, low, high, self.bound)


def common(n: Ints) -> int:
    """The number of samples that three quarters of the problems have."""
    return int(np.quantile(n, 0.25, method="lower")) if len(n) else 0


def weights(problems: int, replicates: int = REPLICATES, seed: int = 0) -> Floats:
    """Weights of problems: [B, P]. Row 0 is even."""
    random = np.random.default_rng(seed)
    return np.vstack([np.full(problems, 1 / problems), random.dirichlet(np.ones(problems), replicates)])


def reach(values: Floats, ks: Sequence[int], epsilon: float = EPSILON) -> Told:
    """The N beyond which a doubling adds less than epsilon: the first such. values [P, K]: exact accuracy at ks = 1, 2,
    4, …, n. Where every doubling adds more, it is n, a lower bound."""
    curves = weights(len(values)) @ values
    far = np.log2(np.asarray(ks[1:]) / np.asarray(ks[:-1]))
    pays = np.diff(curves, axis=1) >= epsilon * far
    first = np.where(pays.all(axis=1), pays.shape[1], np.argmin(pays, axis=1))
    return _discrete(np.asarray(ks)[first], int(ks[-1]))


def reach_of_best(draws: Draws, quality: Floats, tau: float = TAU) -> Told:
    """For graded truth: the largest N with P(the pick is the true best of N) >= tau."""
    ks = doublings(common(draws.n))
    values = best_is_picked(draws, quality, ks)
    curves = weights(len(values)) @ values
    good = curves >= tau
    last = np.where(good.all(axis=1), len(ks) - 1, np.argmin(good, axis=1) - 1)
    return _discrete(np.asarray(ks)[np.maximum(last, 0)], int(ks[-1]))


def best_is_picked(draws: Draws, quality: Floats, ks: Sequence[int]) -> Floats:
    """P(the best-scored of k has the highest quality), exactly: chain j is picked and best in C(d_j, k-1) of the
    C(n, k) subsets, d_j being the chains that it beats in both. [P', K] for the problems with enough
    samples. Equal scores are ranked at random, seeded by their place."""
    assert draws.scores is not None
    found = []
    for i, rows in enumerate(draws.rows()):
        s, q = draws.scores[rows], quality[rows]
        n = len(s)
        if n < ks[-1]:
            continue
        rank = np.empty(n, dtype=np.int64)
        rank[np.lexsort((np.random.default_rng(i).random(n), s))] = np.arange(n)
        beaten = ((rank[None, :] < rank[:, None]) & (q[None, :] <= q[:, None])).sum(axis=1)
        # C(d, k-1)/C(n, k) = k/n · C(d, k-1)/C(n-1, k-1)
        k = np.asarray(ks, dtype=np.float64)
        share = miss_table(n - 1, tuple(max(x - 1, 1) for x in ks))[n - 1 - beaten] if n > 1 else np.ones((n, len(ks)))
        found.append(np.where(k == 1, 1.0, (k / n * share).sum(axis=0)))
    return np.array(found)


@dataclass(frozen=True, slots=True)
class Turn:
    """An interior best number of guesses N*; what going on to `end` costs (falls, and its 90 % interval: a
    one-sided test)."""

    at: Told
    end: int
    falls: tuple[float, float, float]
    fitted: bool


def turn(values: Floats, ks: Sequence[int]) -> Turn | None:
    """N* of an exact curve, values [P, K]: its top, if the end lies below it beyond noise; None else."""
    return _turn(weights(len(values)) @ values, ks, fitted=False)


def _turn(curves: Floats, ks: Sequence[int], *, fitted: bool) -> Turn | None:
    """curves [B, K]; row 0 is the estimate."""
    top = int(np.argmax(curves[0]))
    fall = curves[:, top] - curves[:, -1]
    low, high = np.quantile(fall[1:], [0.05, 0.95])
    if top == len(ks) - 1 or low <= 0:
        return None
    found = np.asarray(ks)[np.argmax(curves, axis=1)]
    return Turn(_quantiles(found), int(ks[-1]), (float(fall[0]), float(low), float(high)), fitted)


def fine(n: int, points: int = 24) -> tuple[int, ...]:
    """About so many numbers from 1 to n, evenly spaced in ln k."""
    return tuple(sorted({round(x) for x in np.geomspace(1, n, points)}))


def ceiling(values: Floats, ks: Sequence[int], told: Told, turned: Turn | None) -> Told:
    """Where best-of-N ends for N without end, as far as these curves say: at least the accuracy at n while it rises, at
    most that once it falls, about that where it is flat."""
    from ponder.measure.intervals import mean_interval

    found = mean_interval(np.clip(values[:, -1], 0.0, 1.0))
    bound = "upper" if turned is not None else told.bound
    return Told(float(found.value), float(found.low), float(found.high), bound)


def levels(draws: Draws) -> int:
    """How many different scores there are: a check has 2 or a few."""
    assert draws.scores is not None
    return len(np.unique(draws.scores[draws.scores != UNSCORED]))


def check_ceiling(draws: Draws, atoms: Floats, mass: Floats) -> Told:
    """Of a scorer with few levels: P(correct | the top level), averaged over the distribution of p (atoms, mass: [G]).
    Rates are pooled within problems by chains."""
    assert draws.scores is not None
    top = draws.scores == draws.scores.max()
    good, bad = (draws.correct == 1).astype(float), (draws.correct == 0).astype(float)
    sums = np.column_stack([np.add.reduceat(x, draws.starts[:-1]) for x in (good * top, good, bad * top, bad)])
    total = weights(draws.problems) @ sums
    tpr, fpr = ((total[:, i] / np.maximum(total[:, i + 1], 1e-12))[:, None] for i in (0, 2))
    hit, miss = atoms * tpr, (1 - atoms) * fpr
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(hit + miss > 0, hit / (hit + miss), atoms)
    return _quantiles(share @ mass)


def _discrete(found: Ints, most: int) -> Told:
    value = float(found[0])
    low, high = np.quantile(found[1:], [0.025, 0.975], method="nearest")
    if value >= most:
        return Told(value, min(float(low), value), None, "lower")
    return Told(value, min(float(low), value), max(float(high), value), None)


def _quantiles(found: ArrayLike) -> Told:
    """Row 0 is the value."""
    x = np.asarray(found, dtype=np.float64)
    low, high = np.quantile(x[1:], [0.025, 0.975])
    return Told(float(x[0]), float(min(low, x[0])), float(max(high, x[0])))
