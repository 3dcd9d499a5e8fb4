"""A simulated world's taste: the truth of the steps seen through noise of a known size.

Within a problem, scores of chains whose steps are all sound and of the others are Gaussian with means d' apart and
equal spread, mapped to [0, 1] by the normal distribution function. It reads the text of simulated chains only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

from ponder.draws import uniform
from ponder.scorers.base import Seen
from ponder.types import Chain, Rating
from ponder.worlds import soundness

_NORMAL = NormalDist()


class PlantedScorer:
    """`dprime`: how far apart sound and unsound chains are, in standard deviations of the noise."""

    name = "planted"
    pure = True
    needs: Mapping[str, str] = {}

    def __init__(self, dprime: float) -> None:
        self._dprime = dprime

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        return [self._rating(seen, chain) for chain in chains]

    def _rating(self, seen: Seen, chain: Chain) -> Rating:
        sound = soundness(chain.text)
        if not sound:
            return Rating(None)
        steps = [self._score(seen, chain, all(sound[:k]), k) for k in range(1, len(sound) + 1)]
        return Rating(steps[-1], tuple(steps))

    def _score(self, seen: Seen, chain: Chain, ok: bool, step: int) -> float:
        """The noise is the same for every chain that shares the step: it is named by the prefix that wrote it."""
        prefix = "/".join(chain.key.split("/")[:step])
        noise = _NORMAL.inv_cdf(
            min(1 - 1e-12, max(1e-12, uniform(seen.seed, seen.problem.id, prefix, step, "planted")))
        )
        return _NORMAL.cdf((0.5 if ok else -0.5) * self._dprime + noise)


def build(*, dprime: float = 1.5) -> PlantedScorer:
    if dprime < 0:
        raise ValueError(f"planted: dprime={dprime} must be at least 0")
    return PlantedScorer(dprime)
