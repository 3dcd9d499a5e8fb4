"""The value of a state: labels from trees, the binomial likelihood, and that it is learned."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs ponder[local]")

import torch

from ponder.errors import UsageError
from ponder.models.tiny import arithmetic_words, tiny_llama, word_tokenizer
from ponder.train import value
from ponder.train.labels import tree_labels
from ponder.train.prune import headed
from ponder.train.trainer import Optimiser
from ponder.train.value import Config, State, train
from ponder.types import lineage

torch.set_num_threads(1)
TOKENIZER = word_tokenizer(arithmetic_words(9))


def policy() -> Any:
    return tiny_llama(TOKENIZER, hidden=16, layers=1, heads=2, mlp=16, context=64)


def states(count: int, seed: int = 0) -> list[State]:
    """Good states hold more of '7' (id 9) than of '8' (id 10); c of n is drawn accordingly."""
    draw, found = random.Random(seed), []
    for number in range(count):
        ids = tuple(draw.choices((5, 9, 10), k=draw.randint(3, 6)))
        total = draw.randint(1, 4)
        chance = 0.95 if ids.count(9) > ids.count(10) else 0.02
        hits = sum(draw.random() < chance for _ in range(total))
        found.append(State(f"p{number // 8}", ids, hits, total, number % 2))
    return found


def test_labels_of_a_tree() -> None:
    leaves = [("s0/s0/e0", True), ("s0/s0/e1", False), ("s0/s1", False), ("s1/e0", False), ("e0", True)]
    shares = {"": (2, 5), "s0": (1, 3), "s0/s0": (1, 2), "s1": (0, 1)}
    assert tree_labels(leaves, "share") == shares == tree_labels([*leaves, leaves[0]], "share")
    assert tree_labels(leaves) == {"": (1, 1), "s0": (1, 1), "s0/s0": (1, 1), "s1": (0, 1)}
    named = {"s0": "x", "s0/s0": "y", "s1": "x"}
    assert tree_labels(leaves, "share", named.get) == {"x": (1, 4), "y": (1, 2)}
    assert tree_labels([("s0/s0/e0", True)], "share", lambda key: "one") == {"one": (1, 1)}
    assert lineage("s0/s2/e1")[:-1] == ["", "s0", "s0/s2"] and lineage("")[:-1] == []


@pytest.mark.parametrize(
    ("leaves", "why"),
    [([("e0", True), ("e0", False)], "as correct and as wrong"), ([("s0", True), ("s0/e0", True)], "above")],
)
def test_leaves_that_contradict_each_other(leaves: list[tuple[str, bool]], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        tree_labels(leaves)
    with pytest.raises(UsageError, match="'any' or 'share'"):
        tree_labels([], "some")  # type: ignore[arg-type]


def test_the_loss_is_the_binomial_likelihood_however_it_is_split() -> None:
    judge = headed(policy().double())
    with torch.no_grad():
        judge.score.weight.normal_(generator=torch.Generator().manual_seed(0))
    items = states(20)
    expected = 0.0
    for state in items:
        p = judge(input_ids=torch.tensor([state.ids])).logits[0, -1, 0].add(0.5).sigmoid().item()
        expected -= state.correct * math.log(p) + (state.total - state.correct) * math.log(1 - p)
    expected /= sum(state.total for state in items)
    gradients = []
    for tokens in (1, 20, 1000):
        judge.zero_grad()
        losses = list(value._losses(judge, Config(tokens=tokens), items, -0.5))
        total = torch.stack(losses).sum()
        total.backward()
        assert total.item() == pytest.approx(expected, abs=1e-10)
        gradients.append(torch.cat([p.grad.flatten() for p in judge.parameters()]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-10) and torch.allclose(
        gradients[0], gradients[2], atol=1e-10
    )


@pytest.mark.parametrize("stop", ["auroc", "brier"])
def test_it_learns_and_keeps_its_best(stop: Any, tmp_path: Path) -> None:
    config = Config(steps=300, batch=32, check=50, patience=2, stop=stop, optimiser=Optimiser(lr=1e-2, warmup=5))
    held = states(300, seed=1)
    found = train(config, policy(), states(1000), held, tmp_path)
    assert found.best.auroc > 0.9 and len(found.best.by_step) == 2 and min(found.best.by_step) > 0.85
    assert found.best.brier is not None and found.best.brier < 0.08
    better = [c.auroc if stop == "auroc" else -(c.brier or 0) for c in found.history]
    assert found.history[better.index(max(better))] == found.best
    assert value._checked(0, 0.0, found.model, held).brier == pytest.approx(found.best.brier, abs=1e-6)
    assert train(config, policy(), states(1000), held, tmp_path).history == found.history


def test_what_cannot_be_learned_from_is_refused() -> None:
    good = [State("p", (2,), 1, 1)] * 4
    with pytest.raises(ValueError, match="held-out"):
        train(Config(), policy(), states(20), good)
    with pytest.raises(ValueError, match="learned from both"):
        train(Config(), policy(), good, states(50))
    with pytest.raises(ValueError, match="2 of 1"):
        State("p", (2,), 2, 1)
    with pytest.raises(UsageError, match="brier"):
        Config(stop="loss")  # type: ignore[arg-type]
