"""Intervals for a mean over problems, and for the difference of two methods on the same problems.

Problems are the sampling unit: each gives one value, and the spread of the values holds both the spread of
difficulty and the noise of the samples within a problem.

The method is a score interval under the exponential tilt of the data. If the true mean were mu, what would the
variance V(mu) of a value be? Tilting the empirical distribution towards mu has V(m) = s², V'(m) = k3/s² and
V''(m) = kurtosis - 3 - skewness². So the limits solve

    (mu - m)² = q² · [ s² + g (mu - m) + (tau/2 - 1) (mu - m)² ] / M,     g = k3/s²,  tau = kurtosis - 1 - skewness²

with q the t quantile for 2(M-1)/tau degrees of freedom, since tau is the part of the variance of s² that the mean
does not explain. Every distribution has tau >= 0. For values 0 and 1, tau = 0 and this *is* Wilson's interval; for
normal values, tau = 2 and it is close to Student's (both but for the guards below). In between it carries the
skewness as a second-order correct interval must (Johnson 1978; Hall 1992, sec. 3.10), in closed form.

Guards, each of which fades as problems are added:

1. Each limit is computed with a faint extra problem (weight FAINT) at the end of the scale on its side, so that
   problems unlike all those seen stay possible. It decides where the data are degenerate (all right, all wrong, all
   equal), and is lost in the spread elsewhere. q exceeds the normal quantile z because the spread of the data is
   estimated; the faint problem is given, so its weight is multiplied by (z/q)² to undo that.
2. Wilson's lower limit is too high for a few rare successes (and its upper for a few rare failures): for 1, 2, ... of
   many it misses up to 16, 11, 8, 7, 7, 6, 6 % on that side. With fewer than HELD[0] such events the limit is the outer
   one of the score limit and of a beta quantile (Jeffreys's, moved towards Clopper-Pearson's where events are few) for
   the two-point distribution that has the mean, variance and skewness of the data. From HELD[1] on it is the score
   limit: Wilson's two sides then miss about 5 % together, one more and the other less, and an outer limit on one side
   only covers too much. The change is that sudden because of 30 problems with a truth near .11: the upper limit of 0
   of 30 (.117) cannot miss there, so the lower limit has to. 7 of 30 must reach up to .117, or coverage passes 98 %,
   and 6 of 30 must stay below .098, or it falls under 93 %.
3. Differences have no natural direction: one disagreement of 30 is no evidence (McNemar). Let C = (sum d²)²/sum d⁴
   be how many problems carry their spread. Skewness that would shorten a side counts 1 - (FEW/C)² (nothing up to FEW
   problems, most of it from ten), and the largest deviation counts again on the other side with weight BALANCE/C.

The constants were chosen by simulation on these and other worlds; benchmarks/coverage.py shows what comes of them
(docs/tables/coverage.md; docs/log.md says with which seeds).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.measure.data import Floats

FAINT = 0.055  # the extra problem's weight
FAINT_SIGNED = 0.018  # for differences: their scale is far wider than their spread
BALANCE = 1.5
FEW = 5.0
RARE = 0.25  # with c rare events the beta prior is 1/2 - RARE exp(-c/3); 1/2 is Jeffreys's, 0 Clopper-Pearson's
HELD = (6.5, 7.05)  # rare events up to which the beta quantile holds, and from which it is out
FLAT = 1e-28  # a variance below is rounding


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """An estimate and its limits, arrays of one shape (0-d for one study). problems: how many it rests on."""

    value: Floats
    low: Floats
    high: Floats
    problems: NDArray[np.int64]


def mean_interval(values: ArrayLike, level: float = 0.95, *, bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    """For the mean over problems of per-problem values [..., M] within `bounds`; leading axes are studies.

    NaN (a problem without a value) is left out. Never of zero width; NaN and the whole scale without any problem.
    Raises ValueError on a value outside the bounds or a level outside (0, 1)."""
    x = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(x)
    return _interval(np.where(present, x, 0.0), present, np.where(present, 1.0, 0.0), level, bounds)


def ratio_interval(
    values: ArrayLike, weights: ArrayLike, level: float = 0.95, *, bounds: tuple[float, float] = (0.0, 1.0)
) -> Interval:
    """For the weighted mean sum(w y)/sum(w) over problems, whose weights are random too (pairs, chains a problem).

    values, weights [..., M]; a problem of weight 0 or NaN value is left out. It is the interval of the mean of
    R + (w/mean w)(y - R), which is the ratio R's linear part (a problem counts by how far it moves R)."""
    x, w = np.broadcast_arrays(np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64))
    if np.any(w < 0):
        raise ValueError("weights must not be negative")
    present = ~np.isnan(x) & (w > 0)
    return _interval(np.where(present, x, 0.0), present, np.where(present, w, 0.0), level, bounds)


def difference_interval(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """For mean(a) - mean(b) of two methods on the same problems: [..., M] each, in [0, 1]; problems where either is
    NaN are left out. The differences lie in [-1, 1]; the interval is theirs, so what the methods share cancels.
    Equal methods give 0 with the width that unseen disagreements leave."""
    return mean_interval(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64), level, bounds=(-1.0, 1.0))


