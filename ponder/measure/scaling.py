"""Accuracy against tokens or training compute: the usual forms, chosen by the error at points held out.

log-linear: a + b ln x. saturating: top - (top - start) (x/x0)^-b. A run of reinforcement learning: ScaleRL's sigmoid,
R(C) = R0 + (A - R0)/(1 + (C_mid/C)^B) (Khatri et al. 2025, eq. 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import Floats


@dataclass(frozen=True, slots=True)
class Law:
    """parameters: of the form, in the order of its formula. held_out: the error at the last points, fitted without
    them; NaN if there were too few."""

    form: str
    parameters: tuple[float, ...]
    held_out: float

    def at(self, x: ArrayLike) -> Floats:
        return FORMS[self.form](np.asarray(x, dtype=np.float64), *self.parameters)


def _line(x: Floats, a: float, b: float) -> Floats:
    return np.asarray(a + b * np.log(x))


def _saturating(x: Floats, top: float, missing: float, b: float) -> Floats:
    return np.asarray(top - missing * x**-b)


def _sigmoid(x: Floats, start: float, end: float, middle: float, b: float) -> Floats:
    return np.asarray(start + (end - start) / (1 + (middle / x) ** b))


FORMS: dict[str, Callable[..., Floats]] = {
    "log-linear": _line,
    "saturating": _saturating,
    "sigmoid": _sigmoid,
}


def fit_tokens(x: ArrayLike, y: ArrayLike) -> Law:
    """The better of the log-linear and the saturating form at the last third of the points. Raises ValueError with
    fewer than 4 points."""
    tokens, accuracy = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(tokens) < 4:
        raise ValueError(f"{len(tokens)} points show no law; at least 4 are needed")
    known = max(3, len(tokens) - max(1, len(tokens) // 3))
    found = []
    for form in ("log-linear", "saturating"):
        part = _fit(form, tokens[:known], accuracy[:known])
        error = float(np.sqrt(np.mean((FORMS[form](tokens[known:], *part) - accuracy[known:]) ** 2)))
        found.append(Law(form, _fit(form, tokens, accuracy), error))
    return min(found, key=lambda law: law.held_out)


def fit_rl(compute: ArrayLike, reward: ArrayLike) -> Law:
    """ScaleRL's sigmoid by least squares. Raises ValueError with fewer than 5 points."""
    c, r = np.asarray(compute, dtype=np.float64), np.asarray(reward, dtype=np.float64)
    if len(c) < 5:
        raise ValueError(f"{len(c)} points show no sigmoid; at least 5 are needed")
    known = max(5, len(c) - max(1, len(c) // 4))
    error = float("nan")
    if known < len(c):
        part = _fit("sigmoid", c[:known], r[:known])
        error = float(np.sqrt(np.mean((_sigmoid(c[known:], *part) - r[known:]) ** 2)))
    return Law("sigmoid", _fit("sigmoid", c, r), error)


def _fit(form: str, x: Floats, y: Floats) -> tuple[float, ...]:
    """Least squares from several starts; x is scaled by its middle, so that one start serves all units."""
    from scipy.optimize import least_squares

    scale = float(np.exp(np.mean(np.log(x))))
    z = x / scale
    if form == "log-linear":
        b, a = np.polyfit(np.log(x), y, 1)
        return float(a), float(b)
    low, high = float(y.min()), float(y.max())
    law, best = FORMS[form], None

    def off(t: Floats) -> Floats:
        return np.asarray(law(z, *t) - y)

    least, most = ([-1.0, -2.0, 1e-3], [2.0, 2.0, 5.0]) if form == "saturating" else (
        [-1.0, -1.0, 1e-4, 0.05], [2.0, 2.0, 1e4, 8.0])  # fmt: skip
    for steep in (0.2, 0.6, 1.5):
        begin = [high, max(high - low, 1e-3) / 2, steep] if form == "saturating" else [low, high, 1.0, steep]
        start = np.clip(begin, np.array(least) + 1e-6, np.array(most) - 1e-6)
        found = least_squares(off, start, bounds=(least, most), xtol=1e-12, ftol=1e-12)
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    if form == "saturating":
        top, missing, b = best.x
        return float(top), float(missing * scale**b), float(b)
    start_, end, middle, b = best.x
    return float(start_), float(end), float(middle * scale), float(b)
