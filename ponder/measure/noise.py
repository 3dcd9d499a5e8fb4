"""What a noisy scorer does to best-of-N: 'observed score = Q + e', by quadrature.

Populations, not samples: taste.py reads these quantities off recorded chains. Q is a chain's true quality (graded or
0/1), e the scorer's error. Sources: order statistics (David and Nagaraja 2003); the tail index is Hill's (1975).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import Floats

Distribution = Callable[[Floats], Floats]
"""A density or a distribution function."""

NODES = 20001


@dataclass(frozen=True, slots=True)
class Noise:
    """An error distribution: its density, its distribution function, and how far out it has any mass to speak of."""

    pdf: Distribution
    cdf: Distribution
    reach: float


def normal_noise(sd: float) -> Noise:
    from scipy.stats import norm

    return Noise(lambda x: norm.pdf(x / sd) / sd, lambda x: norm.cdf(x / sd), 12 * sd)


def student_noise(freedom: float, scale: float) -> Noise:
    """scale · t(freedom)."""
    from scipy.stats import t

    return Noise(
        lambda x: t.pdf(x / scale, freedom) / scale,
        lambda x: t.cdf(x / scale, freedom),
        scale * float(-t.ppf(1e-9, freedom)),
    )


def laplace_noise(scale: float) -> Noise:
    from scipy.stats import laplace

    return Noise(lambda x: laplace.pdf(x / scale) / scale, lambda x: laplace.cdf(x / scale), 40 * scale)


def expected_maximum(n: float) -> float:
    """m_N, the mean of the largest of N standard normals."""
    from scipy.stats import norm

    x = np.linspace(-9, 9, 6001)
    return float(np.trapezoid(n * x * norm.pdf(x) * norm.cdf(x) ** (n - 1), x))


def graded(ns: ArrayLike, noise: Noise | None, *, spread: float = 1.0, mean: float = 0.0) -> Floats:
    """E[Q of the pick] for each N, with normal Q (sd `spread`) and an error: the integral of N g(s) F(s)^(N-1), where
    g(s) is the integral of q f_Q(q) f_e(s - q). Without noise: mean + m_N spread. [N]."""
    from scipy.stats import norm

    wanted = np.atleast_1d(np.asarray(ns, dtype=np.float64))
    if noise is None:
        return np.array([mean + spread * expected_maximum(n) for n in wanted])
    q = np.linspace(-8, 8, 321)
    weight = norm.pdf(q) * (q[1] - q[0])
    q, far = q * spread, 9 * spread + noise.reach
    u = np.linspace(-np.arcsinh(far / spread), np.arcsinh(far / spread), NODES // 4)
    s = spread * np.sinh(u)  # dense in the middle, and out to the tails
    away = s[:, None] - q
    f_e = noise.pdf(away)
    g, total = f_e @ (weight * q), noise.cdf(away) @ weight
    total = np.clip(total / weight.sum(), 0.0, 1.0)
    step = spread * np.cosh(u)
    return np.array([mean + np.trapezoid(n * g * total ** (n - 1) * step, u) for n in wanted])


def interior(values: Callable[[Floats], Floats], most: float = 2.0**16) -> tuple[float, float] | None:
    """(N*, value there) where a curve over N has its top inside (1, most); None where it rises to the end."""
    ns = np.geomspace(1, most, 129)
    for _ in range(3):
        found = values(ns)
        top = int(np.argmax(found))
        if top in (0, len(ns) - 1):
            return None
        ns = np.geomspace(ns[top - 1], ns[top + 1], 17)
    return float(ns[int(np.argmax(found := values(ns)))]), float(np.max(found))


def picked(qualities: Sequence[float], sd: float) -> Floats:
    """The chance of each of these candidates to have the highest score, under independent normal errors: [N]."""
    from scipy.stats import norm

    q = np.asarray(qualities, dtype=np.float64)
    if sd <= 0:
        best = (q == q.max()).astype(np.float64)
        return np.asarray(best / best.sum())
    s = np.linspace(q.min() - 9 * sd, q.max() + 9 * sd, NODES)
    z = (s[:, None] - q) / sd
    log = norm.logcdf(z)
    others = np.exp(log.sum(axis=1, keepdims=True) - log)
    return np.asarray(np.trapezoid(others * norm.pdf(z) / sd, s, axis=0), dtype=np.float64)


def regret(qualities: Sequence[float], sd: float) -> float:
    """What the pick falls short of the best by, on average."""
    q = np.asarray(qualities, dtype=np.float64)
    return float(q.max() - picked(qualities, sd) @ q)


def binary(ns: ArrayLike, p: float, d: float, right: float = 1.0, wrong: float = 1.0) -> Floats:
    """P(the best-scored of N is correct), chains right with chance p, scores normal with means d apart and standard
    deviations `right` and `wrong`: the integral of N p f_c [p F_c + (1-p) F_w]^(N-1). [N]."""
    from scipy.stats import norm

    wanted = np.atleast_1d(np.asarray(ns, dtype=np.float64))
    low, high = min(-10 * wrong, d - 10 * right), max(10 * wrong, d + 10 * right)
    s = np.linspace(low, high, NODES)
    f = norm.pdf(s, d, right)
    total = p * norm.cdf(s, d, right) + (1 - p) * norm.cdf(s, 0, wrong)
    return np.array([np.trapezoid(n * p * f * total ** (n - 1), s) for n in wanted])


def ceiling(p: float, d: float, right: float = 1.0, wrong: float = 1.0) -> float:
    """The limit of `binary` for N without end: the wider class wins the upper tail; equal widths and d > 0 give 1."""
    if right != wrong:
        return 1.0 if right > wrong else 0.0
    return 1.0 if d > 0 else p if d == 0 else 0.0


def passed(p: float, true_positive: float, false_positive: float) -> float:
    """P(correct | a check passes): the ceiling of any N under a checker with these rates."""
    good, bad = p * true_positive, (1 - p) * false_positive
    return good / (good + bad) if good + bad else p


def area(d: float, right: float = 1.0, wrong: float = 1.0) -> float:
    """AUROC = PHI(d / sqrt(right² + wrong²))."""
    from scipy.stats import norm

    return float(norm.cdf(d / np.hypot(right, wrong)))


@dataclass(frozen=True, slots=True)
class Tail:
    """Hill's estimate nu = 1/xi of how fast the tail of |e| falls, as a power; below about 5 it is heavy. used: of how
    many of the largest errors."""

    nu: float
    low: float
    high: float
    used: int


def hill(errors: ArrayLike, share: float = 0.05, *, replicates: int = 400, seed: int = 0) -> Tail:
    """xi = the mean of ln(|e|_(i)/|e|_(m+1)) over the m largest, m = `share` of them; percentile bootstrap. Raises
    ValueError with fewer than 40 errors that are not 0."""
    size = np.sort(np.abs(np.asarray(errors, dtype=np.float64)))
    size = size[size > 0]
    if len(size) < 40:
        raise ValueError(f"{len(size)} errors show no tail; at least 40 are needed")
    m = max(10, int(share * len(size)))

    def nu(values: Floats) -> Floats:
        top = np.sort(values, axis=-1)[..., -(m + 1) :]
        xi = np.mean(np.log(top[..., 1:] / top[..., :1]), axis=-1)
        return np.asarray(1.0 / np.maximum(xi, 1e-9))

    random = np.random.default_rng(seed)
    drawn = np.array([float(nu(random.choice(size, len(size)))) for _ in range(replicates)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Tail(float(nu(size)), float(low), float(high), m)
