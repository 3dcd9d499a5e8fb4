"""Weighted vote@k over k-subsets of the recorded samples: exact where cheap, else seeded subsets."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ponder.draws import counter
from ponder.measure.data import UNSCORED, Draws, Estimates, Floats, Ints, checked, misses
from ponder.measure.votes import maj_at_k

TIED = 1.0 - 1e-12  # totals of weights this close are equal: sums differ in the last bits with their order


def weighted_at_k(
    draws: Draws,
    ks: Iterable[int],
    *,
    seed: int = 0,
    subsets: int = 32,
    exact: int = 1000,
    zeros: Literal["raise", "vote"] = "raise",
) -> Estimates:
    """The chance that the class with the largest sum of scores among k is correct.

    Weights are the scores (>= 0; a chain that the scorer could not rate has none). Ties break uniformly, abstentions
    never win; in a subset where no answer has any weight the plain vote decides, as in `select/weighted`. A class
    without a verified member counts as not correct. Equal weights give maj@k. `nothing`: the chance that all k
    abstain.

    Exact for k = 1, 2, n, where all weights are equal, and where C(n, k) <= `exact` (enumerated). Elsewhere the
    mean over random subsets: `subsets` of them, more for small k, seeded by (seed, problem's key). `stderr` is their
    standard error, at most about 1/(2 sqrt(subsets)) a problem and that over sqrt(P) for the mean of P problems.

    Raises ValueError without scores, on a negative one, and if no answer of some problem has any weight (zeros="vote"
    counts those problems by the plain vote).
    """
    wanted = checked(ks)
    if draws.scores is None:
        raise ValueError("the weighted vote needs scores; add them with `ponder score`")
    weights = np.where((draws.scores == UNSCORED) | (draws.label < 0), 0.0, draws.scores)
    if weights.min(initial=0.0) < 0:
        raise ValueError("a score is negative; map scores to weights >= 0 first (logits: the sigmoid)")
    values = np.full((draws.problems, len(wanted)), np.nan)
    stderr = np.zeros_like(values)
    nothing = misses(draws.n, draws.n - draws.abstentions, wanted)
    plain: list[int] = []
    for i, rows in enumerate(draws.rows()):
        label, weight = draws.label[rows], weights[rows]
        answered = label >= 0
        if answered.any() and not weight.any() and zeros == "raise":
            raise ValueError(
                f"problem {draws.keys[i]!r}: no answer has any weight; use the plain vote or another scorer"
            )
        heavy = weight[answered]
        if not len(heavy) or heavy.min() == heavy.max():
            plain.append(i)
            continue
        # Group weighs as votes count: by class; classes in an order that no reordering of rows can change.
        group, right, weight = _canonical(label, weight, draws.verdict)
        sigma = np.random.default_rng(counter(seed, "weighted", draws.keys[i])).permutation(len(group))
        for column, k in enumerate(wanted):
            if k <= len(group):
                values[i, column], stderr[i, column] = _vote(group, weight, right, k, sigma, subsets, exact)
    if plain:
        values[plain] = maj_at_k(_only(draws, plain), wanted).values
    return Estimates(wanted, values, nothing, stderr)


def _canonical(label: Ints, weight: Floats, verdict: NDArray[np.int8]) -> tuple[Ints, Floats, Floats]:
    """(group [n], right [groups+1], weight [n]) sorted by group and weight; abstentions are the last group, which is
    never right."""
    order = np.lexsort((weight, label))
    label, weight = label[order], weight[order]
    ids, begins = np.unique(label, return_index=True)
    parts = np.split(weight, begins[1:])
    # Any fixed order of classes will do that depends on nothing but their members.
    classes = [
        (bool(verdict[i] == 1), len(w), w.tobytes(), w) for i, w in zip(ids.tolist(), parts, strict=True) if i >= 0
    ]
    classes.sort(key=lambda row: row[:3])
    a = int(np.count_nonzero(label < 0))
    group = np.repeat(np.arange(len(classes) + 1), [*(size for _, size, _, _ in classes), a])
    right = np.array([*(float(correct) for correct, _, _, _ in classes), 0.0])
    return group, right, np.concatenate([*(w for _, _, _, w in classes), np.zeros(a)])


def _vote(
    group: Ints, weight: Floats, right: Floats, k: int, sigma: Ints, subsets: int, exact: int
) -> tuple[float, float]:
    """(value, standard error) at one k."""
    n = len(group)
    if k == 1:
        return float(right[group].mean()), 0.0
    if comb(n, k) <= exact:
        return float(_outcomes(group, weight, right, _all_subsets(n, k)).mean()), 0.0
    if k == 2:
        return _pairs(group, weight, right), 0.0
    chosen = sigma[_some_subsets(n, k, max(subsets, min(256, 4096 // k)))]
    won = _outcomes(group, weight, right, chosen)
    return float(won.mean()), float(won.std(ddof=1) / np.sqrt(len(won)))


def _outcomes(group: Ints, weight: Floats, right: Floats, chosen: Ints) -> Floats:
    """The chance that the vote of each subset is correct (below 1 only in ties); chosen [subsets, k]."""
    count, width = len(chosen), len(right)
    cell = group[chosen] + width * np.arange(count)[:, None]
    total = np.bincount(cell.ravel(), weights=weight[chosen].ravel(), minlength=count * width).reshape(count, width)
    total[:, -1] = -1.0
    best = total.max(axis=1)
    weightless = np.flatnonzero(best <= 0.0)
    if len(weightless):
        votes = np.bincount(cell[weightless].ravel(), minlength=count * width)
        total[weightless] = votes.reshape(count, width)[weightless]
        total[weightless, -1] = 0.0
        best = total.max(axis=1)
    wins = total >= (best * TIED)[:, None]
    wins[best <= 0.0] = False
    return np.asarray((wins @ right) / np.maximum(wins.sum(axis=1), 1))


def _pairs(group: Ints, weight: Floats, right: Floats) -> float:
    """k = 2 exactly: the heavier of two wins, as in best-of-2; abstentions lie below every answer."""
    n = len(group)
    order = np.lexsort((weight, group < len(right) - 1))
    key, good = np.where(group < len(right) - 1, weight, -1.0)[order], right[group[order]]
    low, high = (
        np.searchsorted(key, key * np.where(key > 0, TIED, 1.0), "left"),
        np.searchsorted(key, key / np.where(key > 0, TIED, 1.0), "right"),
    )
    # As the winner against all below, and half of the tied others: C(n, 2) pairs in all.
    return float(good @ (low + (high - low - 1) / 2)) / comb(n, 2)


@lru_cache(maxsize=64)
def _all_subsets(n: int, k: int) -> Ints:
    return np.array(list(combinations(range(n), k)), dtype=np.int64)


@lru_cache(maxsize=64)
def _some_subsets(n: int, k: int, count: int) -> Ints:
    """Random k-subsets of 0…n-1, disjoint as far as they go: [count, k]. The same for all problems of n samples, which
    use them through a permutation of their own, so that their errors are independent."""
    random = np.random.default_rng(counter(0, "subsets", n, k))
    each = n // k
    blocks = [random.permutation(n)[: each * k].reshape(each, k) for _ in range(-(-count // each))]
    return np.concatenate(blocks)[:count]


def _only(draws: Draws, problems: list[int]) -> Draws:
    """The draws of some problems, without scores."""
    pick = [slice(draws.starts[i], draws.starts[i + 1]) for i in problems]
    return Draws.of(
        [draws.label[s] for s in pick], [draws.correct[s] for s in pick], None, [draws.keys[i] for i in problems]
    )
