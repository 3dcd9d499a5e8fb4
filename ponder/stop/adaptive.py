"""Adaptive consistency: draw in waves, stop when the majority is clear or settled.

Clear: the posterior probability that the leader beats the runner-up is at least `tau`, under a uniform Beta prior
on the leader's share of their votes (Aggarwal et al. 2023, 'Let's Sample Step by Step', the Beta criterion).
Settled: the lead is larger than the number of samples that could still come, so the answer cannot change; this
part loses nothing. A posterior looked at after each wave carries no frequentist guarantee (see docs, 'Stopping').
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ponder.ops import Stop
from ponder.types import Chain, Classes, Left, Rating


def build(samples: int, classes: Classes, *, tau: float = 0.95, wave: int = 4, lossless: bool = False) -> Stop:
    """`wave`: chains a wave. `lossless`: stop only when the vote is settled. Raises ValueError."""
    if not 0.5 < tau <= 1 or wave < 1:
        raise ValueError(f"adaptive: tau={tau} must lie in (0.5, 1] and wave={wave} be at least 1")

    def stop(chains: Sequence[Chain], ratings: Sequence[Rating] | None, left: Left) -> int:
        remaining = max(0, samples - len(chains))
        votes = sorted(
            Counter(c for c in classes([chain.answer for chain in chains]) if c is not None).values(), reverse=True
        )
        first, second = [*votes, 0, 0][:2]
        settled = first - second > remaining  # strict: a tie could still be drawn
        if settled or (not lossless and first and beta_lead(first, second) >= tau):
            return 0
        return min(wave, remaining)

    return stop


def beta_lead(first: int, second: int) -> float:
    """P(share of the leader > ½) after `first` against `second` votes: 1 − I_½(first+1, second+1), in closed form
    1 − Σ_{j ≤ second} C(first+second+1, j) / 2^(first+second+1)."""
    total = first + second + 1
    return 1 - sum(math.comb(total, j) for j in range(second + 1)) / float(2**total)
