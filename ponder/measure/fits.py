"""Laws of coverage: how pass@k goes on beyond the samples that were drawn.

A problem whose chains are right with probability p is missed by all k of them with probability (1-p)^k. So the law is
that of the distribution of p over problems. Two forms are fitted:

- beta-binomial, p ~ Beta(alpha, beta) with an optional share `zero` of problems that are never solved (p = 0), by
  maximum likelihood on the counts (c of n), never on the curve, whose points are correlated;
- exponential, coverage = exp(a k^b) with a, b < 0 (Brown et al. 2024, Large Language Monkeys, sec. 3), by least squares
  on ln(-ln coverage).

`zero` and a small alpha look much alike: read `Likelihood.interval`, the profile-likelihood interval of anything that
is a function of the three parameters.
Shapes: P problems, U distinct (n, c), G points of a grid, K values of k, B replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import Floats, misses

CUT = 1.9207  # half the 95 % quantile of chi-square with one degree of freedom
STEPS = (26, 22, 14)  # points of the grid: mean, concentration, zero
ROUNDS = 4
KEPT = 7.0  # log-likelihood below the best at which a grid is cut off before it is refined


@dataclass(frozen=True, slots=True)
class BetaBinomial:
    """p ~ zero · (point at 0) + (1 - zero) · Beta(alpha, beta)."""

    alpha: float
    beta: float
    zero: float = 0.0

    def coverage(self, ks: ArrayLike) -> Floats:
        """1 - E[(1-p)^k]: [K]."""
        return 1.0 - self.zero - (1.0 - self.zero) * missed(self.alpha, self.beta, ks)

    @property
    def mean(self) -> float:
        return (1 - self.zero) * self.alpha / (self.alpha + self.beta)


def missed(alpha: ArrayLike, beta: ArrayLike, ks: ArrayLike) -> Floats:
    """E[(1-p)^k] = B(alpha, beta + k)/B(alpha, beta) of a beta distribution; inputs broadcast."""
    from scipy.special import betaln

    a, b, k = (np.asarray(x, dtype=np.float64) for x in (alpha, beta, ks))
    return np.asarray(np.exp(betaln(a, b + k) - betaln(a, b)))


@dataclass(frozen=True)
class Likelihood:
    """The beta-binomial likelihood of counts on a grid around its top, refined where it is high.

    alpha, beta, zero, log [G]; patterns are the distinct (n, c) and how often each occurs. Build it with `of`."""

    n: Floats
    c: Floats
    times: Floats
    alpha: Floats
    beta: Floats
    zero: Floats
    log: Floats

    @classmethod
    def of(cls, n: ArrayLike, c: ArrayLike, *, zero: bool = True) -> Likelihood:
        """n, c [P]; problems with n = 0 are left out. Raises ValueError on impossible counts or none."""
        total, hits = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(c, dtype=np.float64))
        use = total > 0
        if not use.any():
            raise ValueError("no problem has a sample with a verdict")
        if np.any(hits < 0) or np.any(hits > total):
            raise ValueError("counts must satisfy 0 <= c <= n")
        pairs, times = np.unique(np.stack((total[use], hits[use])), axis=1, return_counts=True)
        box = [(-8.0, 8.0), (np.log(0.02), np.log(2000.0)), (0.0, 0.98 if zero else 0.0)]
        for _ in range(ROUNDS):
            grid = _grid(box, zero)
            log = _log_likelihood(pairs[0], pairs[1], times.astype(np.float64), *grid)
            axes = _axes(box, zero)
            near = log.reshape([len(axis) for axis in axes]) >= log.max() - KEPT
            box = [_narrowed(axis, near, d) for d, axis in enumerate(axes)]
        return cls(pairs[0], pairs[1], times.astype(np.float64), *grid, log)

    @cached_property
    def best(self) -> BetaBinomial:
        """The most likely parameters, polished from the grid's best point."""
        from scipy.optimize import minimize

        top = int(np.argmax(self.log))
        start = self.alpha[top], self.beta[top], self.zero[top]
        free = bool(self.zero.max() > 0)

        def cost(x: Floats) -> float:
            a, b = np.exp(np.clip(x[:2], -12, 12))
            z = x[2] if free else 0.0
            return -float(_log_likelihood(self.n, self.c, self.times, *(np.array([v]) for v in (a, b, z)))[0])

        bounds = [(-8, 8), (-8, 8), *([(0.0, 0.98)] if free else [])]
        x0 = [np.log(start[0]), np.log(start[1]), *([start[2]] if free else [])]
        found = minimize(cost, np.clip(x0, [lo for lo, _ in bounds], [hi for _, hi in bounds]), bounds=bounds)
        if -found.fun < self.log[top]:
            return BetaBinomial(*(float(v) for v in start))
        a, b = np.exp(found.x[:2])
        return BetaBinomial(float(a), float(b), float(found.x[2]) if free else 0.0)

    def interval(self, function: Callable[[Floats, Floats, Floats], Floats]) -> tuple[float, float]:
        """The profile-likelihood interval (95 %) of a function of (alpha, beta, zero), each [G]."""
        inside = self.log >= self.log.max() - CUT
        values = function(self.alpha[inside], self.beta[inside], self.zero[inside])
        return float(values.min()), float(values.max())

    def coverage_interval(self, k: float) -> tuple[float, float]:
        return self.interval(lambda a, b, z: (1 - z) * (1 - missed(a, b, k)))

    @cached_property
    def weight(self) -> Floats:
        """The posterior of the grid's points under a flat prior on logit mean, ln(alpha + beta) and zero: [G]."""
        found = np.exp(self.log - self.log.max())
        return np.asarray(found / found.sum())

    def draw(self, random: np.random.Generator, size: int) -> Floats:
        """(alpha, beta, zero) from that posterior: [size, 3]."""
        at = random.choice(len(self.weight), size=size, p=self.weight)
        return np.column_stack((self.alpha[at], self.beta[at], self.zero[at]))


