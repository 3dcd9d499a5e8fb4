"""What the counts say of coverage whatever the distribution of p: a mixture on a grid, free of any form.

Chances p lie on ATOMS points, 0 among them. The likelihood of a mixture is concave in its weights, so the most likely
one (Kiefer and Wolfowitz 1956) and the profile-likelihood interval of any linear function of the weights, such as
coverage at k, are found without local optima: maximise log-likelihood + t · coverage for many t at once, by the
multiplicative form of EM, and keep those t whose log-likelihood is within the cut.
Shapes: G atoms, U distinct (n, c), T tilts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ponder.measure.data import Floats

CUT = 1.9207
STEPS = 400
ATOMS = np.concatenate(([0.0], np.geomspace(3e-4, 0.3, 36), np.linspace(0.34, 0.98, 17), [0.995, 1.0]))
TILTS = np.geomspace(0.02, 3000.0, 26)


@dataclass(frozen=True)
class Mixture:
    """times [U] of patterns whose probability at each atom is chance [U, G]. Build it with `of`."""

    times: Floats
    chance: Floats

    @classmethod
    def of(cls, n: ArrayLike, c: ArrayLike) -> Mixture:
        from scipy.stats import binom

        pairs, times = np.unique(np.stack((np.asarray(n), np.asarray(c))), axis=1, return_counts=True)
        chance = binom.pmf(pairs[1][:, None], pairs[0][:, None], ATOMS)
        return cls(times.astype(np.float64), np.asarray(chance))

    @cached_property
    def weights(self) -> Floats:
        """The mixture that EM reaches from an even one: [G]. It stops early, which keeps it smooth."""
        return np.asarray(self._climb(np.zeros((1, len(ATOMS))))[0])

    def coverage(self, k: float) -> float:
        return float(self.weights @ covered(k))

    def interval(self, k: float) -> tuple[float, float]:
        """The profile-likelihood interval (95 %) of coverage at k."""
        gain = covered(k)
        tilts = np.concatenate((TILTS[:, None] * gain, TILTS[:, None] * (1 - gain), np.zeros((1, len(gain)))))
        found = self._climb(tilts)
        log = self.times @ np.log(np.maximum(self.chance @ found.T, 1e-300))
        values = found @ gain
        inside = values[log >= log.max() - CUT]
        return float(inside.min()), float(inside.max())

    def _climb(self, tilt: Floats) -> Floats:
        """[T, G] from tilt [T, G] >= 0."""
        w = np.full(tilt.shape, 1.0 / tilt.shape[1])
        total = self.times.sum()
        for _ in range(STEPS):
            ratio = self.times / np.maximum(w @ self.chance.T, 1e-300)  # [T, U]
            slope = (ratio @ self.chance + tilt) / total
            w = w * slope
            w /= w.sum(axis=1, keepdims=True)
        return np.asarray(w)


def covered(k: float) -> Floats:
    """1 - (1-p)^k at each atom: [G]."""
    return np.asarray(1.0 - (1.0 - ATOMS) ** k)
