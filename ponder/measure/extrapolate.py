"""Curves beyond the recorded samples: which form, how far, how sure, and when nothing can be said.

pass@k follows one of the laws of fits.py, or the free mixture of mixture.py. Each is fitted to fewer samples a problem
than there are (drawn at random, several times) and asked for the accuracy at all of them; a form counts by the inverse
of its squared error. The value is anchored: what is known at n stays, and only the share still missed shrinks as the
forms say. The interval is the union of the profile-likelihood intervals of the mixture and of the beta-binomial: it
does not rest on the forms' weights, and where the data leave much open it is wide.

Curves of a selector (vote, best-of-n, weighted vote) have no such law. Two forms in ln k are fitted to the end of the
exact curve, a line and a saturating one, again chosen by held-out error, never above the extrapolated pass@k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import Floats, Ints, doublings
from ponder.measure.fits import Likelihood, fit_exponential, pass_curve
from ponder.measure.mixture import Mixture

REPEATS = 8  # random subsets for the held-out error
REPLICATES = 400
FARTHEST = 64  # beyond so many times n nothing is said
FEW = 8  # problems from which something is said
FORMS = ("beta-binomial", "exponential", "mixture")
SHAPES = ("line", "saturating")
SLACK = 0.01  # of a held-out error: below, forms are as good as one another
WIDE = 0.6  # an interval so wide is 'cannot be told'


@dataclass(frozen=True, slots=True)
class Point:
    """Beyond the data; value is None where the data cannot tell, and reason says why."""

    k: int
    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """pass@k beyond n. form: the one of most weight. errors: of each, root mean square at n, held out; {} if it
    could not be tried. zero: the share of problems never solved, best value and profile interval."""

    points: tuple[Point, ...]
    form: str
    errors: dict[str, float]
    tried: tuple[int, int] | None
    zero: tuple[float, float, float]

    def document(self) -> dict[str, Any]:
        held_out = {"errors": self.errors, "fitted": self.tried[0], "tested": self.tried[1]} if self.tried else None
        zero = dict(zip(("value", "low", "high"), self.zero, strict=True))
        return {"form": self.form, "held_out": held_out, "never_solved": zero}


def beyond(n: int, to: int) -> tuple[int, ...]:
    """The doublings above n up to `to`, and `to` itself."""
    return tuple(k for k in doublings(to) if k > n) if to > n else ()


def coverage(n: ArrayLike, c: ArrayLike, ks: Sequence[int], *, seed: int = 0) -> Coverage:
    """n, c [P]: samples with a verdict and how many are correct; ks beyond the largest n."""
    total, hits = np.broadcast_arrays(np.asarray(n, dtype=np.int64), np.asarray(c, dtype=np.int64))
    use = total > 0
    total, hits = total[use], hits[use]
    size = int(total.max(initial=0))
    if reason := _silent(total, hits):
        return Coverage(tuple(Point(k, None, None, None, reason) for k in ks), "none", {}, None, (0.0, 0.0, 1.0))
    both, plain, free = Likelihood.of(total, hits), Likelihood.of(total, hits, zero=False), Mixture.of(total, hits)
    errors, tried = _held_out(total, hits, seed)
    share = _shares(errors)
    form = max(share, key=lambda name: share[name])
    fitted = _forms(total, hits, [size, *ks])
    now, *later = (sum(share[name] * fitted[name][i] for name in FORMS) for i in range(len(ks) + 1))
    at = float(pass_curve(total, hits, [size])[0])
    points = []
    for k, then in zip(ks, later, strict=True):
        value = _anchored(at, now, then)
        (a, b), (c, d) = plain.coverage_interval(k), free.interval(k)
        points.append(_told(k, value, min(a, c, value), max(b, d, value), size))
    return Coverage(tuple(points), form, errors, tried, (both.best.zero, *both.interval(lambda a, b, z: z)))


def _shares(errors: dict[str, float]) -> dict[str, float]:
    """The weight of each form: the inverse of its squared held-out error; even without one."""
    inverse = {name: 1.0 / (errors.get(name, 0.0) ** 2 + SLACK**2) for name in FORMS}
    return {name: value / sum(inverse.values()) for name, value in inverse.items()}


def _forms(total: Ints, hits: Ints, ks: Sequence[int]) -> dict[str, list[float]]:
    """Coverage at ks as each form has it."""
    curve = _small(int(total.max()))
    exponential = fit_exponential(pass_curve(total, hits, curve), curve)
    free = Mixture.of(total, hits)
    return {
        "beta-binomial": Likelihood.of(total, hits, zero=False).best.coverage(ks).tolist(),
        "exponential": exponential.coverage(ks).tolist(),
        "mixture": [free.coverage(k) for k in ks],
    }


def selector(
    values: Floats, ks: Sequence[int], wanted: Sequence[int], ceiling: Sequence[Point], seed: int = 0
) -> tuple[Point, ...]:
    """A selector's curve beyond its exact one. values [P, K]: a problem's exact accuracy at ks = 1, 2, 4, …,
    n; ceiling: pass@k at the wanted k."""
    known = ~np.isnan(values).any(axis=1)
    y, size = values[known], ks[-1]
    if len(y) < FEW or len(ks) < 3:
        reason = f"{len(y)} problems with {size} samples each say too little; draw at least {FEW} with 4"
        return tuple(Point(k, None, None, None, reason) for k in wanted)
    random = np.random.default_rng(seed)
    weights = np.vstack([np.full(len(y), 1 / len(y)), random.dirichlet(np.ones(len(y)), REPLICATES)])
    curves, x = weights @ y, np.log(np.asarray(ks, dtype=np.float64))
    held = (
        {form: float(abs(_form(form, curves[:1, :-1], x[:-1], x[-1:])[0, 0] - curves[0, -1])) for form in SHAPES}
        if len(ks) > 3
        else {}
    )
    form = min(held, key=lambda name: held[name]) if held else "saturating"
    found = []
    for k, top in zip(wanted, ceiling, strict=True):
        at = np.log([float(k)])
        drawn = {name: _form(name, curves, x, at)[:, 0] for name in SHAPES}
        limits = [_percentiles(each[1:]) for each in drawn.values()]
        value = float(drawn[form][0])
        far = abs(np.log(k / size)) / (x[-1] - x[-2])
        extra = held.get(form, 0.0) * far
        low = min(value, *(lo for lo, _ in limits)) - extra
        high = max(value, *(hi for _, hi in limits)) + extra
        most = 1.0 if top.high is None else top.high
        value, low, high = (float(np.clip(v, 0.0, most)) for v in (value, low, high))
        found.append(_told(k, value, low, high, size))
    return tuple(found)


def _form(name: str, curves: Floats, x: Floats, at: Floats) -> Floats:
    """The last points of curves [B, K] over x = ln k, continued to `at`: [B, A].

    line: through the last two points. saturating: each further step of ln k adds a fixed fraction of what the one
    before added, the fraction being that of the last two steps (at most 1)."""
    step = x[-1] - x[-2]
    last = (curves[:, -1] - curves[:, -2]) / step
    far = (at[None, :] - x[-1]) / step
    if name == "line" or len(x) < 3:
        return np.asarray(curves[:, -1:] + last[:, None] * step * far)
    before = (curves[:, -2] - curves[:, -3]) / (x[-2] - x[-3])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(before * last > 0, last / before, 0.5)
    ratio = np.clip(ratio, 0.05, 0.999)[:, None]
    return np.asarray(curves[:, -1:] + (last * step)[:, None] * ratio * (1 - ratio**far) / (1 - ratio))


def _silent(total: Ints, hits: Ints) -> str:
    if len(total) < FEW:
        return f"{len(total)} problems say too little; give at least {FEW}"
    if int(total.max()) < 2:
        return "one sample a problem does not show how problems differ; draw at least 2"
    if not hits.any():
        return "no sample is correct: whether more would be cannot be told"
    return ""


def _told(k: int, value: float, low: float, high: float, n: int) -> Point:
    if k > FARTHEST * n:
        return Point(k, None, None, None, f"{k} is more than {FARTHEST} times the {n} samples drawn")
    if high - low > WIDE:
        return Point(k, None, None, None, f"anything from {low:.2f} to {high:.2f} fits these data")
    return Point(k, value, low, high)


def _held_out(total: Ints, hits: Ints, seed: int) -> tuple[dict[str, float], tuple[int, int] | None]:
    """(root mean square error of each form, (fitted, tested)) of pass@n from n/4 samples, 2 at least."""
    size = int(total.min())
    fitted = max(2, size // 4)
    if size < 4:
        return {}, None
    random = np.random.default_rng(seed)
    truth = float(pass_curve(total, hits, [size])[0])
    off: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(REPEATS):
        some = random.hypergeometric(hits, total - hits, fitted)
        if some.any():
            for form, (value,) in _forms(np.full(len(some), fitted), some, [size]).items():
                off[form].append(value - truth)
    if not off[FORMS[0]]:
        return {}, None
    return {form: float(np.sqrt(np.mean(np.square(each)))) for form, each in off.items()}, (fitted, size)


def _small(n: int) -> tuple[int, ...]:
    """Values of k for fitting a curve: all up to 32, else some evenly spaced in ln k."""
    return tuple(range(1, n + 1)) if n <= 32 else tuple(sorted({round(x) for x in np.geomspace(1, n, 32)}))


def _percentiles(values: Floats, level: float = 0.95) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _anchored(at: float, now: float, then: float) -> float:
    """What is missed at n, shrunk as the form says."""
    return 1 - (1 - at) * (1 - then) / (1 - now) if now < 1 else 1.0
