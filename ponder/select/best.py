"""Best-of-N: the answer of the chain with the highest score. Unscorable chains come last; chains without an answer
are not chosen. Chains tied at the top are drawn from uniformly; `confidence` is the score."""

from __future__ import annotations

from collections.abc import Sequence

from ponder.select import Select, Tie
from ponder.types import NOTHING, Chain, Choice, Rating

SCORES = True


def build() -> Select:
    def select(
        chains: Sequence[Chain], ratings: Sequence[Rating] | None, classes: Sequence[int | None], draw: Tie
    ) -> Choice:
        assert ratings is not None
        able = [
            (-1.0 if r.value is None else r.value, c)
            for c, r, g in zip(chains, ratings, classes, strict=True)
            if g is not None
        ]
        if not able:
            return NOTHING
        most = max(score for score, _ in able)
        leaders = [chain for score, chain in able if score == most]
        chosen = leaders[draw([f"{chain.answer}\x1f{chain.key}" for chain in leaders]) if len(leaders) > 1 else 0]
        return Choice(chosen.answer, chosen, None if most < 0 else most, len(leaders))

    return select
