"""One chain, steered: at each step several next steps are written, the one that the scorer likes best is taken.

The public description of o1: no tree, it follows the best train of thought as its own heuristic judges, and gives the
same chain whenever it is asked again with the same seed. What was not taken is forgotten.
"""

from __future__ import annotations

from ponder.ops import Drawn, Extend, Rated, Score, Search, Searching, Stop, top
from ponder.types import Left, Problem

EXCHANGEABLE = False
SCORES = True
NEEDS = {"continues": "search 'steered'", "steps": "search 'steered'"}


def build(stop: Stop, *, width: int = 0, steps: int = 40, by: str = "") -> Search:
    """`width`: next steps written at each step, 0: --samples. After `steps` steps the chain is written to its end in
    one go. `by`: the scorer, else the run's. Raises ValueError."""
    if width < 0 or steps < 1:
        raise ValueError(f"steered: width={width} must be at least 0 and steps={steps} at least 1")
    width = width or stop([], None, Left())

    def search(problem: Problem) -> Searching:
        return steered(problem, width=width, steps=steps, by=by or None)

    return search


def steered(problem: Problem, *, width: int, steps: int, by: str | None = None) -> Searching:
    """Returns the chain that was followed to its end. Steps that were cut are taken only where no other was written;
    if none was written at all, the first refusal is what there is to return."""
    chain = problem.root
    for _ in range(steps):
        reply = yield Extend([chain], n=width, until="step")
        assert isinstance(reply, Drawn)
        drawn = [step for step in reply.chains if step.drawn]
        if not drawn:
            return reply.chains[:1]
        whole = [step for step in drawn if not step.truncated] or drawn
        ratings = yield Score(whole, by=by)
        assert isinstance(ratings, Rated)
        (chain,) = top(whole, ratings, 1)
        if chain.ended:
            return [chain]
    reply = yield Extend([chain])
    assert isinstance(reply, Drawn)
    return reply.chains
