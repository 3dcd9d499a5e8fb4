"""The noise of a scorer within problems: how large, how it is shared, how heavy its tail, and what identifies it.

A score is Q + e. With graded truth e is what a regression on Q within problems leaves; with right and wrong only, Q is
one step of size d and e what the two classes scatter. Replicates of one scorer show only the random part of e: a
deterministic reward model has none, and may be far off all the same. Two scorers with independent errors show the
spread of Q. Chains with the same wrong answer share an error: e = e_class + e_chain.
Shapes: S samples, P problems, R replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import UNSCORED, Draws, Floats, Ints
from ponder.measure.taste import Told, _quantiles, weights

EDGE = 1e-6
FEW_LEVELS = 8
"""Scores with so few values are a check's, not a scale's."""


def unbounded(scores: Floats) -> Floats:
    """Scores on a scale without ends: those within [0, 1] through the probit. It changes no ranking. Missing ones stay
    UNSCORED."""
    from scipy.special import ndtri

    known = scores != UNSCORED
    if not known.any() or scores[known].min() < 0 or scores[known].max() > 1:
        return scores
    return np.where(known, ndtri(np.clip(np.where(known, scores, 0.5), EDGE, 1 - EDGE)), UNSCORED)


@dataclass(frozen=True, slots=True, eq=False)
class Scatter:
    """gap [P]: mean score of right minus wrong chains, shrunk to the mean by as much as its own noise asks; gap_sd [P]:
    what stays unknown of it; mean_gap, spread_gap: over problems. right, wrong: residuals about the problem's own class
    means, enlarged by the freedom these cost. shared: the share of a wrong chain's error variance that chains of the
    same answer have in common. centred [S]: score minus the problem's offset (0 for wrong, gap for right chains)."""

    gap: Floats
    gap_sd: Floats
    mean_gap: float
    spread_gap: float
    right: Floats
    wrong: Floats
    shared: float
    centred: Floats


def scatter(draws: Draws) -> Scatter | None:
    """None unless some problem has right and wrong scored chains, and there are at least two of each to scatter."""
    if draws.scores is None:
        return None
    x, problem = unbounded(draws.scores), draws.problem
    use = (x != UNSCORED) & (draws.correct >= 0)
    right, wrong = use & (draws.correct == 1), use & (draws.correct == 0)
    (nr, mr), (nw, mw) = (_group(problem, x, mask, draws.problems) for mask in (right, wrong))
    both = (nr > 0) & (nw > 0)
    if not both.any():
        return None
    rest = [_residuals(problem, x, mask, n, mean) for mask, n, mean in ((right, nr, mr), (wrong, nw, mw))]
    if min(len(r) for r in rest) < 2:
        return None
    variance = [float(np.mean(r**2)) for r in rest]
    gaps = mr[both] - mw[both]
    own = variance[0] / nr[both] + variance[1] / nw[both]  # the noise of each gap
    mean_gap, spread = _random_effects(gaps, own)
    keep = spread / (spread + np.maximum(own, 1e-12))
    gap, gap_sd = np.full(draws.problems, mean_gap), np.full(draws.problems, np.sqrt(spread))
    gap[both], gap_sd[both] = mean_gap + keep * (gaps - mean_gap), np.sqrt(keep * own)
    total = np.where(right, x - gap[problem], np.where(wrong, x, 0.0))
    count = np.bincount(problem, weights=use, minlength=draws.problems)
    offset = np.bincount(problem, weights=total * use, minlength=draws.problems) / np.maximum(count, 1)
    centred = np.where(use, x - offset[problem], -np.inf)
    share = shared_error(draws, replicates=0)
    return Scatter(gap, gap_sd, mean_gap, float(np.sqrt(spread)), rest[0], rest[1], share.value or 0.0, centred)


def _group(problem: Ints, x: Floats, mask: Any, problems: int) -> tuple[Floats, Floats]:
    n = np.bincount(problem[mask], minlength=problems).astype(np.float64)
    total = np.bincount(problem[mask], weights=x[mask], minlength=problems)
    return n, total / np.maximum(n, 1)


def _residuals(problem: Ints, x: Floats, mask: Any, n: Floats, mean: Floats) -> Floats:
    at = problem[mask]
    several = n[at] > 1
    at, own = at[several], x[mask][several]
    return np.asarray((own - mean[at]) * np.sqrt(n[at] / (n[at] - 1)))


def _random_effects(values: Floats, noise: Floats) -> tuple[float, float]:
    """(mean, variance beyond the noise) of values with known noise variances (DerSimonian and Laird 1986)."""
    w = 1.0 / np.maximum(noise, 1e-12)
    mean = float(w @ values / w.sum())
    over = float(w @ (values - mean) ** 2) - (len(values) - 1)
    scale = float(w.sum() - (w @ w) / w.sum())
    spread = max(over / scale, 0.0) if scale > 0 else 0.0
    w = 1.0 / (np.maximum(noise, 1e-12) + spread)
    return float(w @ values / w.sum()), spread


