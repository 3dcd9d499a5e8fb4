"""Steered: one chain, the scorer's choice at each step; fed with lists, and over the real spine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest
from harness import converse, problem, shape
from hypothesis import given
from hypothesis import strategies as st

from ponder.ops import Ask, Drawn, Extend, Rated, Score, Scoring, Searching
from ponder.scorers.base import Seen
from ponder.search.steered import build, steered
from ponder.types import Budget, Chain, Finish, Left, Message, Rating

PROBLEM = problem()
Step = tuple[Finish, float | None]
"""How a proposed step ends and what it is rated."""


def follow(search: Searching, waves: Sequence[Sequence[Step]]) -> tuple[list[Extend], list[list[str]], Sequence[Chain]]:
    """Feeds one list of steps a wave; the asked waves, the keys that were scored, the chains returned."""
    asked: list[Extend] = []
    scored: list[list[str]] = []
    reply: Any = None
    rated: dict[str, float | None] = {}
    while True:
        try:
            operation = search.send(reply)
        except StopIteration as end:
            return asked, scored, end.value
        if isinstance(operation, Extend):
            (parent,) = operation.chains
            wave = waves[len(asked)]
            asked.append(operation)
            chains = [Chain("p", f"{parent.key}/{i}".lstrip("/"), finish=finish) for i, (finish, _) in enumerate(wave)]
            rated |= {chain.key: score for chain, (_, score) in zip(chains, wave, strict=True)}
            reply = Drawn(tuple(chains), Left())
        else:
            assert isinstance(operation, Score)
            scored.append([chain.key for chain in operation.chains])
            reply = Rated(tuple(Rating(rated[chain.key]) for chain in operation.chains), Left())


def test_it_takes_the_best_step_each_time_and_keeps_no_tree() -> None:
    waves: list[list[Step]] = [
        [("step", 0.2), ("step", 0.8), ("step", 0.8)],
        [("step", None), ("stop", 0.3), ("step", 0.5)],
        [("step", 0.1), ("step", None), ("stop", 0.1 + 0.1)],
    ]
    asked, scored, chains = follow(steered(PROBLEM, width=3, steps=9), waves)
    assert [(e.chains[0].key, e.n, e.until) for e in asked] == [("", 3, "step"), ("1", 3, "step"), ("1/2", 3, "step")]
    assert scored == [["0", "1", "2"], ["1/0", "1/1", "1/2"], ["1/2/0", "1/2/1", "1/2/2"]]
    assert [c.key for c in chains] == ["1/2/2"], "a tie goes to the first; an ended chain is a step as any"


def test_after_its_steps_it_writes_to_the_end() -> None:
    waves: list[list[Step]] = [[("step", 0.5)], [("step", 0.5)], [("stop", None)]]
    asked, _, chains = follow(steered(PROBLEM, width=1, steps=2), waves)
    assert [e.until for e in asked] == ["step", "step", "end"] and [c.key for c in chains] == ["0/0/0"]


@pytest.mark.parametrize(
    ("wave", "scored", "found"),
    [
        ([("refused", None), ("refused", None)], [], "0"),
        ([("error", None), ("stop", None)], [["1"]], "1"),
        ([("budget", 0.9), ("stop", 0.1), ("length", 0.8)], [["1"]], "1"),
        ([("refused", None), ("length", 0.2), ("budget", 0.3)], [["1", "2"]], "2"),
    ],
)
def test_what_was_cut_or_not_drawn_is_taken_last(wave: list[Step], scored: list[list[str]], found: str) -> None:
    asked, seen, chains = follow(steered(PROBLEM, width=2, steps=9), [wave])
    assert len(asked) == 1 and seen == scored and [c.key for c in chains] == [found]


def test_its_width_is_the_number_of_samples_unless_it_has_one() -> None:
    for settings, width in (({}, 6), ({"width": 2}, 2)):
        operation = next(build(lambda chains, ratings, left: 6, **settings)(PROBLEM))
        assert isinstance(operation, Extend) and operation.n == width
    for settings in ({"width": -1}, {"steps": 0}):
        with pytest.raises(ValueError, match=r"^steered: "):
            build(lambda chains, ratings, left: 6, **settings)


class Critic:
    """Thinks about every chain: its tokens are the scorer's."""

    name, pure = "critic", False
    needs: Mapping[str, str] = MappingProxyType({})

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> Scoring:
        for chain in chains:
            yield Ask([Message("user", f"judge {chain.text}")])
        return [Rating((len(chain.text) % 11) / 11) for chain in chains]


@given(st.one_of(st.none(), st.integers(1, 120)), st.integers(1, 6), st.integers(1, 20))
def test_it_is_the_same_on_repeat_within_any_budget(tokens: int | None, width: int, cap: int) -> None:
    def run() -> Any:
        (one,) = converse(
            lambda p: steered(p, width=width, steps=9), scorers=[Critic()], budget=Budget(generated=tokens), cap=cap
        )
        return one

    one, again = run(), run()
    assert one.failure is None and shape(one.chains) == shape(again.chains) and len(one.chains) == 1
    assert one.account.spent.generated <= (tokens or one.account.spent.generated)
    if tokens is None:
        assert one.account.spent.scorer > 0, "what the scorer reads and writes is charged to it"
        assert one.chains[0].finish in ("stop", "length")
