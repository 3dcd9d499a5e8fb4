"""Beam search with pruning: many next steps are written, a scorer keeps the best few, and only those go on.

As in Snell et al. 2024 (arXiv 2408.03314, §5.2), with three differences: equal states are merged, so that the kept
chains stand in different places; a chain that ends keeps its place in the pool of results, not in the beam; and the
size of every wave may be set. Scoring is charged as any scoring is. It has no stop rule: it ends by its own steps.

`shape="8/3,12/4,5"` is three waves: write 8 steps and keep 3, write 12 below those and keep 4, write 5 chains from
there to their ends. Counts that do not divide go to the better-scored chains first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ponder.ops import Drawn, Extend, Rated, Score, Search, Searching, Stop, top
from ponder.types import Chain, Left, Problem

EXCHANGEABLE = False
SCORES = True
NEEDS = {"continues": "search 'beam'", "steps": "search 'beam'"}

_LEVEL = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")
_LAST = re.compile(r"[1-9][0-9]{0,5}")


def build(
    stop: Stop,
    *,
    live: int = 0,
    width: int = 4,
    steps: int = 40,
    by: str = "",
    final: int = 0,
    merge: bool = True,
    shape: str = "",
) -> Search:
    """Without a `shape`, each of at most `steps` levels writes N = --samples next steps, in all, and keeps `live` of
    them, or N // width (at least one) if that is 0; what has not ended then is written to its end, `final` chains in
    all, 0: one for each kept. With a `shape`, N, live, width and steps have no say. `by`: the scorer, else the run's.
    Raises ValueError."""
    if min(live, final) < 0 or min(width, steps) < 1:
        raise ValueError(
            f"beam: live={live}, final={final} must be at least 0, width={width}, steps={steps} at least 1"
        )
    leaves = stop([], None, Left())
    levels = [(leaves, live or max(1, leaves // width))] * steps
    if shape:
        levels, last = read(shape)
        if last and final:
            raise ValueError(f"beam: shape={shape!r} ends in {last} chains, so leave final={final} out")
        final = last or final

    def search(problem: Problem) -> Searching:
        return beam(problem, levels=levels, final=final, by=by or None, merge=merge)

    return search


def beam(
    problem: Problem, *, levels: Iterable[tuple[int, int]], final: int = 0, by: str | None = None, merge: bool = True
) -> Searching:
    """`levels`: how many steps to write and how many of them to keep, level by level; then `final` chains are written
    to their ends, 0: one for each kept. Returns the ended chains in the order in which they ended, with those that
    were refused."""
    kept: Sequence[Chain] = [problem.root]
    ended: list[Chain] = []
    for draw, keep in levels:
        reply = yield Extend(kept, n=spread(draw, len(kept)), until="step")
        assert isinstance(reply, Drawn)
        ended += [chain for chain in reply.chains if chain.ended]
        fresh = [chain for chain in reply.chains if not chain.ended]
        if not fresh:
            return ended
        ratings = yield Score(fresh, by=by)
        assert isinstance(ratings, Rated)
        best = top(fresh, ratings, len(fresh))
        kept = (distinct(best) if merge else best)[:keep]
    reply = yield Extend(kept, n=spread(final or len(kept), len(kept)))
    assert isinstance(reply, Drawn)
    return [*ended, *reply.chains]


def spread(total: int, places: int) -> list[int]:
    """`total` over `places` as evenly as whole numbers allow, the larger shares first: 12 over 5 is 3 3 2 2 2."""
    share, rest = divmod(total, places)
    return [share + (place < rest) for place in range(places)]


def distinct(chains: Iterable[Chain]) -> list[Chain]:
    """The first chain of each state; a chain without a state is like no other."""
    found: dict[str, Chain] = {}
    for chain in chains:
        found.setdefault(f"state {chain.state}" if chain.state is not None else f"key {chain.key}", chain)
    return list(found.values())


def read(shape: str) -> tuple[list[tuple[int, int]], int]:
    """The levels of a shape, and the chains of its last wave (0: it names none). Raises ValueError."""
    *parts, last = (part.strip() for part in shape.split(","))
    final = int(last) if _LAST.fullmatch(last) else 0
    matches = [_LEVEL.fullmatch(part) for part in (parts if final else [*parts, last])]
    levels = [(int(match[1]), int(match[2])) for match in matches if match]
    if len(levels) < len(matches) or any(keep > draw for draw, keep in levels):
        raise ValueError(
            f"beam: shape={shape!r}: give DRAW/KEEP for each level, KEEP at most DRAW, and how many chains to end "
            "with, for example 8/3,12/4,5"
        )
    return levels, final