def _axes(box: Sequence[tuple[float, float]], zero: bool) -> list[Floats]:
    steps = (*STEPS[:2], STEPS[2] if zero else 1)
    return [np.linspace(low, high, count) for (low, high), count in zip(box, steps, strict=True)]


def _grid(box: Sequence[tuple[float, float]], zero: bool) -> tuple[Floats, Floats, Floats]:
    """(alpha, beta, zero) [G] over the box of logit mean, ln concentration and zero."""
    mean, size, share = (axis.ravel() for axis in np.meshgrid(*_axes(box, zero), indexing="ij"))
    m, s = 1 / (1 + np.exp(-mean)), np.exp(size)
    return m * s, (1 - m) * s, share


def _narrowed(axis: Floats, near: Any, dimension: int) -> tuple[float, float]:
    """The range of an axis that holds likely points, and one step more."""
    if len(axis) == 1:
        return float(axis[0]), float(axis[0])
    others = tuple(d for d in range(near.ndim) if d != dimension)
    some = np.flatnonzero(near.any(axis=others))
    return float(axis[max(some[0] - 1, 0)]), float(axis[min(some[-1] + 1, len(axis) - 1)])


def _log_likelihood(n: Floats, c: Floats, times: Floats, alpha: Floats, beta: Floats, zero: Floats) -> Floats:
    """[G]; binomial coefficients are left out. Points that share (alpha, beta) are computed once."""
    from scipy.special import gammaln

    pairs, where = np.unique(np.stack((alpha, beta)), axis=1, return_inverse=True)
    a, b = pairs[0][:, None], pairs[1][:, None]
    rising = gammaln(a + c) + gammaln(b + n - c) + gammaln(a + b) - gammaln(a) - gammaln(b) - gammaln(a + b + n)
    log = np.asarray(rising)[where.ravel()]
    none = c == 0
    with np.errstate(divide="ignore"):
        share = np.log1p(-zero)[:, None]
        mixed = np.logaddexp(np.log(zero)[:, None], share + log[:, none])
    return np.asarray(mixed @ times[none] + (share + log[:, ~none]) @ times[~none])


# --- the exponential form -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exponential:
    """coverage = exp(a k^b). a, b: scalars, or [B] replicates."""

    a: Floats
    b: Floats

    def coverage(self, ks: ArrayLike) -> Floats:
        """[..., K]."""
        k = np.asarray(ks, dtype=np.float64)
        return np.asarray(np.exp(self.a[..., None] * k ** self.b[..., None]))


def fit_exponential(curves: ArrayLike, ks: ArrayLike) -> Exponential:
    """Least squares of ln(-ln coverage) on ln k; curves [..., K]. Points at 0 or 1 are left out; with fewer than two
    left the curve is flat (b = 0). Coverage may not fall, so b <= 0."""
    y, k = np.asarray(curves, dtype=np.float64), np.asarray(ks, dtype=np.float64)
    use = (y > 1e-9) & (y < 1 - 1e-9)
    z = np.log(-np.log(np.where(use, y, 0.5)))
    x = np.log(k) + np.zeros_like(z)
    w = use / np.maximum(use.sum(axis=-1, keepdims=True), 1)
    mx, mz = (w * x).sum(axis=-1), (w * z).sum(axis=-1)
    spread = (w * (x - mx[..., None]) ** 2).sum(axis=-1)
    slope = (w * (x - mx[..., None]) * (z - mz[..., None])).sum(axis=-1) / np.where(spread > 0, spread, 1.0)
    b = np.minimum(np.where(spread > 0, slope, 0.0), 0.0)
    return Exponential(np.asarray(-np.exp(mz - b * mx)), np.asarray(b))


def pass_curve(n: ArrayLike, c: ArrayLike, ks: Sequence[int]) -> Floats:
    """The mean over problems of the exact pass@k: [K]; NaN where no problem has k samples."""
    values = 1.0 - misses(n, c, ks)
    known = ~np.isnan(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan))
