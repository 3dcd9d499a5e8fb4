"""How far a chain stays on track, whether it comes back, what its length is wasted on, and whether chains were
independent.

Steps carry a label: valid or not. The hazard at depth t is the share of chains, still on track before step t, whose
step t is wrong; L* is the depth that half the chains would reach on track (the median of the Kaplan-Meier curve). A
chain that ends on track is censored there: it says nothing of longer ones.
Shapes: C chains, T depths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ponder.measure.data import Draws, Floats, Ints
from ponder.measure.details import Details, Step
from ponder.measure.intervals import ratio_interval, wilson
from ponder.measure.taste import Told, _quantiles, weights


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """first [C]: the index of the first wrong step, -1 where all labelled steps are valid. steps [C]: labelled steps.
    problem [C]."""

    first: Ints
    steps: Ints
    problem: Ints


def track(steps: Sequence[Sequence[Step]], problem: Ints) -> Track | None:
    """Of the chains whose steps are labelled from the first on; a chain counts up to its first unlabelled step. None
    if there is none."""
    first, size, owner = [], [], []
    for chain, key in zip(steps, problem.tolist(), strict=True):
        labels = [valid for valid, _ in chain]
        if None in labels:
            labels = labels[: labels.index(None)]
        if labels:
            first.append(labels.index(False) if False in labels else -1)
            size.append(len(labels))
            owner.append(key)
    return Track(np.array(first), np.array(size), np.array(owner)) if first else None


def hazard(found: Track) -> list[dict[str, Any]]:
    """For each depth from 1: chains at risk, how many go off track there, and the share with Wilson's interval."""
    points = []
    for depth in range(int(found.steps.max())):
        risk, wrong = _at(found, depth)
        if not risk:
            break
        share = wilson(wrong, risk)
        points.append({
            "depth": depth + 1, "at_risk": risk, "off_track": wrong,
            "value": float(share.value), "low": float(share.low), "high": float(share.high),
        })  # fmt: skip
    return points


def _at(found: Track, depth: int) -> tuple[int, int]:
    """(chains on track before this step that have it, those for which it is the first wrong one)."""
    alive = (found.first < 0) | (found.first >= depth)
    return int(np.sum(alive & (found.steps > depth))), int(np.sum(found.first == depth))


def hazard_a_step(found: Track) -> Told:
    """Wrong first steps per step at risk, over all depths; interval over problems."""
    exposed = np.where(found.first >= 0, found.first + 1, found.steps).astype(np.float64)
    keys, where = np.unique(found.problem, return_inverse=True)
    risk = np.bincount(where, weights=exposed, minlength=len(keys))
    wrong = np.bincount(where, weights=(found.first >= 0).astype(float), minlength=len(keys))
    return Told.of(ratio_interval(wrong / risk, risk))


def half_life(found: Track) -> Told:
    """L*: the depth that half the chains reach on track. Where the curve stays above a half, the longest depth that a
    hundredth of the chains is at risk at, a lower bound."""
    keys, where = np.unique(found.problem, return_inverse=True)
    depths = int(found.steps.max())
    alive = np.where(found.first < 0, found.steps, found.first + 1)  # depths at which a chain is at risk
    risk, wrong = np.zeros((2, len(keys), depths))
    for depth in range(depths):
        risk[:, depth] = np.bincount(where, weights=(alive > depth).astype(float), minlength=len(keys))
        wrong[:, depth] = np.bincount(where, weights=(found.first == depth).astype(float), minlength=len(keys))
    depths = int(np.sum(risk.sum(axis=0) >= len(found.first) / 100))
    risk, wrong = risk[:, :depths], wrong[:, :depths]
    w = weights(len(keys), 400)
    at_risk = w @ risk
    curve = np.cumprod(1 - np.where(at_risk > 0, (w @ wrong) / np.maximum(at_risk, 1e-12), 0.0), axis=1)
    length = (curve >= 0.5).sum(axis=1).astype(np.float64)
    told = _quantiles(length)
    if length[0] >= depths:
        return Told(float(depths), told.low, None, "lower")
    return told


def wasted(details: Details) -> Told:
    """The share of tokens written after a chain's first wrong step, of chains with labelled steps; interval over
    problems. None if steps have neither tokens nor text."""
    total, lost = np.zeros((2, details.draws.problems))
    for chain, key in zip(details.steps, details.draws.problem.tolist(), strict=True):
        sizes = np.array([size for _, size in chain])
        labels = [valid for valid, _ in chain]
        if not len(sizes) or not np.all(np.isfinite(sizes)) or all(valid is None for valid in labels):
            continue
        total[key] += sizes.sum()
        if False in labels:
            lost[key] += sizes[labels.index(False) + 1 :].sum()
    if not total.sum():
        return Told(None, None, None)
    return Told.of(ratio_interval(lost / np.maximum(total, 1e-12), total))


def recovered(details: Details) -> dict[str, Any] | None:
    """Of the chains that took a wrong step, the share that ends right; `fresh`: the share of all chains of the same
    problems, in the same proportions; `difference`: the one less the other. A chain that took a wrong step is a draw
    from the prefix just after it, as the policy meets such prefixes. None without such chains."""
    draws = details.draws
    off = np.array([any(valid is False for valid, _ in chain) for chain in details.steps], dtype=bool)
    off &= draws.correct >= 0
    n = np.bincount(draws.problem[off], minlength=draws.problems).astype(np.float64)
    if not n.any():
        return None
    right = np.bincount(draws.problem[off], weights=draws.correct[off] == 1, minlength=draws.problems)
    fresh = n * draws.successes / np.maximum(draws.verified, 1)
    use = n > 0
    sums = weights(int(use.sum())) @ np.column_stack([n, right, fresh])[use]
    difference = _quantiles((sums[:, 1] - sums[:, 2]) / sums[:, 0])
    again, whole = (Told.of(ratio_interval(x[use] / n[use], n[use])) for x in (right, fresh))
    found = {"chains": int(n.sum()), "problems": int(use.sum())} | again.document()
    return found | {"fresh": whole.document(), "difference": difference.document()}


def tokens(draws: Draws, size: Floats) -> dict[str, Told]:
    """Mean tokens of right and of wrong chains, averaged within the problems that have both."""
    found = {}
    known = np.isfinite(size)
    both = np.ones(draws.problems, dtype=bool)
    means = {}
    for name, truth in (("right", 1), ("wrong", 0)):
        use = known & (draws.correct == truth)
        n = np.bincount(draws.problem[use], minlength=draws.problems)
        total = np.bincount(draws.problem[use], weights=size[use], minlength=draws.problems)
        means[name] = total / np.maximum(n, 1)
        both &= n > 0
    if not both.any():
        return {"right": Told(None, None, None), "wrong": Told(None, None, None)}
    w = weights(int(both.sum()))
    for name, values in means.items():
        found[name] = _quantiles(w @ values[both])
    return found


@dataclass(frozen=True, slots=True)
class Independent:
    """Tokens a sample in two runs with few and many samples a problem. fits: flat independent chains would cost the
    same each; a ratio far from 1 needs another explanation."""

    few: float
    many: float
    ratio: float
    fits: bool


def independent(
    tokens: tuple[float, float], samples: tuple[float, float], problems: float = 1.0, tolerance: float = 0.1
) -> Independent:
    """Could these have been independent chains? Total tokens over `problems`, at few and at many samples a problem."""
    few, many = (total / (problems * n) for total, n in zip(tokens, samples, strict=True))
    ratio = many / few
    return Independent(few, many, ratio, abs(ratio - 1) <= tolerance)
