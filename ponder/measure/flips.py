"""What a vote's change with the number of samples tells: the margin of each problem, and who loses by asking more.

A vote of N picks the right answer (chance p) against its strongest rival (chance q) once N is about
z² (p + q)/(p - q)²: a problem that flips from wrong at few samples to right at many has a small margin p - q; p itself
may be large, or small with many even rivals. Posteriors are Dirichlet with the class frequencies of the problem
(Jeffreys's 1/2 each).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ponder.measure.data import Draws, Floats
from ponder.measure.taste import common
from ponder.measure.votes import maj_at_k

SMALL = 0.25
"""A chance p below this is called small."""
SURE = 0.9
DRAWN = 2000
FEW = 6  # the few samples of the published runs


@dataclass(frozen=True, slots=True)
class Flip:
    """A problem's posterior. p, rival, margin: (mean, low, high). dispersion: 1 - sum of squared shares of the wrong
    answers (0: one rival takes all). samples: how many a vote needs for the margin, at 95 %. because: 'small margin at
    a large p', 'small p, dispersed rivals', or '' where the samples do not tell."""

    problem: str
    p: tuple[float, float, float]
    rival: tuple[float, float, float]
    margin: tuple[float, float, float]
    dispersion: float
    samples: float | None
    because: str

    def document(self) -> dict[str, Any]:
        spans = {
            name: dict(zip(("value", "low", "high"), span, strict=True))
            for name, span in (("p", self.p), ("rival", self.rival), ("margin", self.margin))
        }
        return {
            "problem": self.problem,
            **spans,
            "dispersion": self.dispersion,
            "samples_needed": self.samples,
            "because": self.because,
        }


def needed(p: float, q: float, z: float = 1.645) -> float:
    """N at which p beats q with the chance of z: z² (p + q)/(p - q)²."""
    return z * z * (p + q) / (p - q) ** 2 if p != q else float("inf")


def vote_accuracy(p: float, rivals: Floats | list[float], n: int, *, draws: int = 20_000, seed: int = 0) -> float:
    """P(a vote of n picks the right answer), simulated; what the chances lack of 1 falls on answers that are
    given once each. Ties break at random."""
    random = np.random.default_rng(seed)
    chances = np.array([p, *rivals, max(0.0, 1 - p - float(np.sum(rivals)))])
    drawn = random.multinomial(n, chances / chances.sum(), draws)
    count, once = drawn[:, :-1], drawn[:, -1]
    top = np.maximum(count.max(axis=1, keepdims=True), 1)
    ties = (count == top).sum(axis=1) + np.where(top[:, 0] == 1, once, 0)
    return float(np.mean(np.where(count[:, 0] == top[:, 0], 1 / np.maximum(ties, 1), 0.0)))


def posterior(draws: Draws, problem: int, seed: int = 0) -> Flip | None:
    """None for a problem without a right answer among its samples."""
    table = np.flatnonzero(draws.owner == problem)
    right = draws.verdict[table] == 1
    if not right.any() or not len(table):
        return None
    random = np.random.default_rng(seed)
    shares = random.dirichlet(draws.size[table] + 0.5, DRAWN) * (1 - draws.abstentions[problem] / draws.n[problem])
    p = shares[:, right].max(axis=1)
    wrong = shares[:, ~right]
    q = wrong.max(axis=1) if wrong.shape[1] else np.zeros(DRAWN)
    total = wrong.sum(axis=1, keepdims=True)
    dispersion = float(np.mean(1 - ((wrong / np.maximum(total, 1e-12)) ** 2).sum(axis=1))) if wrong.shape[1] else 0.0
    small = float(np.mean(p < SMALL))
    because = "small p, dispersed rivals" if small > SURE else "small margin at a large p" if small < 1 - SURE else ""
    margin = float((p - q).mean())
    samples = needed(float(p.mean()), float(q.mean())) if margin > 0 else None
    return Flip(draws.keys[problem], _span(p), _span(q), _span(p - q), dispersion, samples, because)


def flips(draws: Draws, few: int = FEW, many: int | None = None) -> dict[str, Any]:
    """The problems that a vote of `few` gets wrong and one of `many` (all samples that most problems have) gets right,
    more likely than not; those that it loses; and what a perfect chooser would add."""
    size = many or common(draws.n)
    few = min(few, max(1, size // 2))
    values = maj_at_k(draws, [few, size]).values
    won = np.flatnonzero((values[:, 0] < 0.5) & (values[:, 1] > 0.5))
    lost = np.flatnonzero((values[:, 0] > 0.5) & (values[:, 1] < 0.5))
    found = [flip for i in won.tolist() if (flip := posterior(draws, i)) is not None]
    reasons = [flip.because for flip in found]
    return {
        "few": few,
        "many": size,
        "won": [flip.document() for flip in found],
        "lost": [draws.keys[i] for i in lost.tolist()],
        "small_margin": reasons.count("small margin at a large p"),
        "small_p": reasons.count("small p, dispersed rivals"),
        "cannot_be_told": reasons.count(""),
        "hurt": hurt(draws),
    }


def hurt(draws: Draws) -> list[dict[str, Any]]:
    """Problems where a wrong answer is the mode with a posterior chance of at least 95 %: more votes lose them."""
    found = []
    for i in range(draws.problems):
        table = np.flatnonzero(draws.owner == i)
        right = draws.verdict[table] == 1
        if not right.any() or right.all():
            continue
        size = draws.size[table]
        if size[~right].max() <= size[right].max():
            continue
        shares = np.random.default_rng(i).dirichlet(size + 0.5, DRAWN)
        sure = float(np.mean(shares[:, ~right].max(axis=1) > shares[:, right].max(axis=1)))
        if sure >= 0.95:
            found.append({"problem": draws.keys[i], "p": float(size[right].sum() / draws.n[i]), "sure": sure})
    return found


def _span(values: Floats) -> tuple[float, float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)
