"""How well a scorer tells good chains from bad, within problems.

AUROC and d' compare chains of one problem only, and are averaged over problems by pairs (a problem with c correct and
w wrong chains has c·w pairs). A scorer that knows only how hard a problem is therefore gets .5, however high its
pooled AUROC. Brier and ECE ask whether a score is a probability: Brier is a mean within problems, then over
problems; the bins of ECE must pool chains, but every problem has the same weight in them. Unverified chains are left
out. Chains without a score rank last, tied with one another; Brier and ECE leave them out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import UNSCORED, Draws, Floats, Ints
from ponder.measure.intervals import Interval, mean_interval, ratio_interval

BINS = 15


def auroc_by_problem(draws: Draws) -> tuple[Floats, Ints]:
    """(AUROC [P], pairs [P]): the share of (correct, wrong) pairs in which the correct chain scores higher, ties half
    (Mann-Whitney); NaN where a problem has no pair. Raises ValueError without scores."""
    scores = _scores(draws)
    area, pairs = np.full(draws.problems, np.nan), np.zeros(draws.problems, dtype=np.int64)
    for i, rows in enumerate(draws.rows()):
        truth = draws.correct[rows]
        good, bad = np.sort(scores[rows][truth == 1]), np.sort(scores[rows][truth == 0])
        pairs[i] = len(good) * len(bad)
        if pairs[i]:
            wins = np.searchsorted(bad, good, "left").sum() + np.searchsorted(bad, good, "right").sum()
            area[i] = wins / (2 * pairs[i])
    return area, pairs


def auroc(draws: Draws, level: float = 0.95) -> Interval:
    """AUROC within problems, averaged by pairs, with an interval over problems. NaN if no problem has a pair."""
    area, pairs = auroc_by_problem(draws)
    return ratio_interval(area, pairs, level)


def d_prime(draws: Draws, level: float = 0.95) -> Interval:
    """d' = sqrt(2) · PHI^-1(AUROC), in standard deviations of a scorer with normal, equally spread errors; its interval
    is the AUROC's, mapped. It does not change when the scores are rescaled; infinite where the AUROC is 0 or 1."""
    from scipy.special import ndtri

    area = auroc(draws, level)
    value, low, high = (np.asarray(np.sqrt(2) * ndtri(x)) for x in (area.value, area.low, area.high))
    return Interval(value, low, high, area.problems)


def d_prime_moments(draws: Draws) -> float:
    """d' = (mu_c - mu_w)/sqrt((var_c + var_w)/2) from scores within problems: the difference of means is averaged over
    problems by pairs, the variances are pooled about each problem's own means (unbiased). Equal to `d_prime` for
    normal scores with the same spread in every problem. NaN without a pair or any spread."""
    scores = _scores(draws)
    shift = weight = 0.0
    squares, freedom = np.zeros(2), np.zeros(2)
    for rows in draws.rows():
        usable = scores[rows] != UNSCORED
        groups = [scores[rows][usable & (draws.correct[rows] == truth)] for truth in (1, 0)]
        if not all(len(group) for group in groups):
            continue
        pairs = len(groups[0]) * len(groups[1])
        shift, weight = shift + pairs * (groups[0].mean() - groups[1].mean()), weight + pairs
        squares += [float(np.sum((group - group.mean()) ** 2)) for group in groups]
        freedom += [len(group) - 1 for group in groups]
    if not weight or not np.all(freedom > 0) or not np.any(squares > 0):
        return float("nan")
    return float(shift / weight / np.sqrt(np.mean(squares / freedom)))


def brier(draws: Draws, level: float = 0.95) -> Interval:
    """Mean of (score - correct)², within problems and then over problems. Raises ValueError on a score outside
    [0, 1]."""
    scores, use = _probabilities(draws)
    problem = draws.problem[use]
    loss = (scores[use] - draws.correct[use]) ** 2
    count = np.bincount(problem, minlength=draws.problems)
    total = np.bincount(problem, weights=loss, minlength=draws.problems)
    return mean_interval(np.where(count > 0, total / np.maximum(count, 1), np.nan), level)


def brier_monte_carlo(predicted: ArrayLike, successes: ArrayLike, rollouts: ArrayLike) -> Floats:
    """The squared error of each prediction against the unknown chance that c of N rollouts estimate:
    (f - c/N)² - (c/N)(1 - c/N)/(N - 1), unbiased for N >= 2. It may be negative. Average it within problems and give
    the means to `mean_interval(..., bounds=(-1, 1))`. All inputs [items]. Raises ValueError if N < 2 or c > N."""
    f, c, n = (np.asarray(x, dtype=np.float64) for x in (predicted, successes, rollouts))
    if np.any(n < 2) or np.any(c < 0) or np.any(c > n):
        raise ValueError("unbiased Brier needs at least two rollouts an item and 0 <= c <= N")
    share = c / n
    return np.asarray((f - share) ** 2 - share * (1 - share) / (n - 1))


