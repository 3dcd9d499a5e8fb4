"""What a scorer is. It never sees the reference; its ratings lie in [0, 1], higher is better.

A scorer either rates at once (returns a list) or thinks (returns a generator of operations, which the driver runs
as a child of the Score that asked: its tokens are charged to `scorer`, its chains reach no selector and no row).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ponder.ops import Scoring
from ponder.types import Chain, Problem, Rating


@dataclass(frozen=True, slots=True)
class Seen:
    """What a scorer may look at beside the chain: the problem and the run's seed."""

    problem: Problem
    seed: int = 0


class Scorer(Protocol):
    """`pure`: the same chain always gets the same rating, so a replay may compute it again. `needs` maps each
    engine capability that it relies on to who needs it, for the check before the first request."""

    name: str
    pure: bool
    needs: Mapping[str, str]

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> Sequence[Rating] | Scoring:
        """One rating a chain, in order, or a generator that returns them."""
        ...


@dataclass(frozen=True, slots=True)
class PureScorer:
    """Base of scorers that are a function of one chain."""

    name: str
    pure: bool = True
    needs: Mapping[str, str] = field(default_factory=dict)
