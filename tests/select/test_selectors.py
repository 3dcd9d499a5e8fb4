"""Selectors are pure functions: which answer is given."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.select import SELECTORS, tie
from ponder.types import Chain, Choice, Rating

Sheet = list[tuple[str | None, float | None]]
SHEETS = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3", None]), st.one_of(st.none(), st.floats(0, 1, allow_subnormal=False))),
    min_size=1,
    max_size=10,
)


def choose(name: str, sheet: Sheet, seed: int = 0, problem: str = "p") -> Choice:
    chains = [Chain("p", f"e{i}", answer=answer, finish="stop") for i, (answer, _) in enumerate(sheet)]
    classes = [None if answer is None else int(answer) for answer, _ in sheet]
    ratings = [Rating(score) for _, score in sheet]
    return SELECTORS.build(name)(chains, ratings, classes, tie(seed, problem))  # type: ignore[no-any-return]


@given(SHEETS)
def test_vote_gives_a_most_frequent_answer_and_its_share(sheet: Sheet) -> None:
    counts = Counter(answer for answer, _ in sheet if answer)
    choice = choose("vote", sheet)
    if not counts:
        assert choice.answer is None and choice.chain is None
        return
    most = max(counts.values())
    assert counts[choice.answer or ""] == most and choice.confidence == pytest.approx(most / len(sheet))
    assert choice.tied == sum(count == most for count in counts.values())
    assert choice.chain is not None and choice.chain.answer == choice.answer


@given(SHEETS, st.randoms())
def test_no_selector_depends_on_the_order_of_the_chains(sheet: Sheet, shuffle) -> None:  # type: ignore[no-untyped-def]
    mixed = list(sheet)
    shuffle.shuffle(mixed)
    for name in ("vote", "weighted"):
        assert choose(name, sheet).answer == choose(name, mixed).answer
    if choose("best", sheet).tied <= 1:
        assert choose("best", sheet).answer == choose("best", mixed).answer


@given(SHEETS)
def test_equal_scores_make_the_weighted_vote_the_vote(sheet: Sheet) -> None:
    even: Sheet = [(answer, 0.5) for answer, _ in sheet]
    assert choose("weighted", even).answer == choose("vote", even).answer


@given(SHEETS)
def test_best_gives_the_highest_score_among_chains_that_answer(sheet: Sheet) -> None:
    able = [(-1.0 if score is None else score) for answer, score in sheet if answer]
    choice = choose("best", sheet)
    if not able:
        assert choice.chain is None
    else:
        assert choice.chain is not None
        score = sheet[int(choice.chain.key[1:])][1]
        assert (-1.0 if score is None else score) == max(able)


def test_weighted_sums_scores_and_ignores_the_unscorable() -> None:
    sheet: Sheet = [("1", 0.9), ("2", 0.5), ("2", 0.5), ("3", None), ("3", None)]
    assert choose("weighted", sheet).answer == "2"
    assert choose("weighted", [("1", None), ("1", None), ("2", None)]).answer == "1", "without weights the vote decides"


def test_ties_break_uniformly_over_problems_and_the_same_within_one() -> None:
    sheet: Sheet = [("1", 0.5), ("2", 0.5), ("3", 0.5)]
    for name in ("vote", "weighted", "best"):
        won = Counter(choose(name, sheet, problem=f"p{i}").answer for i in range(3000))
        assert all(abs(won[answer] - 1000) < 120 for answer in "123"), (name, won)  # 4.6 standard deviations
        assert len({choose(name, sheet, problem="p").answer for _ in range(5)}) == 1
