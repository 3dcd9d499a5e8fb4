"""Distillation: what is chosen, whatever the order of the rows, and what is learned from it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs ponder[local]")

import torch

from ponder.errors import UsageError
from ponder.models.tiny import arithmetic_words, tiny_llama, word_tokenizer
from ponder.train import distill, sft
from ponder.train.batches import Example
from ponder.train.distill import Config, Found, choose

chains = st.builds(
    lambda p, ids, correct, score: Found(f"p{p}", (2, p + 3), tuple(ids), correct, score),
    st.integers(0, 4),
    st.lists(st.integers(2, 4), max_size=3),
    st.sampled_from([True, False, None]),
    st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0])),
)
by = st.sampled_from(["verdict", "score", "random"])


@settings(deadline=None)
@given(st.lists(chains, max_size=30), by, st.integers(1, 3), st.sampled_from([0.3, 1.0]), st.integers(0, 6))
def test_limits_hold_and_nothing_is_twice(
    rows: list[Found], how: distill.By, each: int, share: float, most: int
) -> None:
    found = choose(rows, how, each=each, share=share, most=most)
    assert all(row in rows for row in found)
    assert len({(row.problem, row.ids) for row in found}) == len(found)
    assert max(Counter(row.problem for row in found).values(), default=0) <= each
    assert not most or len(found) <= most
    assert all(row.ids for row in found)
    if how == "verdict":
        assert all(row.correct is True for row in found)
    if how == "score":
        assert all(row.score is not None for row in found)


@settings(deadline=None)
@given(st.lists(chains, max_size=30, unique_by=lambda row: (row.problem, row.ids)), by, st.randoms())
def test_the_order_of_rows_has_no_say(rows: list[Found], how: distill.By, draw: random.Random) -> None:
    other = list(rows)
    draw.shuffle(other)
    assert choose(rows, how, each=2, most=5) == choose(other, how, each=2, most=5)


@settings(deadline=None)
@given(st.lists(chains, max_size=30))
def test_the_best_scores_are_taken(rows: list[Found]) -> None:
    found = choose(rows, "score", each=1)
    best: dict[str, float] = {}
    for row in rows:
        if row.ids and row.score is not None:
            best[row.problem] = max(best.get(row.problem, 0.0), row.score)
    assert {row.problem: row.score for row in found} == best
    for most in (1, 2):
        kept = choose(rows, "score", each=1, most=most)
        assert sorted((row.score or 0.0) for row in kept) == sorted(best.values())[max(0, len(best) - most) :]


def test_chance_is_the_seeds() -> None:
    rows = [Found("p", (2,), (i, 3), i % 2 == 0) for i in range(4, 40)]
    one, again, other = (choose(rows, "random", each=6, seed=seed) for seed in (0, 0, 1))
    assert one == again != other
    # What is chosen at random has the share of correct chains that there is.
    right = [row.correct for seed in range(200) for row in choose(rows, "random", each=6, seed=seed)]
    assert abs(sum(map(bool, right)) / len(right) - 0.5) < 0.05


def test_a_share_of_the_most_certain_problems() -> None:
    rows = [Found(f"p{i}", (2,), (3,), None, i / 10) for i in range(10)]
    assert [row.problem for row in choose(rows, "score", each=1, share=0.25)] == ["p7", "p8", "p9"]


def test_bad_configurations_are_refused() -> None:
    for field, value in (("share", 0.0), ("share", 1.5), ("each", 0), ("most", -1), ("by", "verdct"), ("steps", 0)):
        with pytest.raises(UsageError, match=f"distill: .*{field}|unknown {field}"):
            replace(Config(), **{field: value}).check()


def test_it_is_sft_on_what_was_chosen() -> None:
    tokenizer = word_tokenizer(arithmetic_words(9))
    rows = [Found("p", (2, 3), (4, 1), True), Found("p", (2, 3), (5, 1), False), Found("q", (2, 4), (6, 7, 1), True)]
    config = Config(steps=3, batch=2, every=3)
    one, other = (tiny_llama(tokenizer, hidden=16, layers=1, heads=2, mlp=16, context=16) for _ in range(2))
    chosen = distill.train(config, one, rows)
    assert chosen == [rows[0], rows[2]]
    sft.train(config.sft, other, [Example.after(row.prompt_ids, row.ids) for row in chosen])
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(ValueError, match="no chain to learn from"):
        distill.train(config, one, [rows[1]])
