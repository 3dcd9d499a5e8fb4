"""Selectors: which answer is given. One file each, one line here.

A selector is a pure function of chains, their ratings and their answers' classes. It only aggregates: if it needs
scores it says so, and a chain without an answer never wins anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ponder.draws import uniform
from ponder.registry import Entry, Registry
from ponder.types import Chain, Choice, Rating

SELECTORS = Registry(
    "selector",
    {
        "vote": Entry("ponder.select.vote:build", "the most frequent answer"),
        "best": Entry("ponder.select.best:build", "the answer of the chain with the highest score"),
        "weighted": Entry("ponder.select.weighted:build", "the answer with the largest sum of scores"),
    },
)

Select = Callable[[Sequence[Chain], Sequence[Rating] | None, Sequence["int | None"], "Tie"], Choice]
Tie = Callable[[Sequence[str]], int]
"""Breaks a tie between answers: an index, uniform, the same whatever order the chains came in."""


def tie(seed: int, problem: str) -> Tie:
    """The tie-break of a problem: answers are put in the order of their text, then one is drawn by counter."""

    def draw(answers: Sequence[str]) -> int:
        order = sorted(range(len(answers)), key=lambda i: answers[i])
        return order[int(uniform(seed, problem, "tie") * len(answers))]

    return draw


def heaviest(chains: Sequence[Chain], classes: Sequence[int | None], weights: Sequence[float], draw: Tie) -> Choice:
    """The class with the largest total weight; its first chain stands for it. `confidence` is its share of the
    weight of all chains, abstentions included."""
    totals: dict[int, float] = {}
    heads: dict[int, Chain] = {}
    for chain, group, weight in zip(chains, classes, weights, strict=True):
        if group is not None:
            totals[group] = totals.get(group, 0.0) + weight
            heads.setdefault(group, chain)
    if not totals:
        return Choice(None, None, None, 0)
    most = max(totals.values())
    leaders = [group for group, total in totals.items() if total >= most - 1e-12]
    spelled = [min(c.answer or "" for c, g in zip(chains, classes, strict=True) if g == group) for group in leaders]
    chosen = heads[leaders[draw(spelled) if len(leaders) > 1 else 0]]
    whole = sum(weights)
    return Choice(chosen.answer, chosen, most / whole if whole > 0 else 0.0, len(leaders))
