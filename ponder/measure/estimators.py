"""Accuracy under repeated sampling: exact expectations over all k-subsets of the recorded samples.

Drawing k of n recorded samples without replacement is unbiased for drawing k fresh ones (a U-statistic, Hoeffding
1948), so each value estimates what k samples would have reached. Values are per problem; intervals.py puts an
interval round their mean. Votes are in votes.py and weighted.py.

Unverified samples (the instrument failed, not the model): pass@k, pass^k, best-of-n and expected guesses leave them
out, so n is the number of verified samples. A vote cannot leave them out: they vote, and a class of which no member
was verified counts as not correct. `Draws.unverified` says how many there are; `Draws.as_wrong()` reports the
other way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import UNSCORED, Draws, Estimates, Floats, checked, doublings, miss_table, misses
from ponder.measure.votes import maj_at_k
from ponder.measure.weighted import weighted_at_k

__all__ = [
    "UNSCORED",
    "Draws",
    "Estimates",
    "Guesses",
    "best_of_n_at_k",
    "doublings",
    "expected_guesses",
    "gap",
    "maj_at_k",
    "misses",
    "pass_at_k",
    "pass_at_k_variance",
    "pass_hat_k",
    "weighted_at_k",
]


def pass_at_k(draws: Draws, ks: Iterable[int]) -> Estimates:
    """pass@k = 1 - C(n-c, k)/C(n, k), the chance that at least one of k is correct (Chen et al. 2021, eq. 1)."""
    wanted = checked(ks)
    return Estimates(wanted, 1.0 - misses(draws.verified, draws.successes, wanted))


def pass_at_k_variance(draws: Draws, ks: Iterable[int]) -> Estimates:
    """The variance of pass@k within a problem, f_k² - f_2k with f_k = C(n-c, k)/C(n, k): unbiased for n >= 2k (so
    it may be negative), NaN below. For statements about this fixed set of problems only."""
    wanted = checked(ks)
    n, c = draws.verified, draws.successes
    return Estimates(wanted, misses(n, c, wanted) ** 2 - misses(n, c, [2 * k for k in wanted]))


def pass_hat_k(draws: Draws, ks: Iterable[int]) -> Estimates:
    """pass^k = C(c, k)/C(n, k), the chance that all k are correct (tau-bench, Yao et al. 2024)."""
    wanted = checked(ks)
    n, c = draws.verified, draws.successes
    return Estimates(wanted, misses(n, n - c, wanted))


def best_of_n_at_k(draws: Draws, ks: Iterable[int], gold: ArrayLike | None = None) -> Estimates:
    """The chance that the best-scored of k is correct; with `gold` [S] its expected quality instead.

    Samples are sorted by score. Below every scored one come those with an answer and no score, as one tied block,
    and last those without an answer. A tied block (i, j] has weight [C(j,k) - C(i,k)]/C(n,k) times its mean
    correctness: ties break uniformly. Raises ValueError if the draws have no scores, or gold is not finite.
    """
    wanted = checked(ks)
    if draws.scores is None:
        raise ValueError("best-of-n needs scores; add them with `ponder score`")
    quality = (draws.correct == 1).astype(np.float64) if gold is None else np.asarray(gold, dtype=np.float64)
    if quality.shape != draws.correct.shape or not np.all(np.isfinite(quality)):
        raise ValueError("gold must be one finite number a sample")
    keep = draws.correct >= 0 if gold is None else np.ones(len(quality), dtype=bool)
    out = np.full((draws.problems, len(wanted)), np.nan)
    tier = np.where(draws.label < 0, 0, np.where(draws.scores == UNSCORED, 1, 2))
    for i, rows in enumerate(draws.rows()):
        use = keep[rows]
        n = int(np.count_nonzero(use))
        if not n:
            continue
        value, rank = quality[rows][use], tier[rows][use]
        score = np.where(rank == 2, draws.scores[rows][use], 0.0)
        order = np.lexsort((value, score, rank))  # value last: rows in another order give the same bytes
        score, rank, total = score[order], rank[order], np.concatenate(([0.0], np.cumsum(value[order])))
        ends = np.append(np.flatnonzero((np.diff(score) != 0) | (np.diff(rank) != 0)) + 1, n)
        begins = np.concatenate(([0], ends[:-1]))
        below = miss_table(n, wanted)[n - np.concatenate(([0], ends))]  # C(j, k)/C(n, k)
        out[i] = ((total[ends] - total[begins]) / (ends - begins)) @ np.diff(below, axis=0)
    return Estimates(wanted, out)


@dataclass(frozen=True, slots=True, eq=False)
class Guesses:
    """values [P]: expected guesses to the first success. censored [P]: no success was recorded, so that the
    value is a lower bound (without a cap, NaN: then only 'more than n' is known)."""

    values: Floats
    censored: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    @property
    def problems(self) -> int:
        """Problems with a value."""
        return int(np.sum(~np.isnan(self.values)))


def expected_guesses(draws: Draws, cap: int | None = None) -> Guesses:
    """Expected guesses up to and including the first correct one.

    Without a cap: (n+1)/(c+1), the mean rank of the first of c successes in a random order of the n recorded
    samples (negative hypergeometric); NaN and censored where c = 0. It is the expectation for this recorded pool; of
    1/p, which may be infinite, no unbiased estimator exists, and its mean over uncensored problems is optimistic.

    With a cap k: E[min(T, k)] = sum over j < k of C(n-c, j)/C(n, j), the guesses spent by someone who gives up after
    k. That is unbiased for fresh samples, needs no success, and lies in [1, k]; NaN where n < k - 1. Use this one for
    means over problems.
    """
    n, c = draws.verified, draws.successes
    censored = c == 0
    if cap is None:
        return Guesses(np.where(censored, np.nan, (n + 1) / (c + 1)), censored)
    (k,) = checked([cap])
    # Hockey stick: the sum is (n+1)/(c+1) · [1 - C(n+1-k, c+1)/C(n+1, c+1)].
    tail = misses(n + 1, c + 1, [k])[:, 0]
    values = (n + 1) / (c + 1) * (1.0 - tail)
    return Guesses(np.where(c == 0, np.where(n + 1 < k, np.nan, float(k)), values), censored)


def gap(draws: Draws, ks: Iterable[int]) -> Estimates:
    """pass@k - maj@k a problem: what a perfect chooser would add to the vote on the same draws. Both are taken with
    unverified samples out of pass@k and unknown classes not correct in the vote; NaN where either is."""
    wanted = checked(ks)
    return Estimates(wanted, pass_at_k(draws, wanted).values - maj_at_k(draws, wanted).values)
