"""Intervals for a mean over problems, and for the difference of two methods on the same problems.

Problems are the sampling unit: each gives one value, and the spread of the values holds both the spread of
difficulty and the noise of the samples within a problem.

The method is a score interval under the exponential tilt of the data. If the true mean were mu, what would the
variance V(mu) of a value be? Tilting the empirical distribution towards mu gives V(m) = s², V'(m) = k3/s² and
V''(m) = kurtosis - 3 - skewness². So the limits solve

    (mu - m)² = q² · [ s² + g (mu - m) + (tau/2 - 1) (mu - m)² ] / M,     g = k3/s²,  tau = kurtosis - 1 - skewness²

with q the t quantile for 2(M-1)/tau degrees of freedom, since tau is the part of the variance of s² that the mean
does not explain. Every distribution has tau >= 0. For values 0 and 1, tau = 0 and this *is* Wilson's interval; for
normal values, tau = 2 and it is Student's. In between it carries the skewness as a second-order correct interval must
(Johnson 1978; Hall 1992, sec. 3.10), in closed form.

Two guards. Each limit is computed with a faint extra problem (weight FAINT) at the end of the scale on its side,
so that problems unlike all those seen stay possible: it decides where the data are degenerate (all right, all
wrong, all equal), and is lost in the spread elsewhere. And since Wilson's lower limit is too high for a few rare
successes, each limit is the outer one of this and of a beta quantile (between Clopper-Pearson's and Jeffreys's) for
the two-point distribution that has the mean, variance and skewness of the data.

benchmarks/coverage.py simulates the coverage; docs/tables/coverage.md has the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import Floats

FAINT = 0.03
BETA = 0.25  # 0: Clopper-Pearson, 0.5: Jeffreys


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """An estimate with its limits; arrays of one shape, or 0-d. problems: how many problems it rests on."""

    value: Floats
    low: Floats
    high: Floats
    problems: Floats


def limits(values: Floats, level: float, low: float, high: float, mass: Floats | None = None) -> tuple[Floats, Floats, Floats, Floats]:
    ok = ~np.isnan(values)
    count = ok.sum(axis=-1)
    x = np.where(ok, values, 0.0)
    mean = x.sum(axis=-1) / np.maximum(count, 1)
    # the mirror: the lower limit is minus the upper limit of minus the values
    up = upper(x, ok, count, high, level)
    down = -upper(-x, ok, count, -low, level)
    return mean, np.maximum(down, low), np.minimum(up, high), count


def upper(x: Floats, ok: Floats, count: Floats, end: float, level: float, start=None) -> Floats:
    from scipy.special import betaincinv, stdtrit, ndtri

    M = count
    weight = M + FAINT
    m = (x.sum(-1) + FAINT * end) / weight
    d = np.where(ok, x - m[..., None], 0.0)
    e = end - m
    s2 = ((d**2).sum(-1) + FAINT * e**2) / weight
    k3 = ((d**3).sum(-1) + FAINT * e**3) / weight
    k4 = ((d**4).sum(-1) + FAINT * e**4) / weight
    flat = s2 < 1e-28
    s2 = np.where(flat, 1e-28, s2)
    g = k3 / s2
    tau = np.clip(k4 / s2**2 - 1 - k3**2 / s2**3, 0.0, 2.0)
    s2 = s2 * (1 + tau/2 / np.maximum(M - 1, 1))
    tail = (1 + level) / 2
    q = np.where(tau > 1e-3, stdtrit(2 * np.maximum(M - 1, 1) / np.maximum(tau, 1e-3), tail), ndtri(tail))
    B = q**2 / M
    A = 1 + B * (1 - tau / 2)
    delta = (B * g + np.sqrt((B * g) ** 2 + 4 * A * B * s2)) / (2 * A)
    root = np.sqrt(g**2 + 4 * s2)
    share = 0.5 - g / (2 * root)  # of the upper point
    n = M*(ndtri(tail)/q)**2 if KG else M
    beta = betaincinv(n * share + 1 - BETA, n * (1 - share) + BETA, tail)
    return np.maximum(m + delta, m + (g - root) / 2 + root * beta)
KG=True
