"""What a scorer is. It never sees the reference; its ratings lie in [0, 1], higher is better.

A scorer either rates at once (returns a list) or thinks (returns a generator of operations, which the driver runs
as a child of the Score that asked: its tokens are charged to `scorer`, its chains reach no selector and no row).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ponder.errors import SearchError
from ponder.ops import Scoring
from ponder.types import Chain, Problem, Rating


@dataclass(frozen=True, slots=True)
class Seen:
    """What a scorer may look at beside the chain: the problem and the run's seed."""

    problem: Problem
    seed: int = 0


class Scorer(Protocol):
    """`pure`: the same chain always gets the same rating, so a replay may compute it again. `needs` maps each
    engine capability that it relies on to who needs it, for the check before the first request. A scorer with `mixes`
    = True looks at the problem only through the chain: chains of several problems may be rated in one call."""

    name: str
    pure: bool
    needs: Mapping[str, str]

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> Sequence[Rating] | Scoring:
        """One rating a chain, in order, or a generator that returns them."""
        ...


@dataclass(frozen=True, slots=True)
class Rate:
    """Chains of one problem that wait for a scorer which `mixes`."""

    scorer: Scorer
    seen: Seen
    chains: Sequence[Chain]


def rate_together(waiting: Sequence[Rate]) -> list[Sequence[Rating] | Exception]:
    """Ratings for each, in one call of each scorer. If that fails, each is rated alone, so that one problem's fault is
    its own: then it stands there instead of ratings."""
    found: list[Sequence[Rating] | Exception] = [()] * len(waiting)
    for scorer in {id(rate.scorer): rate.scorer for rate in waiting}.values():
        own = [i for i, rate in enumerate(waiting) if rate.scorer is scorer]
        try:
            whole = _rated(scorer, waiting[own[0]].seen, [chain for i in own for chain in waiting[i].chains])
        except Exception:
            for i in own:
                try:
                    found[i] = _rated(scorer, waiting[i].seen, waiting[i].chains)
                except Exception as error:
                    found[i] = error
            continue
        for i in own:
            found[i], whole = whole[: len(waiting[i].chains)], whole[len(waiting[i].chains) :]
    return found


def _rated(scorer: Scorer, seen: Seen, chains: Sequence[Chain]) -> Sequence[Rating]:
    ratings = scorer.rate(seen, chains)
    assert isinstance(ratings, Sequence), f"scorer {scorer.name!r} mixes and thinks; it can do one of the two"
    if len(ratings) != len(chains):
        raise SearchError(
            f"scorer {scorer.name!r} gave {len(ratings)} ratings for {len(chains)} chains; it must give one each"
        )
    return ratings


@dataclass(frozen=True, slots=True)
class PureScorer:
    """Base of scorers that are a function of one chain."""

    name: str
    pure: bool = True
    needs: Mapping[str, str] = field(default_factory=dict)
