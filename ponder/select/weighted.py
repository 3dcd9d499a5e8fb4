"""The vote in which a chain weighs its score. An unscorable chain has no weight.

If no chain with an answer has any weight there is nothing to weigh by, and the plain vote decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from ponder.select import Select, Tie, heaviest
from ponder.types import Chain, Choice, Rating

SCORES = True


def build() -> Select:
    def select(
        chains: Sequence[Chain], ratings: Sequence[Rating] | None, classes: Sequence[int | None], draw: Tie
    ) -> Choice:
        assert ratings is not None
        weights = [rating.value or 0.0 for rating in ratings]
        if not any(w for w, group in zip(weights, classes, strict=True) if group is not None):
            weights = [1.0] * len(chains)
        return heaviest(chains, classes, weights, draw)

    return select
