"""Independent chains from the root: best-of-N, self-consistency and o3's form all draw like this.

The stop rule says how many to draw next. Chains are interchangeable, so selectors, stop rules and curves are read
off the same draws.
"""

from __future__ import annotations

from ponder.ops import Drawn, Extend, Search, Searching, Stop
from ponder.types import Chain, Left, Problem

EXCHANGEABLE = True
NEEDS: dict[str, str] = {}


def build(stop: Stop) -> Search:
    def search(problem: Problem) -> Searching:
        return sample(problem, stop=stop)

    return search


def sample(problem: Problem, *, stop: Stop) -> Searching:
    chains: list[Chain] = []
    left = Left()
    while (more := stop(chains, None, left)) > 0:
        reply = yield Extend([problem.root], n=more)
        assert isinstance(reply, Drawn)
        chains += reply.chains
        left = reply.left
        if any(chain.finish == "refused" for chain in reply.chains):
            break  # the budget has ended: asking again would get nothing
    return chains