def shared_error(draws: Draws, replicates: int = 400) -> Told:
    """1 - (half mean squared difference of wrong chains of one answer)/(that of different answers), within problems; an
    interval over problems. None without pairs of both kinds."""
    assert draws.scores is not None
    x = unbounded(draws.scores)
    sums = np.zeros((draws.problems, 4))
    for i, rows in enumerate(draws.rows()):
        use = (draws.correct[rows] == 0) & (x[rows] != UNSCORED) & (draws.label[rows] >= 0)
        own, label = x[rows][use], draws.label[rows][use]
        n, squares = len(own), float(own @ own)
        _, where = np.unique(label, return_inverse=True)
        size = np.bincount(where).astype(np.float64)
        total, second = np.bincount(where, weights=own), np.bincount(where, weights=own**2)
        # Over ordered pairs, the sum of (x - y)²/2 is n times the sum of squares less the square of the sum.
        same, every = float(np.sum(size * second - total**2)), n * squares - float(own.sum()) ** 2
        pairs = float(np.sum(size * (size - 1)))
        sums[i] = same, pairs, every - same, n * (n - 1) - pairs
    if not (sums[:, 1].sum() and sums[:, 3].sum() and sums[:, 2].sum() > 0):
        return Told(None, None, None)
    total4 = weights(len(sums), max(replicates, 1)) @ sums
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1 - (total4[:, 0] / total4[:, 1]) / (total4[:, 2] / total4[:, 3])
    return _quantiles(np.clip(np.nan_to_num(share), 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Replicates:
    """random: the variance between scores of one chain; share: of the variance between chains within problems. reason:
    what this does not say."""

    random: float
    share: float
    reason: str


def replicates(scores: Floats, problem: Ints) -> Replicates:
    """What several scores of one scorer for each chain identify: scores [S, R], NaN where missing."""
    known = np.isfinite(scores)
    n = known.sum(axis=1)
    several = n > 1
    mean = np.where(known, scores, 0).sum(axis=1) / np.maximum(n, 1)
    squares = np.where(known, scores - mean[:, None], 0.0) ** 2
    random = float(squares[several].sum() / max((n[several] - 1).sum(), 1))
    _, where = np.unique(problem, return_inverse=True)
    count = np.bincount(where)
    own = mean - (np.bincount(where, weights=mean) / count)[where]
    spread = float((own**2).sum() / max(len(own) - len(count), 1))
    if random <= 1e-12 * max(spread, 1e-12):
        reason = "e not identified: the replicates are identical, so this scorer has no random part; how far it is off "
        return Replicates(0.0, 0.0, reason + "as a whole, replicates cannot show")
    reason = "replicates show only the random part of e; an error that they share is not identified"
    return Replicates(random, min(random / max(spread, 1e-300), 1.0), reason)


def two_scorers(one: ArrayLike, other: ArrayLike, problem: ArrayLike) -> tuple[float, float, float]:
    """(variance of Q, of the one's e, of the other's e) within problems, if their errors are independent and both are
    on Q's scale: the covariance is Q's."""
    a, b, key = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64), np.asarray(problem)
    _, where = np.unique(key, return_inverse=True)
    count = np.bincount(where)
    a, b = (x - (np.bincount(where, weights=x) / count)[where] for x in (a, b))
    freedom = max(len(a) - len(count), 1)
    both = float(a @ b) / freedom
    return both, float(a @ a) / freedom - both, float(b @ b) / freedom - both


@dataclass(frozen=True, slots=True, eq=False)
class Graded:
    """e on Q's scale [S], and e/sigma_Q within problems with its interval."""

    errors: Floats
    ratio: Told


def graded_noise(draws: Draws, quality: Floats, problems: Ints | None = None) -> Graded | None:
    """Scores regressed on quality within problems: e = (s - a_problem - b Q)/b. None if b is not above 0."""
    assert draws.scores is not None
    use = (draws.scores != UNSCORED) & np.isfinite(quality)
    if problems is not None:
        use &= np.isin(draws.problem, problems)
    s, q, key = draws.scores[use], quality[use], draws.problem[use]
    _, where = np.unique(key, return_inverse=True)
    count = np.bincount(where)
    s, q = (x - (np.bincount(where, weights=x) / count)[where] for x in (s, q))
    sums = np.column_stack([np.bincount(where, weights=x) for x in (s * q, q * q, s * s)])
    total = weights(len(count), 400) @ sums
    slope = total[:, 0] / np.maximum(total[:, 1], 1e-300)
    if slope[0] <= 0:
        return None
    left = np.maximum(total[:, 2] - slope * total[:, 0], 0.0)
    ratio = np.sqrt(left / np.maximum(slope**2 * total[:, 1], 1e-300))
    return Graded(s / slope[0] - q, _quantiles(ratio))
