"""Reward models: logits and losses against loops, splits that change nothing, early stopping, resumption, learning."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

pytest.importorskip("torch", reason="needs ponder[local]")

import torch

from ponder.engines.hf.text import Texts
from ponder.errors import UsageError
from ponder.models.tiny import arithmetic_words, tiny_llama, word_tokenizer
from ponder.scorers.trained import Steps
from ponder.train import prune
from ponder.train.prune import Config, Judged, Kind, Row, train
from ponder.train.trainer import Optimiser
from ponder.types import Chain, Segment

torch.set_num_threads(1)
TOKENIZER = word_tokenizer(arithmetic_words(9))
END, SEMICOLON = 1, TOKENIZER.convert_tokens_to_ids(";")
KINDS: tuple[Kind, ...] = get_args(Kind)


def policy(seed: int = 0, double: bool = False) -> Any:
    model = tiny_llama(TOKENIZER, hidden=16, layers=1, heads=2, mlp=16, context=64, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # a fresh model's predictions hardly differ
    return model.double() if double else model


def judged(count: int, *, groups: int = 8, seed: int = 0) -> list[Judged]:
    """Chains of 1 to 3 steps of digits; one is correct if it has more of '7' than of '8'."""
    draw, found = random.Random(seed), []
    for number in range(count):
        problem = number // groups
        prompt = tuple(random.Random(problem).choices(range(2, 12), k=3))
        completion: list[int] = []
        ends = []
        for _ in range(draw.randint(1, 3)):
            completion += [*draw.choices((5, 9, 10), k=draw.randint(2, 4)), SEMICOLON]
            ends.append(3 + len(completion) - 1)
        labels = tuple(draw.choice((0.0, 1.0, 0.25, None)) for _ in ends[1:])
        outcome = float(completion.count(9) > completion.count(10))
        found.append(Judged(f"p{seed}.{problem}", prompt, tuple(completion), tuple(ends), outcome, (*labels, outcome)))
    return found


def units(config: Config, items: Sequence[Judged], reference: Any) -> list[prune.Unit]:
    rows = prune._rows(items, reference, 64)
    return list(prune._pairs(rows)) if config.kind == "pairwise" else [(row,) for row in rows]


def module(config: Config, base: Any) -> Any:
    judge = (
        prune._Implicit(base, config.beta) if config.kind == "implicit" else prune._Headed(base, config.kind != "prm")
    )
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    return judge.train()


def plain(model: Any, ids: Sequence[int]) -> Any:
    return model(input_ids=torch.tensor([list(ids)]), output_hidden_states=True)


@torch.no_grad()
def naive(config: Config, judge: Any, base: Any, items: Sequence[Judged]) -> float:
    """The loss of a batch by its definition, a token at a time."""

    def head(item: Judged, at: int) -> float:
        return float(plain(judge.model, (*item.prompt, *item.completion)).logits[0, at, 0])

    def cross(z: float, y: float) -> float:
        return -y * math.log(1 / (1 + math.exp(-z))) - (1 - y) * math.log(1 / (1 + math.exp(z)))

    losses: list[float] = []
    for item in items:
        ids = (*item.prompt, *item.completion)
        if config.kind == "implicit":
            ours, theirs = plain(judge.model, ids), plain(base, ids)
            bias = float(judge.problem(ours.hidden_states[-1][0, len(item.prompt) - 1]))
            ratio = 0.0
            for at in range(len(item.prompt), len(ids)):
                ratio += float(torch.log_softmax(ours.logits[0, at - 1], -1)[ids[at]])
                ratio -= float(torch.log_softmax(theirs.logits[0, at - 1], -1)[ids[at]])
                if at in (item.ends if config.ends == "all" else item.ends[-1:]):
                    losses.append(cross(config.beta * ratio + bias, item.outcome))
        elif config.kind == "orm":
            losses.append(cross(head(item, len(ids) - 1), item.outcome))
        elif config.kind == "prm":
            labels = zip(item.ends, item.labels or (), strict=True)
            losses += [cross(head(item, end), label) for end, label in labels if label is not None]
        else:
            worse = [w for w in items if w.problem == item.problem and w.outcome < item.outcome]
            losses += [cross(head(item, len(ids) - 1) - head(w, w.ends[-1]), 1.0) for w in worse]
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("kind", "ends"), [*((kind, "last") for kind in KINDS), ("implicit", "all")])
def test_losses_are_their_definitions_however_the_batch_is_split(kind: Kind, ends: Literal["last", "all"]) -> None:
    config = Config(kind=kind, beta=0.3, ends=ends)
    base, items = policy(double=True), judged(16)
    found = []
    for tokens in (1, 50, 100_000):
        judge = module(config, base)
        losses = list(prune._losses(judge, replace(config, tokens=tokens), units(config, items, base)))
        total = torch.stack(losses).sum()
        total.backward()
        gradient = torch.cat([torch.zeros(1) if p.grad is None else p.grad.flatten() for p in judge.parameters()])
        found.append((total.item(), gradient, len(losses)))
    assert found[0][2] > found[1][2] > found[2][2] == 1
    for value, gradient, _ in found:
        assert value == pytest.approx(naive(config, module(config, base), base, items), abs=1e-9)
        assert torch.allclose(gradient, found[0][1], atol=1e-10, rtol=0)
    assert float(found[0][1].abs().max()) > 1e-4


def test_training_starts_from_the_policy_and_leaves_it_as_it_was() -> None:
    base, items = policy(), judged(64)
    before = [p.clone() for p in base.parameters()]
    rows = prune._rows(items, base, 500)
    implicit = prune._Implicit(base, 1.0).eval()
    assert all(abs(z) < 1e-4 for own in prune.scores(implicit, rows, 500) for z in own)
    head = prune.headed(base)
    ids = torch.tensor([[2, 3, 4]])
    assert torch.equal(head.base_model(ids).last_hidden_state, base.model(ids).last_hidden_state)
    assert not head(ids).logits.any()
    state = torch.random.get_rng_state()
    train(Config(steps=2, batch=8, check=1), base, items, judged(32, seed=1))
    train(Config(kind="orm", steps=2, batch=8, check=1), base, items, judged(32, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(before, base.parameters(), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("kind", ["implicit", "pairwise"])
def test_what_is_learned_tells_good_chains_from_bad(kind: Kind) -> None:
    config = Config(kind=kind, steps=300, batch=32, check=50, target=0.95, optimiser=Optimiser(lr=1e-2, warmup=5))
    found = train(config, policy(), judged(800), judged(160, seed=1))
    assert found.best.auroc > 0.9, found.history
    assert found.best.by_step[0] < found.best.by_step[2]
    assert found.history[-1] is found.best and found.best.step < 300  # the target ends it


def test_the_best_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    told, weights = [0.6, 0.8, 0.7, 0.8, 0.75, 0.9], []

    def taste(items: Any, found: Any) -> tuple[float, tuple[float, ...]]:
        return (0.5 if not any(map(any, found)) else told[len(weights) - 1]), ()

    def scores(judge: Any, rows: Any, tokens: int) -> list[list[float]]:
        weights.append([p.detach().clone() for p in judge.model.parameters()])
        return [[1.0]]

    monkeypatch.setattr(prune, "taste", taste)
    monkeypatch.setattr(prune, "scores", scores)
    found = train(Config(steps=50, batch=4, check=2, patience=3), policy(), judged(64), judged(64, seed=1))
    assert [check.auroc for check in found.history] == told[:5]  # three in a row were no better than the second
    assert found.best.step == 4
    kept = list(found.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(weights[1], kept, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights[2], kept, strict=True))


def test_a_broken_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    config = Config(steps=8, batch=8, check=2)
    data, held = judged(64), judged(32, seed=1)
    whole = train(config, policy(), data, held, tmp_path / "whole")

    def stop(step: int, steps: int, figures: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, policy(), data, held, tmp_path / "broken", stop)
    again = train(config, policy(), data, held, tmp_path / "broken")
    assert again.history == whole.history
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert train(config, policy(), data, held, tmp_path / "broken").history == whole.history  # nothing is left to do


def test_a_reference_of_its_own() -> None:
    """The model may start from another policy than the one that it is compared with."""
    base, steered = policy(0), policy(1)
    (row,) = prune._rows(judged(1), base, 64)
    ids = torch.tensor([row.example.ids])
    ours, theirs = (torch.log_softmax(m(ids).logits[0, :-1], -1) for m in (steered, base))
    token = (ours - theirs).detach().gather(1, ids[0, 1:, None])[2:, 0]
    (found,) = prune.scores(prune._Implicit(steered, 0.5).eval(), [row], 64)
    expected = [0.5 * float(token[: end - 2].sum()) for end in row.item.ends]
    assert found == pytest.approx(expected, abs=1e-4)
    token = torch.log_softmax(base(ids).logits[0, :-1], -1).detach().gather(1, ids[0, 1:, None])[2:, 0]
    (given,) = prune._rows([replace(row.item, reference=tuple(token.tolist()))], base, 64)
    assert row.reference is not None and torch.allclose(given.reference, row.reference, atol=1e-6)
    trained = train(Config(steps=1, batch=2, check=1), steered, judged(32), judged(32, seed=1), reference=base)
    assert len(trained.history) == 1


def test_auroc_is_within_problems_and_by_step() -> None:
    good, bad = (Judged("a", (2,), (3, 4, 5), (1, 3), y) for y in (1.0, 0.0))
    other = Judged("b", (2,), (3, 4), (2,), 1.0)
    whole, by_step = prune.taste([good, bad, other], [[0.1, 0.9], [0.5, 0.2], [0.0]])
    assert (whole, by_step) == (1.0, (0.0, 1.0))  # 'b' has no pair, and its chain is easy, not better


def test_a_chain_becomes_an_item_by_its_own_ids() -> None:
    model = policy()
    steps = Steps(Texts.of(TOKENIZER, model), ";")
    ids = tuple(TOKENIZER("3 + 4 = 7 | 7 2 ; 7 + 2 = 9")["input_ids"])
    chain = Chain("p", "e0", segments=(Segment("…", ids=ids[:9]), Segment("…", ids=(*ids[9:], END))), finish="stop")
    item = Judged.of((4, 5), chain, steps, 1.0, [None, 0.5])
    assert item.ends == (2 + 8, 2 + 14) and item.prompt == (4, 5) and item.completion == (*ids, END)
    assert steps.ends((*ids[:9], END), 0) == (9,)  # the end alone is no step
    assert steps.ends((*ids[:9], SEMICOLON, 3), 0) == (8, 9, 10)
    assert steps.ends((), 0) == () and steps.ends((3, 3), 0) == (1,)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"labels": (1.0, None, 1.0)}, "3 labels for 2 steps"),
        ({"ends": (1, 2)}, "end at 3"),
        ({"ends": (0, 3)}, "after the prompt"),
        ({"ends": (3, 3)}, "ascend"),
        ({"outcome": 1.5}, "in \\[0, 1\\]"),
        ({"reference": (-1.0,)}, "1 log-probs for 3 tokens"),
        ({"labels": (2.0, None)}, "in \\[0, 1\\]"),
    ],
)
def test_items_that_are_not_sound_are_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(Judged("p", (2,), (3, 4, 5), (2, 3), 1.0), **change)


def test_data_without_what_is_needed_are_refused() -> None:
    items, held = judged(32), judged(32, seed=1)
    good = [item for item in items if item.outcome]
    config = Config(steps=1, batch=2)
    with pytest.raises(ValueError, match="no wrong"):
        train(config, policy(), good, held)
    with pytest.raises(ValueError, match="no pairs"):
        train(replace(config, kind="pairwise"), policy(), good, held)
    with pytest.raises(ValueError, match="held-out"):
        train(config, policy(), items, good)
    with pytest.raises(ValueError, match="labels of steps"):
        train(replace(config, kind="prm"), policy(), [replace(item, labels=None) for item in items], held)
    for bad in ({"kind": "best"}, {"batch": 3}, {"beta": 0.0}, {"check": 0}):
        with pytest.raises(UsageError):
            Config(**bad)


def test_a_pool_gives_every_item_once_a_pass_and_needs_no_memory() -> None:
    pool = prune.Pool(range(10), 0, "x")
    first = [pool.take(step, 4) for step in range(5)]
    assert sorted(item for part in first for item in part) == sorted([*range(10)] * 2)
    assert prune.Pool(range(10), 0, "x").take(3, 4) == first[3] and pool.take(0, 4) == first[0]
    assert Row(judged(1)[0], prune.Example((1, 2), (False, True))).reference is None
