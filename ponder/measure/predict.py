"""Best-of-N at any N, predicted from chains of all problems taken together, and where it turns.

Chains are compared within problems, so each score is taken from its problem's offset (for graded truth each quality,
too). Then the pool of all problems stands for one problem with very many chains: N may exceed the samples of each, up
to where the pool's own tail ends. It assumes that errors have one distribution in all problems; beside it stands the
exact curve, as far as that goes.
Shapes: S pooled chains, P problems, G chances p, N numbers of guesses, B replicates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ponder.measure.data import UNSCORED, Draws, Floats, Ints
from ponder.measure.mixture import ATOMS, Mixture
from ponder.measure.scatter import Scatter
from ponder.measure.taste import Turn, _turn, weights

POOL, GRADED_POOL = 4000, 20_000  # chains at most; more are thinned
BEHIND = 20  # chains of the pool for each one that is compared: N is at most the pool over this
REPLICATES = 60
NOTHING = -40.0  # log of F^N below which it is left out
LIGHT = 1e-3  # atoms of less mass are left out


def binary(draws: Draws, found: Scatter, ns: Sequence[int]) -> Floats:
    """P(the best-scored of N is right), over the distribution of p: [B, N]; row 0 is the estimate."""
    use = np.flatnonzero(np.isfinite(found.centred) & (draws.correct >= 0))
    use = _thinned(use)
    score, right, problem = found.centred[use], draws.correct[use] == 1, draws.problem[use]
    order = np.lexsort((right, score))
    right, problem = right[order], problem[order]
    mixed = Mixture.of(draws.verified[draws.verified > 0], draws.successes[draws.verified > 0]).weights
    keep = mixed > LIGHT
    atoms, mass = ATOMS[keep], mixed[keep] / mixed[keep].sum()
    out = np.zeros((REPLICATES + 1, len(ns)))
    for b, w in enumerate(weights(draws.problems, REPLICATES)):
        chain = w[problem]
        good, bad = (np.cumsum(np.where(side, chain, 0.0)) for side in (right, ~right))
        if not (good[-1] and bad[-1]):
            continue
        f = atoms[:, None] * (good / good[-1]) + (1 - atoms)[:, None] * (bad / bad[-1])  # [G, S]
        log = np.log(np.maximum(f, 1e-300))
        highest = log.max(axis=0)
        for at, n in enumerate(ns):
            first = int(np.searchsorted(highest, NOTHING / n))
            steps = np.diff(np.exp(n * log[:, first:]), axis=1, prepend=0.0)
            # A step of F that is a right chain's is its share of the picks.
            out[b, at] = float(mass @ (steps @ right[first:]))
    return out


def graded(draws: Draws, quality: Floats, ns: Sequence[int]) -> Floats:
    """E[quality of the best-scored of N] less the mean of all: [B, N]; row 0 is the estimate."""
    assert draws.scores is not None
    use = _thinned(np.flatnonzero((draws.scores != UNSCORED) & np.isfinite(quality)), GRADED_POOL)
    problem = draws.problem[use]
    s, q = (_centred(x[use], problem, draws.problems) for x in (draws.scores, quality))
    order = np.lexsort((q, s))
    q, problem = q[order], problem[order]
    out = np.zeros((REPLICATES + 1, len(ns)))
    for b, w in enumerate(weights(draws.problems, REPLICATES)):
        f = np.cumsum(w[problem])
        log = np.log(np.maximum(f / f[-1], 1e-300))
        for at, n in enumerate(ns):
            out[b, at] = float(np.diff(np.exp(n * log), prepend=0.0) @ q)
    return out


def turn(curves: Floats, ns: Sequence[int]) -> Turn | None:
    """N* of a predicted curve [B, N]; None where it does not fall beyond noise."""
    return _turn(curves, ns, fitted=True)


def farthest(chains: int, *, graded: bool) -> int:
    """The largest N that a pool of so many chains carries."""
    return max(1, min(chains, GRADED_POOL if graded else POOL) // BEHIND)


def _thinned(use: Ints, most: int = POOL) -> Ints:
    if len(use) <= most:
        return use
    return np.sort(np.random.default_rng(0).choice(use, most, replace=False))


def _centred(x: Floats, problem: Ints, problems: int) -> Floats:
    """Less the problem's mean, enlarged by the freedom that costs."""
    n = np.bincount(problem, minlength=problems)
    mean = np.bincount(problem, weights=x, minlength=problems) / np.maximum(n, 1)
    return np.asarray((x - mean[problem]) * np.sqrt(n / np.maximum(n - 1, 1))[problem])
