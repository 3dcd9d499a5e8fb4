"""The guide of a search: how good a chain is by where it stands and, once it has ended, by how it got there.

Which step to take and which result to trust are two questions, and two models answer them. The value reads a state
alone, so it learns early steps from far less; the reward model reads the whole chain, so it finds where it lied. An
unfinished chain is rated by the value of its state, a finished one by the reward model times the value of the state
before its last step: both must think well of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ponder.scorers.base import Seen
from ponder.scorers.trained import ChainScorer, ValueScorer
from ponder.types import Chain, Rating


class Guide:
    name = "guide"
    pure = False
    mixes = True

    def __init__(self, value: ValueScorer, chain: ChainScorer) -> None:
        self._value, self._chain = value, chain

    @property
    def needs(self) -> Mapping[str, str]:
        """Opens both folders. Raises UsageError."""
        return {**self._value.needs, **self._chain.needs}

    @property
    def tokens(self) -> int:
        return self._value.tokens + self._chain.tokens

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        values = self._value.of([chain.state for chain in chains])
        places = [i for i, chain in enumerate(chains) if chain.ended]
        found = [Rating(rating.value, (), rating.tokens) for rating in values]
        for i, rating in zip(places, self._chain.rate(seen, [chains[i] for i in places]), strict=True):
            found[i] = _both(rating, values[i])
        return found


def _both(chain: Rating, value: Rating) -> Rating:
    """Of a finished chain. Where its state cannot be told the reward model speaks alone."""
    known = chain.value is not None and value.value is not None
    product = chain.value * value.value if known else chain.value  # type: ignore[operator]
    return Rating(product, chain.steps, chain.tokens + value.tokens)


def build(*, value: str = "", prm: str = "", device: str = "auto", ahead: int = 8192) -> Guide:
    """`value`, `prm`: the folders of a state value and of a reward model of chains (of any kind that scorer 'prm' or
    'orm' takes). `ahead`: padded tokens of one pass."""
    return Guide(
        ValueScorer("guide", ("value",), value, device, 0, ahead, "value"),
        ChainScorer("guide", ("implicit", "prm", "orm", "pairwise"), prm, device, 0, ahead, "prm"),
    )
