"""Supervised fine-tuning: the model learns to write given completions.

The loss is the mean over the trained tokens of the whole batch, however it is split, among processes too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.train.batches import Example, Pool, logprobs, pad
from ponder.train.trainer import Optimiser, Progress, Trainer


@dataclass(frozen=True, slots=True)
class Config:
    """`steps` optimiser steps of `batch` examples; `tokens`: padded tokens of one micro-batch, which changes memory,
    not the result. `every`: steps between checkpoints."""

    steps: int = 1000
    batch: int = 32
    tokens: int = 65536
    seed: int = 0
    every: int = 200
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(lr=4e-3, warmup=50, final=0.04))


def train(
    config: Config,
    model: Any,
    examples: Sequence[Example],
    folder: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Trains `model` in place; goes on from `folder` if it holds a checkpoint. Each pass over the examples is in an
    order of its own. Several processes are given the same examples, and end with the same weights. Raises ValueError
    without examples."""
    if not examples:
        raise ValueError("no examples to train on")
    trainer = Trainer(model, config.optimiser, config.steps, folder=folder, every=config.every)
    world = trainer.world
    trainer.model.train()
    pool = Pool(examples, config.seed, "order")
    while trainer.step < config.steps:
        chosen: list[Example] = pool.take(trainer.step, config.batch)
        whole = sum(example.count for example in chosen)
        total = 0.0

        def losses(chosen: list[Example] = chosen, whole: int = whole) -> Any:
            nonlocal total
            for part, real in world.parts(chosen, config.tokens):
                batch = pad([chosen[i] for i in part], trainer.device)
                loss = -logprobs(trainer.model, batch).sum() / whole
                total += real * float(loss.detach())
                yield real * loss

        norm = trainer.update(losses())
        figures = {"loss": world.total(total)[0], "norm": norm, "tokens": whole}
        trainer.log(**figures)
        trainer.maybe_save()
        if progress and world.main:
            progress(trainer.step, config.steps, figures)
    trainer.close()
    trainer.publish()
    trainer.model.eval()
    model.eval()
