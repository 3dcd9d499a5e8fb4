"""Pruning by where a chain stands: the value of a state, read from the state's text alone, such as '6 : 3 7 24 ;'.

A copy of the policy's body with one linear output, read at the state's last token: σ of it is the chance that what is
sampled from the state ends well. Labels are c of n completions correct (Math-Shepherd, arXiv 2312.08935; from sampled
trees by ponder.train.labels), the loss is their binomial likelihood: cross-entropy with c/n, weight n, over Σn of the
batch. How a chain came to a state is not seen, so early steps, which differ by where they lead, can be told apart with
far less data than from the chains' text.

Training ends on AUROC (or Brier's score) over held-out problems. AUROC compares states of one problem at one depth.

    found = train(Config(), policy, data, held_out)
    save(FOLDER, Checkpoint(Sheet("value"), found.model, tokenizer))      # ponder.scorers.checkpoint
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan, log
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ponder.errors import UsageError
from ponder.train.batches import Example, Pool, chunks, pad, wide
from ponder.train.losses import outcome_loss
from ponder.train.parallel import ALONE, Processes
from ponder.train.prune import headed
from ponder.train.stopping import Best, Check, Trained, improve, sound, within
from ponder.train.trainer import Optimiser, Progress, Trainer


@dataclass(frozen=True, slots=True)
class Config:
    """At most `steps` optimiser steps of `batch` states; `tokens`: padded tokens of one micro-batch, which changes
    memory, not the result. Every `check` steps `stop` is taken over held-out problems; training ends when it has not
    become better for `patience` checks.

    `balanced`: half of each batch is states with c > 0, and the loss takes their odds in the data from the logits, so
    that the value remains a chance (exactly, for hard labels)."""

    steps: int = 1000
    batch: int = 256
    tokens: int = 65536
    stop: Literal["auroc", "brier"] = "auroc"
    balanced: bool = True
    check: int = 100
    patience: int = 5
    seed: int = 0
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(lr=2e-3, warmup=50, final=0.1))

    def __post_init__(self) -> None:
        if self.stop not in ("auroc", "brier"):
            raise UsageError(f"stop {self.stop!r}: 'auroc' or 'brier'")
        sound(self)


@dataclass(frozen=True, slots=True)
class State:
    """`correct` of `total` completions from it were correct. `depth`: steps before it. `ids`: of its text, as
    `ponder.scorers.trained.state_ids` gives them."""

    problem: str
    ids: tuple[int, ...]
    correct: int
    total: int
    depth: int = 0

    def __post_init__(self) -> None:
        if not self.ids or not 0 <= self.correct <= self.total or self.total < 1:
            raise ValueError(
                f"{self.correct} of {self.total} with {len(self.ids)} ids: need ids and 0 <= c <= n, n > 0"
            )


def train(
    config: Config,
    model: Any,
    data: Sequence[State],
    held_out: Sequence[State],
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains a copy of `model`'s body, which is left as it is. Goes on from `folder` if it holds a checkpoint. In the
    checks `by_step` is by depth. Several processes are given the same data. Raises ValueError if data or held-out
    problems lack good or bad states."""
    if isnan(_auroc(held_out, [0.0] * len(held_out))):
        raise ValueError(
            "no held-out problem has a good and a bad state at one depth: AUROC cannot be taken, give more"
        )
    good = [state for state in data if state.correct > 0]
    bad = [state for state in data if state.correct == 0]
    if not good or not (bad or any(state.correct < state.total for state in good)):
        raise ValueError("the data hold good or bad states only: a value is learned from both")
    parts = {"good": good, "bad": bad} if config.balanced and bad else {"states": list(data)}
    pools = [Pool(items, config.seed, name) for name, items in parts.items()]
    odds = log(len(good) / len(bad)) if len(parts) > 1 else 0.0
    judge = headed(model, odds)
    trainer = Trainer(judge, config.optimiser, config.steps, folder=folder, every=config.check)
    by = (lambda check: check.auroc) if config.stop == "auroc" else (lambda check: -(check.brier or 0.0))
    world = trainer.world
    best = Best(judge, config.patience, folder=folder, step=trainer.step, by=by, main=world.main)
    each = config.batch // len(pools)

    def losses(step: int) -> Iterator[Tensor]:
        chosen = [state for pool in pools for state in pool.take(step, each)]
        return _losses(trainer.model, config, chosen, odds, world)

    improve(trainer, best, losses, lambda step, loss: _checked(step, loss, judge, held_out, world), progress)
    return Trained(judge, best.best, tuple(best.history))


def _losses(
    judge: Any, config: Config, states: Sequence[State], odds: float, world: Processes = ALONE
) -> Iterator[Tensor]:
    """The loss of each micro-batch, divided by the completions that the whole batch stands for."""
    whole = sum(state.total for state in states)
    examples = [_example(state) for state in states]
    for part, real in world.parts(examples, config.tokens):
        outputs = _outputs(judge, [examples[i] for i in part])
        count = outputs.new_tensor([states[i].total for i in part])
        share = outputs.new_tensor([states[i].correct for i in part]) / count
        yield real * outcome_loss(outputs - odds, share, torch.ones_like(share, dtype=torch.bool), whole, count)


def _example(state: State) -> Example:
    return Example(state.ids, (False,) * len(state.ids))


def _outputs(judge: Any, examples: Sequence[Example]) -> Tensor:
    """[B]: the head's output at each last token."""
    batch = pad(examples, judge.device)
    last = torch.tensor([len(example.ids) - 1 for example in examples], device=judge.device)
    outputs = wide(judge(input_ids=batch.ids, use_cache=False).logits[..., 0])
    return outputs.gather(1, last[:, None])[:, 0]


@torch.no_grad()
def _checked(step: int, loss: float, judge: Any, held_out: Sequence[State], world: Processes = ALONE) -> Check:
    examples = [_example(state) for state in world.share(held_out)]
    own = [0.0] * len(examples)
    for part in chunks(examples, 8192):
        for i, value in zip(part, _outputs(judge, [examples[i] for i in part]).sigmoid().tolist(), strict=True):
            own[i] = value
    found = world.gather(own)
    weight = sum(state.total for state in held_out)
    brier = sum(s.total * (f - s.correct / s.total) ** 2 for s, f in zip(held_out, found, strict=True)) / weight
    depths = range(max(state.depth for state in held_out) + 1)
    chosen = [[i for i, state in enumerate(held_out) if state.depth == depth] for depth in depths]
    by_depth = tuple(_auroc([held_out[i] for i in own], [found[i] for i in own]) for own in chosen)
    return Check(step, loss, _auroc(held_out, found), by_depth, brier)


def _auroc(states: Sequence[State], found: Sequence[float]) -> float:
    """Of states with c > 0 against those with c = 0, within one problem and depth."""
    groups = [f"{state.depth} {state.problem}" for state in states]
    return within(groups, [state.correct > 0 for state in states], found)
