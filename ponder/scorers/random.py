"""A number from nothing: what any scorer must beat. The same chain gets the same number in every arm and run."""

from __future__ import annotations

from collections.abc import Sequence

from ponder.draws import uniform
from ponder.scorers.base import PureScorer, Seen
from ponder.types import Chain, Rating


class RandomScorer(PureScorer):
    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        return [Rating(uniform(seen.seed, seen.problem.id, chain.key, "random scorer")) for chain in chains]


def build() -> RandomScorer:
    return RandomScorer("random")