def wilson(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion of independent trials. Raises ValueError unless 0 <= successes <= n."""
    c, total = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if np.any(c < 0) or np.any(c > total):
        raise ValueError("Wilson's interval needs 0 <= successes <= n")
    z = _normal(level)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = c / total
        centre = (c + z * z / 2) / (total + z * z)
        reach = z * np.sqrt(c * (1 - p) + z * z / 4) / (total + z * z)
    empty = total == 0
    low = np.where(empty | (c == 0), 0.0, centre - reach)
    high = np.where(empty | (c == total), 1.0, centre + reach)
    return Interval(p, low, high, total.astype(np.int64))


def _normal(level: float) -> float:
    from scipy.special import ndtri

    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not {level}")
    return float(ndtri((1 + level) / 2))


def _interval(x: Floats, present: NDArray[np.bool_], w: Floats, level: float, bounds: tuple[float, float]) -> Interval:
    """x, present, w [..., M]; w is 0 where absent."""
    low, high = bounds
    signed = low < 0
    if np.any((x < low - 1e-9) & present) or np.any((x > high + 1e-9) & present):
        raise ValueError(f"a value lies outside [{low:g}, {high:g}]")
    count = present.sum(axis=-1)
    some = count > 0
    total = np.where(some, w.sum(axis=-1), 1.0)
    value = np.where(some, (w * x).sum(axis=-1) / total, np.nan)
    centre = np.where(some, value, 0.0)
    scaled = w * np.where(some, count / total, 0.0)[..., None]
    deviation = scaled * (x - centre[..., None])
    upper = centre + _reach(deviation, present, count, high - centre, level, signed)
    lower = centre - _reach(-deviation, present, count, centre - low, level, signed)
    return Interval(
        value,
        np.where(some, np.maximum(lower, low), low),
        np.where(some, np.minimum(upper, high), high),
        np.asarray(count, dtype=np.int64),
    )


def _reach(
    deviation: Floats, present: NDArray[np.bool_], count: NDArray[np.int64], end: Floats, level: float, signed: bool
) -> Floats:
    """How far the upper limit lies above the mean. deviation [..., M] of the values from their mean (0 where absent);
    end: of the end of the scale from it."""
    from scipy.special import betaincinv, ndtri, stdtrit

    z, tail = _normal(level), (1 + level) / 2
    m = np.maximum(count, 1).astype(np.float64)
    faint, balance, trust = FAINT, np.zeros_like(m), np.ones_like(m)
    far = np.abs(deviation).max(axis=-1, initial=0.0)
    if signed:
        square = deviation * deviation
        carriers = square.sum(axis=-1) ** 2 / np.maximum((square * square).sum(axis=-1), 1e-300)
        faint, balance = FAINT_SIGNED, np.minimum(BALANCE / np.maximum(carriers, 1.0), 1.0)
        trust = 1.0 - (FEW / np.maximum(carriers, FEW)) ** 2

    def tilt(faint: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """The mean with the extra problems (from that of the data), s², g and tau about it."""
        weight = m + faint + balance
        shift = (faint * end + balance * far) / weight
        d, e, f = np.where(present, deviation - shift[..., None], 0.0), end - shift, far - shift
        square = d * d
        s2 = np.maximum((square.sum(axis=-1) + faint * e**2 + balance * f**2) / weight, FLAT)
        k3 = ((square * d).sum(axis=-1) + faint * e**3 + balance * f**3) / weight
        k4 = ((square * square).sum(axis=-1) + faint * e**4 + balance * f**4) / weight
        g = k3 / s2
        g = np.where(g < 0, g * trust, g)
        return shift, s2, g, np.clip(k4 / s2**2 - 1 - g**2 / s2, 0.0, 2.0)

    tau = tilt(np.full_like(m, faint))[-1]
    freedom = 2 * np.maximum(m - 1, 1) / np.maximum(tau, 1e-3)
    q = np.where(tau > 1e-3, stdtrit(freedom, tail), ndtri(tail))
    shift, s2, g, tau = tilt(faint * (z / q) ** 2)
    flat = s2 <= FLAT
    s2 = s2 * (1 + tau / (2 * np.maximum(m - 1, 1)))  # unbiased for normal values, as it is for 0 and 1
    b = q * q / m
    a = 1 + b * (1 - tau / 2)
    score = (b * g + np.sqrt((b * g) ** 2 + 4 * a * b * s2)) / (2 * a)
    # The two points with these moments are root apart, and the upper one has this share.
    root = np.sqrt(g * g + 4 * s2)
    share = np.clip(0.5 - g / (2 * root), 0.0, 1.0)
    trials = m * (z / q) ** 2
    rare = trials * (1 - share)
    prior = 0.5 - RARE * np.exp(-rare / 3)
    exact = (g - root) / 2 + root * betaincinv(trials * share + 1 - prior, rare + prior, tail)
    held = np.clip((HELD[1] - rare) / (HELD[1] - HELD[0]), 0.0, 1.0)
    return np.asarray(np.where(flat, 0.0, shift + score + held * np.maximum(exact - score, 0.0)))
