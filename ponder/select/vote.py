"""Plurality over answer classes (self-consistency). Ties break uniformly; abstentions never win."""

from __future__ import annotations

from collections.abc import Sequence

from ponder.select import Select, Tie, heaviest
from ponder.types import Chain, Choice, Rating

SCORES = False


def build() -> Select:
    def select(
        chains: Sequence[Chain], ratings: Sequence[Rating] | None, classes: Sequence[int | None], draw: Tie
    ) -> Choice:
        return heaviest(chains, classes, [1.0] * len(chains), draw)

    return select