def ece(draws: Draws, level: float = 0.95, *, bins: int = BINS, replicates: int = 1000, seed: int = 0) -> Interval:
    """Expected calibration error over bins of equal mass: sum over bins of |sum of weights · (correct - score)|, a
    problem's chains sharing the weight 1/P. Chains of equal score share a bin.

    The interval is the percentile bootstrap over problems with the bins held fixed, seeded. An ECE cannot be negative,
    so noise biases it upward, and resampling biases it again: the percentiles are shifted down by that second bias,
    and cut at 0. Read a small ECE of few problems as 'not told from 0'.
    """
    scores, use = _probabilities(draws)
    problem = draws.problem[use]
    count = np.bincount(problem, minlength=draws.problems)
    present = np.flatnonzero(count)
    if not len(present):
        nan = np.array(np.nan)
        return Interval(nan, nan, nan, np.array(0))
    mass = 1.0 / count[problem]
    _, inverse = np.unique(scores[use], return_inverse=True)
    share = np.bincount(inverse, weights=mass)
    middle = (np.cumsum(share) - share / 2) / share.sum()
    bin_of = np.minimum((middle * bins).astype(np.int64), bins - 1)[inverse]
    row = np.searchsorted(present, problem)
    gaps = np.bincount(
        row * bins + bin_of, weights=mass * (draws.correct[use] - scores[use]), minlength=len(present) * bins
    )
    table = gaps.reshape(len(present), bins)
    value = float(np.abs(table.mean(axis=0)).sum())
    random = np.random.default_rng(seed)
    weights = random.multinomial(len(present), np.full(len(present), 1 / len(present)), size=replicates) / len(present)
    drawn = np.abs(weights @ table).sum(axis=1)
    low, high = np.quantile(drawn - (drawn.mean() - value), [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        np.array(value), np.array(max(min(low, value), 0.0)), np.array(max(high, value)), np.array(len(present))
    )


@dataclass(frozen=True, slots=True)
class FirstError:
    """As in ProcessBench: accuracy on chains with an error (its first index found), on correct chains ('none' found),
    and their harmonic mean."""

    erroneous: Interval
    correct: Interval
    f1: Interval


def first_error_f1(
    predicted: ArrayLike, truth: ArrayLike, problem: ArrayLike | None = None, level: float = 0.95
) -> FirstError:
    """ProcessBench's F1 (Zheng et al. 2024). predicted, truth [chains]: the index of the first wrong step, -1 for none.
    problem [chains]: which problem a chain belongs to; without it every chain is its own.

    Accuracies are means over chains, with intervals over problems. F1's limits come from theirs (MOVER, Zou and
    Donner 2008): each side is moved alone to its limit, and the two changes add in squares. Raises ValueError
    unless there are chains of both kinds."""
    guess, right = np.asarray(predicted, dtype=np.int64), np.asarray(truth, dtype=np.int64)
    group = np.arange(len(right)) if problem is None else np.unique(np.asarray(problem), return_inverse=True)[1]
    if guess.shape != right.shape or group.shape != right.shape:
        raise ValueError("predicted, truth and problem must have one entry a chain")
    wrong = right >= 0
    if wrong.all() or not wrong.any():
        raise ValueError("first-error F1 needs chains with an error and chains without")
    hit = (guess == right).astype(np.float64)
    sides = [_accuracy(hit[side], group[side], level) for side in (wrong, ~wrong)]
    (a, b), at = sides, [float(side.value) for side in sides]
    value = _harmonic(*at)
    down = np.hypot(value - _harmonic(float(a.low), at[1]), value - _harmonic(at[0], float(b.low)))
    up = np.hypot(_harmonic(float(a.high), at[1]) - value, _harmonic(at[0], float(b.high)) - value)
    if up == 0.0:  # both at 0: no side alone moves the harmonic mean
        up = _harmonic(float(a.high), float(b.high)) - value
    limits = np.clip([value - down, value + up], 0.0, 1.0)
    count = np.array(len(np.unique(group)))
    return FirstError(a, b, Interval(np.array(value), np.array(limits[0]), np.array(limits[1]), count))


def _accuracy(hit: Floats, group: Ints, level: float) -> Interval:
    _, inverse, count = np.unique(group, return_inverse=True, return_counts=True)
    return ratio_interval(np.bincount(inverse, weights=hit) / count, count, level)


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0


def _scores(draws: Draws) -> Floats:
    if draws.scores is None:
        raise ValueError("a scorer's agreement needs scores; add them with `ponder score`")
    return draws.scores


def _probabilities(draws: Draws) -> tuple[Floats, Ints]:
    """(scores [S], the samples that are scored and verified). Raises ValueError on a score outside [0, 1]."""
    scores = _scores(draws)
    use = np.flatnonzero((scores != UNSCORED) & (draws.correct >= 0))
    if np.any((scores[use] < 0) | (scores[use] > 1)):
        raise ValueError("a score lies outside [0, 1]; map scores to probabilities first")
    return scores, use
