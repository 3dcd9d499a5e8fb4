"""The model's own confidence: exp(mean log-prob) of the tokens that it wrote, in [0, 1].

The mean, not the sum, so that a long chain is not punished for its length. A chain whose engine gave no log-probs,
or that has no tokens, cannot be scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ponder.scorers.base import PureScorer, Seen
from ponder.types import Chain, Rating


class ConfidenceScorer(PureScorer):
    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        return [Rating(confidence(chain)) for chain in chains]


def confidence(chain: Chain) -> float | None:
    logprobs = chain.logprobs
    if not logprobs:
        return None
    return min(1.0, math.exp(sum(logprobs) / len(logprobs)))


def build() -> ConfidenceScorer:
    return ConfidenceScorer("confidence", needs={"logprobs": "scorer 'confidence'"})
